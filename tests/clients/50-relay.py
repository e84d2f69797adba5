#!/usr/bin/env python3
"""Letters go out by smtproutes: 5,000 to smtp-sink, none twice; with the sink gone one or
two try it, the others wait and the log says so; with it back and `qmailctl doqueue` they go at once; a refused
recipient makes one bounce."""

import re
import shutil
import subprocess
import tempfile

from mail import *

LETTERS, SESSIONS = 5_000, 20
tools = [shutil.which(t) or f"/usr/sbin/{t}" for t in ("smtp-source", "smtp-sink")]
if not all(os.path.exists(t) for t in tools):
    skip("smtp-source and smtp-sink (Debian: postfix) are not installed")
source, sink = tools
_, maildir = account("relay")


def start(*options):
    """A sink that counts; returns it once it listens."""
    unprivileged = ["-u", "nobody"] if os.getuid() == 0 else []
    child = subprocess.Popen([sink, *unprivileged, *options, f"inet:127.0.0.1:{port}", "256"],
                             stdout=open(COUNTED, "wb"), stderr=subprocess.STDOUT)
    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    wait_for("the sink listens", 10, listens)
    return child


def send(count, to):
    subprocess.run([source, "-s", str(SESSIONS), "-m", str(count), "-l", "4096", "-d", "-f", f"relay@{HOST}",
                    "-t", to, f"inet:{SMTP[0]}:{SMTP[1]}"], check=True, timeout=900)


def empty():
    return b"messages in queue: 0\n" in bin("qmail-qstat")


def delivered(to):
    """How often the log says a delivery to `to` succeeded."""
    numbers, done = set(), 0
    for line in log("qmail-send").splitlines():
        words = line.split(" ")[1:]
        if words[:2] == ["starting", "delivery"] and words[-1] == to:
            numbers.add(words[2].rstrip(":"))
        elif words[:1] == ["delivery"] and words[1].rstrip(":") in numbers and words[2] == "success:":
            done += 1
    return done


COUNTED = pathlib.Path(tempfile.mkdtemp(prefix="qmail-rs-relay.")) / "counted"
port = free_port()
(HOME / "control/smtproutes").write_text(f".sink.test:127.0.0.1:{port}\nsink.test:127.0.0.1:{port}\n")

child = start("-c")
begun = time.monotonic()
send(LETTERS, "a@sink.test")
wait_for("the queue is empty", 300, empty)
took = time.monotonic() - begun
child.terminate()
child.wait(timeout=PATIENCE)
sunk = max(int(n) for n in re.findall(r"mesg=(\d+)", COUNTED.read_text()))
check(sunk == LETTERS, f"the sink counted {sunk} letters instead of {LETTERS}")
check(delivered("a@sink.test") == LETTERS, f"the log has {delivered('a@sink.test')} deliveries")
print(f"{LETTERS} relayed in {took:.1f} s")

send(20, "b@sink.test")
refused = "deferral: Sorry,_I_wasn't_able_to_establish_an_SMTP_connection._(#4.4.1)/"
wait_for("a deferral", 60, lambda: refused in log("qmail-send"))
time.sleep(1)
tried = log("qmail-send").count(refused)
check(tried <= 5, f"{tried} letters tried a host that refuses connections instead of waiting for one to try it")
check(b"messages in queue: 20\n" in bin("qmail-qstat"), "not every letter is in the queue though nobody listens")
child = start()
bin("qmailctl", "doqueue")
wait_for("the queue is empty", 30, empty)
check(delivered("b@sink.test") == 20, "not every deferred letter was delivered")
child.terminate()
child.wait(timeout=PATIENCE)

child = start("-f", "RCPT")
send(1, "c@sink.test")
wait_count(maildir, 1)
wait_for("the queue is empty", 60, empty)
child.terminate()
child.wait(timeout=PATIENCE)
bounce = letters(maildir)[0].decode()
for part in ("Return-Path: <>", "invoked for bounce", "Subject: failure notice", f"Hi. This is the qmail-send program at {HOST}.",
             "<c@sink.test>:", "does not like recipient", "--- Below this line is a copy of the message."):
    check(part in bounce, f"the bounce lacks {part!r}:\n{bounce}")
time.sleep(1)
check(count(maildir) == 1, "more than one bounce")
check("bounce msg " in log("qmail-send"), "the log has no bounce line")
(HOME / "control/smtproutes").unlink()
shutil.rmtree(COUNTED.parent)
