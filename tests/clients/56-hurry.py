#!/usr/bin/env python3
"""Three addresses that come one after the other and hold every place they can get, that say a byte now
and then and call again when they are sent away, keep nobody out: neither SMTP nor POP3's login."""

import errno
import selectors
import threading

from mail import *

PLACES = int((HOME / "control/concurrencyincoming").read_text())
WAVES = (("127.21.0.1", PLACES - 5), ("127.22.0.1", 15), ("127.23.0.1", 5))

secret, maildir = account("hurry")


class Siege(threading.Thread):
    """Holds so many connections from each address, says a byte on each every four seconds."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over, self.calls = server, threading.Event(), 0
        self.wanted, self.poll = {}, selectors.DefaultSelector()

    def call(self, source):
        conn = socket.create_connection(self.server, timeout=PATIENCE, source_address=(source, 0))
        conn.sendall(b"N")
        conn.setblocking(False)
        self.calls += 1
        self.poll.register(conn, selectors.EVENT_READ, source)

    def heard(self, conn):
        """Whether the connection still is one."""
        try:
            return conn.recv(1000) != b""
        except OSError as error:
            return error.errno == errno.EAGAIN

    def run(self):
        spoken = time.monotonic()
        while not self.over.is_set():
            for source, wanted in list(self.wanted.items()):
                mine = [key for key in self.poll.get_map().values() if key.data == source]
                for _ in range(wanted - len(mine)):
                    self.call(source)
            for key, _ in self.poll.select(0.2):
                if not self.heard(key.fileobj):
                    self.poll.unregister(key.fileobj)
                    key.fileobj.close()
            if time.monotonic() > spoken + 4:
                spoken = time.monotonic()
                for key in self.poll.get_map().values():
                    try:
                        key.fileobj.send(b"O")
                    except OSError:
                        pass  # It will be heard of.
        for key in list(self.poll.get_map().values()):
            key.fileobj.close()


def letter(source):
    """Sends a letter; how long that took."""
    begun = time.monotonic()
    with smtplib.SMTP(*SMTP, timeout=PATIENCE, source_address=(source, 0)) as smtp:
        smtp.sendmail("a@example.net", [f"hurry@{HOST}"], f"Subject: from {source}\n\nx\n")
    return time.monotonic() - begun


def login(source):
    """Looks into the mailbox; how long that took."""
    begun = time.monotonic()
    with socket.create_connection(POP3, timeout=PATIENCE, source_address=(source, 0)) as conn:
        lines = conn.makefile("rwb")
        for said in (None, f"USER hurry@{HOST}", f"PASS {secret}", "QUIT"):
            if said:
                lines.write(said.encode() + b"\r\n")
                lines.flush()
            heard = lines.readline()
            check(heard.startswith(b"+OK"), f"{said}: {heard}")
    return time.monotonic() - begun


def besiege(server, honest, name):
    """Three networks one after the other; how long honest clients of other networks took at most."""
    siege, took = Siege(server), []
    siege.start()
    called = 0
    try:
        for source, wanted in WAVES:
            siege.wanted[source] = wanted
            called += wanted
            wait_for("the siege", 30, lambda: siege.calls >= called)
            time.sleep(1)
        for source in ("127.24.0.1", "127.25.0.1", "127.24.0.1"):
            took.append(honest(source))
            check(took[-1] < 20 * slowness(), f"{name}: served after {took[-1]:.1f} s")
        wait_for(f"{name}: somebody is sent away", 20, lambda: siege.calls > called)
    finally:
        siege.over.set()
        siege.join()
    return max(took)


smtp = besiege(SMTP, letter, "SMTP")
wait_count(maildir, 3)
wait_for("the log to tell of it", 20, lambda: "too busy to wait any longer" in log("qmail-smtpd"))
pop3 = besiege(POP3, login, "POP3")
wait_for("the log to tell of it", 20, lambda: "too busy to wait any longer" in log("qmail-pop3d"))
print(f"three networks hold every place: others wait {smtp:.1f} s for SMTP, {pop3:.1f} s for POP3")
