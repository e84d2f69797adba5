#!/usr/bin/env python3
"""Bad input at the installed programs: a clear reply, nothing queued by halves, nobody else notices."""

import socket

from mail import *

_, maildir = account("trouble")


def talk(data, shut=True, seconds=PATIENCE):
    """Sends everything at once and returns everything that comes back."""
    with socket.create_connection(SMTP, timeout=seconds) as sock:
        try:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        got = b""
        try:
            while part := sock.recv(65536):
                got += part
        except OSError:
            pass
        return got


def letter(body, to="trouble"):
    return b"EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<" + to.encode() + b">\r\nDATA\r\n" + body


def memory():
    """The resident bytes of the biggest SMTP process of ours."""
    sizes = [0]
    for pid, row in processes().items():
        if row[1] == "qmail-smtpd":
            try:
                sizes.append(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096)
            except OSError:
                pass
    return max(sizes)


check(b"550 sorry, no mailbox here by that name (#5.1.1)" in talk(b"MAIL FROM:<a@b>\r\nRCPT TO:<nobody-at-all@" + HOST.encode() + b">\r\nQUIT\r\n"), "an unknown recipient was not refused")
check(b"451 See https://cr.yp.to/docs/smtplf.html.\r\n" in talk(letter(b"Subject: x\n\nbody\r\n.\r\n")), "a bare LF was not refused")
check(b"451 " in talk(letter(b"Subject: x\r\n\r\nbo\rdy\r\n.\r\n")).split(b"354 go ahead\r\n")[1], "a bare CR was not refused")
check(b"503 MAIL first" in talk(b"RCPT TO:<trouble>\r\nQUIT\r\n"), "RCPT before MAIL")

got = talk(b"".join(b"NONSENSE %d\r\n" % n for n in range(40)))
check(got.count(b"502 ") <= 10 and b"\r\n421 " in got, f"unknown verbs: {got[-200:]!r}")

rcpt = b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<trouble>\r\n" * 1010 + b"QUIT\r\n"
got = talk(rcpt)
check(got.count(b"250 ok") == 1001 and got.count(b"\r\n452 ") == 10, f"{got.count(b'250 ok')} accepted, {got.count(b'452 ')} refused")

hops = b"".join(b"Received: from h%d by h%d; x\r\n" % (n, n + 1) for n in range(100))
check(b"554 too many hops, this message is looping (#5.4.6)" in talk(letter(hops + b"\r\nx\r\n.\r\nQUIT\r\n")), "100 hops")

with socket.create_connection(SMTP, timeout=PATIENCE) as sock:
    sock.recv(1000)
    before = memory()
    sock.sendall(b"x" * 65000)
    time.sleep(0.5)
    check(memory() < before + (1 << 20), f"a long line grew {memory() - before} bytes")
    sock.sendall(b"x" * 1000)
    got = sock.makefile("rb").readline()
    check(got.startswith(b"421 line without end"), f"a line without end: {got}")
got = talk(b"NOOP\r\n" * 101)
check(got.count(b"250 ok") == 100 and b"\r\n421 too many commands without a letter" in got, f"NOOPs: {got[-100:]!r}")
with socket.create_connection(SMTP, timeout=PATIENCE) as sock:
    sock.recv(1000)
    before = memory()
    file = sock.makefile("rb")
    sock.sendall(b"MAIL FROM:<a@b>\r\n")
    file.readline()
    for _ in range(100):
        sock.sendall(b"RCPT TO:<trouble>\r\n" * 1000)
        for _ in range(1000):
            check(file.readline()[:4] in (b"250 ", b"452 "), "RCPT was refused")
    check(memory() < before + (1 << 20), f"100,000 commands grew {memory() - before} bytes")

talk(letter(b"Subject: half\r\n\r\nhalf a lett"))
time.sleep(0.5)
check(count(maildir) == 0, "half a letter was delivered")
check(b"messages in queue: 0\n" in bin("qmail-qstat"), "half a letter is queued")

# queued down: 451, nothing hangs, back by itself.
bin("svc", "-d", str(HOME / "service/queued"))
wait_for("queued is down", 10, lambda: not any(row[1] == "qmail-queued" for row in processes().values()))
got = talk(letter(b"Subject: down\r\n\r\nx\r\n.\r\nQUIT\r\n"))
check(b"\r\n451 " in got and got.count(b"250 ok ") == 0, f"queued down: {got!r}")
bin("svc", "-u", str(HOME / "service/queued"))
def again():
    return b"250 ok 1" in talk(letter(b"Subject: again\r\n\r\nx\r\n.\r\nQUIT\r\n"))
wait_for("letters are accepted again", 10, again)
wait_for("the letter arrives", 30, lambda: "again" in subjects(maildir))
