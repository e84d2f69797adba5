#!/usr/bin/env python3
"""While 10,000 letters come in, kill -9 takes every program of ours in turn, 50 times, and in between one
of them stands still for a while: every letter that was acknowledged arrives exactly once, and every
service is back within a second. KILLS=500 is the long run."""

import random
import signal
import threading

from mail import *

KILLS = int(os.environ.get("KILLS", "50"))
LETTERS = 10_000
SENDERS = 6
PROGRAMS = ["qmail-queued", "qmail-send", "qmail-lspawn", "qmail-rspawn", "qmail-clean", "qmail-pspawn",
            "tcpserver", "qmail-smtpd", "qmail-popup", "multilog", "supervise"]
_, maildir = account("kill")
BODY = "x" * 2000
PAUSE = 0.003 * max(1, KILLS / 100)
acknowledged, lock, stop = [], threading.Lock(), threading.Event()
chance = random.Random(7)


def sender(number):
    """Sends letters one after another, noting each that was acknowledged; begins anew when cut off."""
    n = 0
    while not stop.is_set():
        try:
            with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
                for _ in range(20):
                    n += 1
                    name = f"{number}-{n}"
                    smtp.sendmail("a@example.net", [f"kill@{HOST}"], f"Subject: {name}\n\n{BODY}\n")
                    with lock:
                        acknowledged.append(name)
                    if stop.wait(PAUSE):
                        break
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)


def alive(name):
    """The processes called `name`; a service whose supervise was killed is ours though an orphan."""
    return {pid for pid, row in processes().items() if row[1] == name}


def standing(name):
    """Those of them that stand for long: not the children they fork for one letter or session."""
    table = processes()
    return {pid for pid, row in table.items() if row[1] == name and table.get(row[0], (0, ""))[1] != name}


wait_for("every program runs", 10, lambda: all(standing(name) for name in PROGRAMS))
# Later there may be more for a while: clean parents that only finish what they have.
steady = {name: len(standing(name)) for name in PROGRAMS}
threads = [threading.Thread(target=sender, args=(n,), daemon=True) for n in range(SENDERS)]
for thread in threads:
    thread.start()
def stand_still(name):
    """SIGSTOP for up to a second, then SIGCONT: a program that is slow, not dead."""
    victim = chance.choice(sorted(alive(name)) or [0])
    try:
        os.kill(victim or os.getpid(), signal.SIGSTOP if victim else signal.SIGCONT)
        time.sleep(chance.uniform(0.1, 1.0))
        os.kill(victim or os.getpid(), signal.SIGCONT)
    except ProcessLookupError:
        return 0
    return int(victim != 0)


killed = {}
stood = 0
slowest = 0.0
for turn in range(KILLS):
    if turn % 3 == 2:
        stood += stand_still(chance.choice(PROGRAMS))
    name = PROGRAMS[turn % len(PROGRAMS)]
    wait_for(f"{name} runs", 10, lambda: standing(name))
    victim = chance.choice(sorted(alive(name) or standing(name)))
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        continue
    killed[name] = killed.get(name, 0) + 1
    begun = time.monotonic()
    wait_for(f"{name} is back", 10, lambda: len(standing(name) - {victim}) >= steady[name])
    slowest = max(slowest, (time.monotonic() - begun) / slowness())
    time.sleep(chance.uniform(0.1, 0.5))
wait_for(f"{LETTERS} letters are acknowledged", 200, lambda: len(acknowledged) >= LETTERS)
stop.set()
for thread in threads:
    thread.join(PATIENCE)
print(f"{sum(killed.values())} kills ({killed}), {stood} stops, {len(acknowledged)} letters acknowledged, slowest return {slowest:.2f} s, or as much longer as the machine was slower")
expected = set(acknowledged)
wait_for("every acknowledged letter in the Maildir", 200, lambda: count(maildir) >= len(expected) and expected <= set(subjects(maildir)))
wait_for("the queue is empty", 60, lambda: b"messages in queue: 0\n" in bin("qmail-qstat"))
got = subjects(maildir)
torn = sum(not text.endswith(f"\n\n{BODY}\n".encode()) for text in letters(maildir))
print(f"{len(got)} in the Maildir: {len(expected - set(got))} lost, {torn} torn, {len(got) - len(set(got))} doubled,"
      f" {len(set(got) - expected)} whole ones whose acknowledgement was cut off")
check(torn == 0, f"{torn} letters are not whole")
check(len(got) == len(set(got)), f"{len(got) - len(set(got))} letters came twice")
check(expected <= set(got), f"lost: {sorted(expected - set(got))[:5]}")
check(slowest <= 1.5, f"a service took {slowest:.2f} s to come back, and longer by what the machine was slower")
