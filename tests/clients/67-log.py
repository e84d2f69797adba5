#!/usr/bin/env python3
"""Mixed traffic, as on a day: letters here and elsewhere, to many, from lists, greylisted, refused, bounced
and bounced again, with TERM and kill -9 to qmail-send in between. Then its log, read as qmailanalog does
and more strictly: no line but stock's, every letter's life closed, every recipient settled once."""

import random
import signal
import threading

import matchup
from mail import *
from sink import Sink

LETTERS, SENDERS = 2_000, 6
chance = random.Random(11)


def fate(recipient, attempt):
    name = recipient.split(b"@")[0]
    if name.startswith(b"no"):
        return b"550 5.1.1 no such user\r\n"
    if name.startswith(b"grey") and attempt == 1:
        return b"451 4.7.1 come again\r\n"
    return b"250 ok\r\n"


def standing():
    """qmail-send itself, not a child that carries a bounce."""
    table = processes()
    return {pid for pid, row in table.items() if row[1] == "qmail-send" and table.get(row[0], (0, ""))[1] != "qmail-send"}


def restart(how):
    """Ends qmail-send (and its helpers) one way or the other; supervise starts it again."""
    wait_for("qmail-send runs", 30, standing)
    (pid,) = standing()
    os.kill(pid, how)
    wait_for("qmail-send is back", 30, lambda: standing() - {pid})


def own(path, text):
    path.write_text(text)
    os.chown(path, maildir.stat().st_uid, maildir.stat().st_gid)


_, maildir = account("reader")
own(maildir.parent / ".qmail-bad", "|echo I do not like it.; exit 100\n")
own(maildir.parent / ".qmail-program", "|cat >/dev/null\n")
sink = Sink(fate)
(HOME / "control/smtproutes").write_text(f"sink.test:127.0.0.1:{sink.port}\n")
(HOME / "control/doublebounceto").write_text("reader-bad\n")
restart(signal.SIGTERM)
# Not a place in the log: its oldest files go while we write.
begun = log("qmail-send").splitlines()[-1].partition(" ")[0]


def letter(n):
    """Sender and recipients of the n-th letter."""
    sender = chance.choice(["a@example.net", f"reader@{HOST}", f"reader-bad@{HOST}", "", f"reader@{HOST}-@[]", "back@sink.test"])
    kinds = [f"reader@{HOST}", f"reader-bad@{HOST}", f"reader-program@{HOST}", f"ok{n}@sink.test", f"no{n}@sink.test", f"grey{n}@sink.test"]
    return sender, chance.sample(kinds, chance.choice([1, 1, 1, 1, 2, 4]))


def work(share):
    with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
        for n, (sender, recipients) in share:
            try:
                smtp.sendmail(sender, recipients, f"Subject: {n}\n\nx\n")
            except smtplib.SMTPServerDisconnected:
                fail("a session was cut off")


plan = [(n, letter(n)) for n in range(LETTERS)]
threads = [threading.Thread(target=work, args=(plan[k::SENDERS],)) for k in range(SENDERS)]
for thread in threads:
    thread.start()
for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
    time.sleep(0.7)
    restart(how)
for thread in threads:
    thread.join(2 * PATIENCE)


def empty():
    bin("qmailctl", "doqueue")
    time.sleep(0.3)
    return b"messages in queue: 0\n" in bin("qmail-qstat")


wait_for("the queue is empty", 120, empty)
restart(signal.SIGTERM)
wait_for("it has said so", 10, lambda: "status: exiting" in log("qmail-send")[-3000:])
said = [line.partition(" ") for line in log("qmail-send").splitlines()]
lines = [line for label, _, line in said if label > begun]
reader = matchup.Reader()
reader.read_all(lines)
check(not reader.flights, f"in the air: {reader.flights}")
# What a kill -9 left unsaid cannot be read: a letter that ended then has no end in the log.
unsaid = {letter for letter, known in reader.letters.items() if known.cut}
check(set(reader.letters) <= unsaid and len(unsaid) <= 60, f"open: {sorted(set(reader.letters) - unsaid)}")
for what in ("bounce", "triple", "exiting", "starting", "ended"):
    check(reader.counts[what], f"no {what}: {reader.counts}")
check(not reader.counts["warning"] and not reader.counts["alert"], reader.counts)
check(count(maildir) >= sum(f"reader@{HOST}" in to for _, (_, to) in plan), "letters are missing")
print(f"{reader.closed} letters closed, {len(reader.letters)} whose end a kill cut off: {reader.counts}")
for name in ("smtproutes", "doublebounceto"):
    (HOME / "control" / name).unlink()
restart(signal.SIGTERM)
sink.close()
