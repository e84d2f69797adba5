#!/usr/bin/env python3
"""The two telnet sessions of old, typed as they stand; the letter carries its four header lines."""

import re
import socket

from mail import *

secret, maildir = account("vorname")


class Line:
    """One connection, spoken to by hand."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=PATIENCE)
        self.file = self.sock.makefile("rb")

    def expect(self, pattern):
        got = self.file.readline().decode().rstrip("\r\n")
        check(re.fullmatch(pattern, got), f"expected {pattern!r}, got {got!r}")

    def say(self, text):
        self.sock.sendall(text.encode() + b"\r\n")

    def closed(self):
        check(self.file.read() == b"", "the connection stayed open")


name = re.escape(HOST)
smtp = Line(SMTP)
smtp.expect(f"220 {name} ESMTP")
smtp.say("EHLO")
smtp.expect(f"250-{name}")
smtp.expect("250-PIPELINING")
smtp.expect("250 8BITMIME")
smtp.say("MAIL FROM: omtest@somedomain.ext")
smtp.expect("250 ok")
smtp.say("RCPT TO: vorname")
smtp.expect("250 ok")
smtp.say("DATA")
smtp.expect("354 go ahead")
for line in ["Subject: test Mail", "", "ok so?", "gut!", "", "."]:
    smtp.say(line)
smtp.expect(r"250 ok \d+ qp \d+")
smtp.say("QUIT")
smtp.expect(f"221 {name}")
smtp.closed()

wait_count(maildir, 1)

pop = Line(POP3)
pop.expect(rf"\+OK <\d+\.\d+@{name}>")
pop.say("USER vorname")
pop.expect(r"\+OK ?")
pop.say("PASS wrong")
pop.expect("-ERR authorization failed")
pop.closed()

pop = Line(POP3)
pop.expect(rf"\+OK <\d+\.\d+@{name}>")
pop.say("USER vorname")
pop.expect(r"\+OK ?")
pop.say(f"PASS {secret}")
pop.expect(r"\+OK ?")
pop.say("STAT")
pop.expect(r"\+OK 1 \d+")
pop.say("RETR 1")
pop.expect(r"\+OK.*")
for pattern in [
    "Return-Path: <omtest@somedomain.ext>",
    f"Delivered-To: vorname@{name}",
    r"Received: \(qmail \d+ invoked from network\); \d+ \w+ \d+ \d\d:\d\d:\d\d -0000",
    r"Received: from localhost \(HELO \) \(127.0.0.1\)",
    rf"  by {name} with SMTP; \d+ \w+ \d+ \d\d:\d\d:\d\d -0000",
    "Subject: test Mail",
    "",
    r"ok so\?",
    "gut!",
    "",
    r"\.",
]:
    pop.expect(pattern)
pop.say("QUIT")
pop.expect(r"\+OK ?")
pop.closed()
