"""Mail that flows while something happens to the server: nobody may be turned away, nothing may be
lost, and nothing may come twice."""

import poplib
import smtplib
import socket
import threading
import time

# Connections at once are few enough that nobody is hurried for being one of many.
SENDERS = 3
PAUSE = 0.02
# How long an answer may take on a machine that is slow and has much else to do.
PATIENCE = 300


class Held:
    """Sessions that begin before and end after."""

    def __init__(self, smtp, pop3, recipient, user, password):
        self.recipient = recipient
        self.silent = smtplib.SMTP(*smtp, timeout=PATIENCE)
        self.begun = smtplib.SMTP(*smtp, timeout=PATIENCE)
        self.begun.ehlo("held.example.net")
        self.begun.mail("held@example.net")
        self.inside = smtplib.SMTP(*smtp, timeout=PATIENCE)
        self.inside.ehlo("held.example.net")
        self.inside.mail("held@example.net")
        self.inside.rcpt(recipient)
        expect(self.inside.docmd("DATA"), 354)
        self.inside.send(b"Subject: held-inside\r\n\r\nbegun\r\n")
        self.reader = poplib.POP3(*pop3, timeout=PATIENCE)
        self.reader.user(user)
        self.reader.pass_(password)

    def finish(self):
        """Ends each as its client wishes; the subjects of the letters."""
        self.silent.ehlo("held.example.net")
        letter(self.silent, self.recipient, "held-silent")
        expect(self.begun.rcpt(self.recipient), 250)
        expect(self.begun.data(b"Subject: held-begun\r\n\r\nx\r\n"), 250)
        self.inside.send(b"ended\r\n.\r\n")
        expect(self.inside.getreply(), 250)
        for session in (self.silent, self.begun, self.inside):
            session.quit()
        self.reader.stat()
        self.reader.quit()
        return ["held-silent", "held-begun", "held-inside"]


def expect(reply, code):
    if reply[0] != code:
        raise smtplib.SMTPResponseException(*reply)


def letter(session, recipient, subject):
    session.sendmail("flow@example.net", [recipient], f"Subject: {subject}\n\nx\n")


class Flow:
    """Senders and a reader, until stopped."""

    def __init__(self, smtp, pop3, recipient, user, password):
        self.smtp, self.pop3 = smtp, pop3
        self.recipient, self.login = recipient, (user, password)
        self.accepted, self.troubles, self.logins = [], [], 0
        self.over = threading.Event()
        senders = [threading.Thread(target=self.send, args=(n,), daemon=True) for n in range(SENDERS)]
        self.threads = senders + [threading.Thread(target=self.read, daemon=True)]
        for thread in self.threads:
            thread.start()

    def send(self, sender):
        number = 0
        while not self.over.is_set():
            subject = f"flow-{sender}-{number}"
            try:
                with smtplib.SMTP(*self.smtp, timeout=PATIENCE) as session:
                    for more in range(1 + number % 3):
                        letter(session, self.recipient, f"{subject}-{more}")
                        self.accepted.append(f"{subject}-{more}")
            except (OSError, smtplib.SMTPException) as error:
                self.troubles.append(f"{time.strftime('%X')} {subject}: {error!r}")
            number += 1
            time.sleep(PAUSE)

    def read(self):
        while not self.over.is_set():
            try:
                session = poplib.POP3(*self.pop3, timeout=PATIENCE)
                session.user(self.login[0])
                session.pass_(self.login[1])
                session.stat()
                session.quit()
                self.logins += 1
            except (OSError, poplib.error_proto) as error:
                self.troubles.append(f"{time.strftime('%X')} POP3: {error!r}")
            time.sleep(0.1)

    def stop(self):
        """Ends the flow; the subjects of all letters that were accepted."""
        self.over.set()
        for thread in self.threads:
            thread.join(2 * PATIENCE)
        return self.accepted


def addresses(port):
    """Where a server on this host is."""
    return (socket.gethostbyname("localhost"), port)
