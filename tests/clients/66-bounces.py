#!/usr/bin/env python3
"""Bounces, read twice: as `multipart/report` by Python's email package and as QSBMF by a reader written
from its rules. One for several recipients, one of a bounce, one of that, one of a list's letter, one of a
letter too large, and one whose report is a megabyte of a hostile host's words. The log of all of it is read by a
strict reader: every letter's life closes."""

import email.policy
import re

import matchup
import qsbmf
from mail import *
from sink import Sink

HOSTILE = b"".join(b"550-\x1b[2J<x@y>:\x07 \xff%s\r\n" % (b"0123456789 --=_ " * 6) for _ in range(9_000)) + b"550 go away\r\n"
HUGE = b"550 " + b"w" * 60_000 + b"\r\n"


def fate(recipient, attempt):
    name = recipient.split(b"@")[0]
    if name.startswith(b"no"):
        return b"550 5.7.1 we do not\r\n"
    if name.startswith(b"grey"):
        return b"250 ok\r\n" if attempt > 1 else b"450 4.2.0 come again\r\n"
    return {b"hostile": HOSTILE, b"huge": HUGE}.get(name, b"250 ok\r\n")


def setting(name, value):
    path = HOME / "control" / name
    path.unlink(missing_ok=True)
    if value is not None:
        path.write_text(f"{value}\n")


def restart():
    """TERM to qmail-send, which reads its settings again."""
    before = log("qmail-send").count("status: exiting")
    bin("svc", "-t", str(HOME / "service/qmail-send"))
    wait_for("qmail-send has ended", 30, lambda: log("qmail-send").count("status: exiting") > before)
    # A process that was just started says its first line a moment later.
    wait_for("qmail-send is back", 30, lambda: log("qmail-send").rsplit("status: exiting", 1)[1].count("status: local 0/"))


def inject(sender, recipients, text):
    done = subprocess.run([HOME / "bin/qmail-inject", "-f", sender, "--", *recipients], input=text, capture_output=True, timeout=PATIENCE)
    check(done.returncode == 0, f"qmail-inject: {done.stderr!r}")


def parse(letter):
    """A bounce as the two worlds read it: (email message, report fields, original part, QSBMF recipients)."""
    message = email.message_from_bytes(letter, policy=email.policy.default)
    check(not message.defects, f"defects: {message.defects}")
    check(message.get_content_type() == "multipart/report" and message.get_param("report-type") == "delivery-status", message["Content-Type"])
    check(message["Auto-Submitted"] == "auto-replied" and message["Subject"] == "failure notice", "header")
    parts = list(message.iter_parts())
    check(len(parts) == 3, f"{len(parts)} parts")
    check(all(not part.defects for part in message.walk()), [part.defects for part in message.walk()])
    text, report, original = parts
    check([part.get_content_type() for part in parts[:2]] == ["text/plain", "message/delivery-status"], "kinds of parts")
    human = text.get_payload(decode=True)
    seen, broke, copy = qsbmf.read(human)
    # Who does not know MIME finds the same in the same letter.
    raw_seen, raw_broke, raw_copy = qsbmf.read_letter(letter)
    check((seen, broke) == (raw_seen, raw_broke), f"{seen} and {raw_seen}")
    header = lambda text: text.partition(b"\n\n")[0].rstrip(b"\n")
    check(header(copy) == header(raw_copy), f"{copy!r} and {raw_copy!r}")
    fields = report.get_payload()
    check(fields[0]["Reporting-MTA"] == f"dns; {HOST}", fields[0].as_string())
    check([f["Final-Recipient"].encode() for f in fields[1:]] == [b"rfc822; " + to for to, _ in seen], f"recipients: {seen}")
    for group in fields[1:]:
        check(group["Action"] == "failed" and re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", group["Status"]), group.as_string())
    return fields[1:], original, seen, broke, copy


def human(letter):
    """The text that people see."""
    return email.message_from_bytes(letter).get_payload(0).get_payload()


def lines_are_short(letter):
    check(max(map(len, letter.split(b"\n"))) <= 998, "a line is too long")


_, senders = account("bouncer")
_, doubles = account("doubles")
_, lists = account("lists")
(lists.parent / ".qmail-default").write_text("./Maildir/\n")
os.chown(lists.parent / ".qmail-default", lists.stat().st_uid, lists.stat().st_gid)
me = f"bouncer@{HOST}"
sink = Sink(fate)
setting("smtproutes", f"sink.test:127.0.0.1:{sink.port}")
setting("doublebounceto", "doubles")
restart()
begun = len(log("qmail-send"))

# Several recipients: one bounce, when the last of them is settled, that names each who failed once.
inject(me, ["no1@sink.test", "ok@sink.test", f"nobody-here@{HOST}", "no2@sink.test"], b"Subject: several\n\nHi.\n")
wait_count(senders, 1)
fields, original, seen, broke, copy = parse(letters(senders)[0])
check(sorted(to for to, _ in seen) == sorted([b"no1@sink.test", b"no2@sink.test", f"nobody-here@{HOST}".encode()]), seen)
check(broke == b"--- Below this line is a copy of the message.", broke)
check(copy.startswith(f"Return-Path: <{me}>\n".encode()) and b"\nSubject: several\n" in copy, copy)
check(original.get_content_type() == "message/rfc822" and original.get_content()["Subject"] == "several", "the original")
check(original.get_content()["Return-Path"] == f"<{me}>" and original.get_content().get_payload() == "Hi.\n", original.as_string())
by_address = {f["Final-Recipient"].split("; ")[1]: f for f in fields}
check(by_address["no1@sink.test"]["Status"] == "5.7.1" and by_address["no1@sink.test"]["Diagnostic-Code"] == "smtp; 550 5.7.1 we do not", "smtp")
check(by_address[f"nobody-here@{HOST}"]["Status"] == "5.1.1", "status of a local failure")
check(len(sink.letters) == 1, "who could be served was not, or twice")

# A bounce that bounces: to doublebounceto. One that does again: to nobody.
inject(f"gone@{HOST}", ["no3@sink.test"], b"Subject: double\n\nHi.\n")
wait_count(doubles, 1)
fields, original, seen, broke, copy = parse(letters(doubles)[0])
check(broke == b"--- Below this line is the original bounce." and copy.startswith(b"Return-Path: <>\n"), broke)
check([to for to, _ in seen] == [f"gone@{HOST}".encode()], seen)
inner = original.get_content()
check(inner.get_content_type() == "multipart/report" and [p.get_content_type() for p in inner.iter_parts()][0] == "text/plain", "the bounce inside")
setting("doublebounceto", "gone")
restart()
inject(f"gone@{HOST}", ["no4@sink.test"], b"Subject: triple\n\nHi.\n")
wait_for("a triple bounce", 60, lambda: "triple bounce: discarding bounce/" in log("qmail-send")[begun:])
setting("doublebounceto", "")
restart()
inject(f"gone@{HOST}", ["no5@sink.test"], b"Subject: discarded\n\nHi.\n")
wait_for("a double bounce that nobody wants", 60, lambda: "double bounce: discarding bounce/" in log("qmail-send")[begun:])
check(count(doubles) == 1, "more double bounces than one")

# A list's letter: each recipient has a sender of its own; what qmail-send itself bounces goes to the list.
inject(f"lists-@{HOST}-@[]", ["no6@sink.test", "ok6@sink.test"], b"Subject: list\n\nHi.\n")
wait_count(lists, 1)
check(sink.senders[b"ok6@sink.test"] == [f"lists-ok6=sink.test@{HOST}".encode()], sink.senders)
fields, original, seen, broke, copy = parse(letters(lists)[0])
check([to for to, _ in seen] == [b"no6@sink.test"] and copy.startswith(f"Return-Path: <lists-@{HOST}>\n".encode()), copy)

# What a hostile host says: bounded, clean, and still a bounce.
for name in ("hostile", "huge"):
    had = count(senders)
    inject(me, [f"{name}@sink.test"], b"Subject: hostile\n\nHi.\n")
    wait_count(senders, had + 1)
    letter = next(text for text in letters(senders) if f"<{name}@sink.test>:".encode() in text)
    fields, original, seen, broke, copy = parse(letter)
    check(len(letter) < 20_000, f"a bounce of {len(letter)} bytes")
    check([to for to, _ in seen] == [f"{name}@sink.test".encode()], seen)
    check(not any(c in letter for c in b"\x1b\x07\r"), "control characters")
    check("does not like recipient" in human(letter) and fields[0]["Diagnostic-Code"].startswith("smtp; 550"), fields[0].as_string())
    check(all(len(f["Diagnostic-Code"] or "") < 2_000 for f in fields), "diagnosis")
    lines_are_short(letter)

# A letter that is too large for its bounce.
setting("bouncemaxbytes", 10_000)
restart()
for size, kind in ((300_000, "message/rfc822"), (2_000, "message/rfc822"), (0, "text/rfc822-headers")):
    had = set(letters(senders))
    header = b"Subject: large\n" if size else b"".join(b"X-Field-%d: %s\n" % (n, b"x" * 60) for n in range(400))
    inject(me, ["no7@sink.test"], header + b"\n" + b"line of a long letter\n" * (size // 22))
    wait_count(senders, len(had) + 1)
    (letter,) = set(letters(senders)) - had
    fields, original, seen, broke, copy = parse(letter)
    check(original.get_content_type() == kind, f"{size}: {original.get_content_type()}")
    stripped = b"\n\n--- End of message stripped.\n" in letter
    check(stripped == (size != 2_000) and len(letter) < 25_000, f"{size}: {len(letter)} bytes, {stripped}")
setting("bouncemaxbytes", None)

# More of everything, then the log: no line but stock's, and every life closed.
setting("doublebounceto", "doubles")
restart()
inject(f"gone@{HOST}", ["grey1@sink.test", "no8@sink.test"], b"Subject: mixed\n\nHi.\n")
inject(me, ["grey2@sink.test", me, f"lists-a@{HOST}"], b"Subject: mixed\n\nHi.\n")
wait_for("greylisted", 60, lambda: sink.attempts.get(b"grey1@sink.test") and sink.attempts.get(b"grey2@sink.test"))
bin("qmailctl", "doqueue")
wait_for("the queue is empty", 60, lambda: b"messages in queue: 0\n" in bin("qmail-qstat"))
restart()
reader = matchup.Reader()
reader.read_all([line.partition(" ")[2] for line in log("qmail-send")[begun:].splitlines()])
check(not reader.letters and not reader.flights, f"open: {reader.letters}, {reader.flights}")
# A letter that is there at a restart is announced once more.
check(20 < reader.closed <= reader.counts["info"] and not reader.counts["alert"], reader.counts)
for what in ("bounce", "triple", "double", "exiting"):
    check(reader.counts[what], f"no {what} in {reader.counts}")
print(f"{reader.closed} letters, {reader.counts}")
for name in ("smtproutes", "doublebounceto"):
    setting(name, None)
restart()
sink.close()
