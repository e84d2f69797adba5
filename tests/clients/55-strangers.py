#!/usr/bin/env python3
"""Strangers: 500 who say nothing cost no process and keep nobody out; a neighbourhood that holds every
place it can get leaves one for others; who speaks first is told apart; a session takes 80 KiB at most."""

import socket

from mail import *

_, maildir = account("stranger")


def connect(source):
    """A connection from an address of this host, greeted or not yet."""
    conn = socket.create_connection(SMTP, timeout=PATIENCE, source_address=(source, 0))
    return conn


def letter(source):
    """Sends a letter from an address of this host; how long that took."""
    begun = time.monotonic()
    with smtplib.SMTP(*SMTP, timeout=PATIENCE, source_address=(source, 0)) as smtp:
        smtp.sendmail("a@example.net", [f"stranger@{HOST}"], f"Subject: from {source}\n\nx\n")
    return time.monotonic() - begun


def sessions(standing=()):
    """The children of the clean parent but those that stand for long: pid -> private KiB."""
    table = processes()
    found = {}
    for pid, row in table.items():
        if pid not in standing and row[1] == "qmail-smtpd" and table.get(row[0], (0, ""))[1] == "qmail-smtpd":
            try:
                lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            found[pid] = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return found


time.sleep(1)
wait_for("the sessions of the scenarios before to end", 30, lambda: len(sessions()) <= 1)
before = set(sessions())
silent = [connect(f"127.0.7.{1 + n % 250}") for n in range(500)]
for conn in silent:
    check(conn.recv(200).startswith(b"220 "), "a stranger is not greeted")
check(not sessions(before), "somebody was forked for who says nothing")
letter("127.0.8.1")

# Slow ones of one neighbourhood: they begin a session each and stay.
slow = silent[:200]
for conn in slow:
    conn.sendall(b"EHLO slow.example\r\n")
wait_for("most of them to be served", 30, lambda: len(sessions(before)) >= 80)
time.sleep(0.5)
held = sessions(before)
check(len(held) < 100, f"one neighbourhood holds {len(held)} of 100 places")
check(max(held.values()) <= 80, f"a session takes {max(held.values())} KiB after EHLO")
took = letter("127.0.9.1")
check(took < 10 * slowness(), f"a letter from elsewhere took {took:.1f} s")
for conn in silent:
    conn.close()
wait_for("the sessions to end", 30, lambda: not sessions(before))

early = connect("127.0.10.1")
early.sendall(b"QUIT\r\n")
check(b"221 " in early.makefile("rb").read(), "who spoke first was not served")
wait_count(maildir, 2)
wait_for("the log to tell of silence", 10, lambda: "tcpserver: silent 127.0.7." in log("qmail-smtpd"))
print(f"{len(held)} of 100 places held by one neighbourhood, {max(held.values())} KiB each, "
      f"a letter from elsewhere took {took:.2f} s")
