"""A host that takes letters or says why not, as a scenario wants it."""

import socketserver
import threading


class Sink:
    """Hears SMTP on a port of its own. `fate(recipient, attempt)` is the reply to RCPT, whole lines or
    not; an attempt is counted from 1. Keeps every letter it takes: sender, recipients, bytes."""

    def __init__(self, fate=lambda recipient, attempt: b"250 ok\r\n"):
        self.fate, self.letters, self.attempts, self.senders = fate, [], {}, {}
        self.lock = threading.Lock()
        sink = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                try:
                    sink.talk(self.rfile, self.wfile)
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, request_queue_size = True, True, 500

        self.server = Server(("127.0.0.1", 0), Session)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def talk(self, heard, said):
        """One session, as far as a client of ours needs it."""
        sender, recipients = b"", []
        said.write(b"220 sink.test\r\n")
        for line in heard:
            verb = line[:4].upper()
            if verb in (b"EHLO", b"HELO"):
                said.write(b"250 sink.test\r\n")
            elif verb == b"MAIL":
                sender, recipients = address(line), []
                said.write(b"250 ok\r\n")
            elif verb == b"RCPT":
                reply = self.judge(sender, address(line))
                if reply.startswith(b"2"):
                    recipients.append(address(line))
                said.write(reply)
            elif verb == b"DATA" and recipients:
                said.write(b"354 go\r\n")
                text = take(heard)
                with self.lock:
                    self.letters.append((sender, recipients, text))
                said.write(b"250 ok\r\n")
            elif verb == b"DATA":
                said.write(b"554 no\r\n")
            elif verb == b"QUIT":
                said.write(b"221 bye\r\n")
                return
            else:
                sender, recipients = b"", []
                said.write(b"250 ok\r\n")

    def judge(self, sender, recipient):
        with self.lock:
            attempt = self.attempts[recipient] = self.attempts.get(recipient, 0) + 1
            self.senders.setdefault(recipient, []).append(sender)
        return self.fate(recipient, attempt)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def address(line):
    """What stands in the brackets of MAIL or RCPT."""
    return line.partition(b"<")[2].rpartition(b">")[0]


def take(heard):
    """A letter up to its dot, line ends LF, dots unstuffed."""
    text = b""
    for line in heard:
        if line == b".\r\n":
            return text
        text += line.removeprefix(b".").removesuffix(b"\r\n") + b"\n"
    raise OSError("cut off")
