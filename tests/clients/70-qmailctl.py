#!/usr/bin/env python3
"""qmailctl: a domain and an account work at once, without a restart; the queue and services show, to
people, to programs and to shells; what cannot be told is no success."""

import fcntl
import json
import pty
import re
import select

from mail import *

bin("qmailctl", "domain", "add", "second.example")
bin("qmailctl", "user", "add", "ann@second.example", "--password-stdin", input=b"open sesame\n")
_, same_name = account("ann")


def accepted():
    with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
        smtp.helo("x")
        smtp.mail("a@example.net")
        return smtp.rcpt("ann@second.example")[0] == 250 and smtp.rcpt("eve@second.example")[0] == 550


wait_for("the new domain's account is accepted and a stranger's is not", 10, accepted)
with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
    smtp.sendmail("a@example.net", ["ann@second.example"], "Subject: second\n\nhello\n")


login = (POP3, "ann@second.example", "open sesame")
wait_for("the letter can be fetched", 20, lambda: fetched(*login, "second") == [True])
check(count(same_name) == 0, "ann@second.example's letter went to ann of the first domain")

listed = bin("qmailctl", "user", "list").decode()
check("ann@second.example\t" in listed and f"ann@{HOST}\t" in listed, f"user list: {listed}")
stat = bin("qmailctl", "stat").decode()
for service in ("qmail-send", "qmail-smtpd", "qmail-pop3d", "queued"):
    check(f"/{service}: up (pid " in stat and f"/{service}/log: up (pid " in stat, f"stat: {stat}")
check("messages in queue: " in stat, f"stat: {stat}")
check(b"messages in queue: " in bin("qmailctl", "queue"), "queue")

# The same name twice, a bad name, a domain that is not ours: refused, and nothing is changed.
before = (HOME / "users/assign").read_bytes()
for bad in ("ann", "a/b", "..", "x@nowhere.example", "x:y"):
    done = subprocess.run([HOME / "bin/qmailctl", "user", "add", bad], capture_output=True)
    check(done.returncode == 111 and done.stderr.startswith(b"qmailctl: fatal: "), f"{bad}: {done}")
check((HOME / "users/assign").read_bytes() == before, "users/assign was changed")

# An added domain has a postmaster, until it has one of its own.
alias = HOME / "alias/.qmail-second:example-postmaster"
check(alias.read_text() == "&postmaster\n", f"{alias}")
check((HOME / "alias/.qmail-second:example-abuse").exists(), "nobody hears of abuse")
before = count(HOME / "mail" / HOST / USER / "Maildir") if (HOME / "mail" / HOST / USER).exists() else 0
with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
    smtp.sendmail("a@example.net", ["postmaster@second.example"], "Subject: to the postmaster\n\nhello\n")
maildir = HOME / "mail" / HOST / USER / "Maildir"
wait_for("the postmaster has the letter", 20, lambda: count(maildir) > before)
check(bin("qmailctl", "check") == b"", "check finds something")
alias.unlink()
done = subprocess.run([HOME / "bin/qmailctl", "check"], capture_output=True, text=True)
wanted = "instcheck: warning: postmaster@second.example has no mailbox (mend: qmailctl domain add second.example)\n"
check((done.returncode, done.stdout) == (1, wanted), f"{done}")
done = subprocess.run([HOME / "bin/qmailctl", "check", "--json"], capture_output=True, text=True)
told = json.loads(done.stdout)
check(done.returncode == 1 and not told["ok"] and len(told["warnings"]) == 1, f"{done}")
bin("qmailctl", "domain", "add", "second.example")
check(json.loads(bin("qmailctl", "check", "--json")) == {"ok": True, "warnings": []}, "domain add mends it")

# For programs.
wait_for("the queue is empty", 20, lambda: b"messages in queue: 0\n" in bin("qmail-qstat"))
asked = time.time()
stat = json.loads(bin("qmailctl", "stat", "--json"))
told = time.time()
services = {service["service"]: service for service in stat["services"]}
for name in ("qmail-send", "qmail-smtpd/log", "queued"):
    service = services[name]
    check((service["state"], service["want"], service["paused"]) == ("up", "up", False), f"{service}")
    check(service["pid"] > 1 and service["starts"] >= 1 and "last_exit" in service, f"{service}")
    check(asked - 2 < service["since"] + service["seconds"] < told + 2, f"{service}")
check(stat["messages"] == 0 and stat["pauses"] == [], f"{stat}")
# What became of a service is told: it was killed, and started again. First it is started by the supervise
# that is there now: of one that it took over from a killed one it cannot know how it ended.
def logger(since):
    told = json.loads(bin("qmailctl", "stat", "--json"))["services"]
    [log] = [service for service in told if service["service"] == "qmail-pop3d/log"]
    return log if log["state"] == "up" and log["pid"] != since["pid"] else None


taken_over = services["qmail-pop3d/log"]
bin("svc", "-t", str(HOME / "service/qmail-pop3d/log"))
wait_for("another logger", 10, lambda: logger(taken_over))
before = logger(taken_over)
os.kill(before["pid"], 9)


def again():
    log = logger(before)
    return log is not None and log["last_exit"]["signal"] == 9


wait_for("the killed logger is up again, and that is told", 10, again)
stories = re.findall(r"^  (\S+): up since \d+-\d\d-\d\d \d\d:\d\d:\d\d, \d+ restarts?", bin("qmailctl", "stat").decode(), re.M)
# Of a logger only once it was started again.
known = json.loads(bin("qmailctl", "stat", "--json"))["services"]
told = [s["service"] for s in known if s["starts"] > 1 or not s["service"].endswith("/log")]
check(stories == sorted(told) and "qmail-pop3d/log" in stories, f"{stories}, {told}")

bin("qmailctl", "pause", "far.example")
bin("qmail-inject", "-fann@second.example", "x@far.example", input=b"Subject: waits\n\n")
in_queue = {"messages": 1, "not_preprocessed": 0}
wait_for("the letter waits", 20, lambda: json.loads(bin("qmail-qstat", "--json")) == in_queue)
queue = json.loads(bin("qmailctl", "queue", "--json"))
check(queue["pauses"] == [{"domain": "far.example", "until": None}] and queue["messages"] == 1, f"{queue}")
[waiting] = queue["letters"]
check(waiting["sender"] == "ann@second.example" and waiting["size"] > 20, f"{waiting}")
check(waiting["recipients"] == [{"address": "x@far.example", "channel": "remote", "state": "waiting"}], f"{waiting}")
users = json.loads(bin("qmailctl", "user", "list", "--json"))
check({"address": "ann@second.example", "home": str(HOME / "mail/second.example/ann")} in users, f"{users}")

# For shells: the words of the table, and what there is.
def complete(*words):
    told = bin("qmailctl", "complete", "--", *words).decode()
    return [line.split("\t")[0] for line in told.splitlines()]

check(complete("sta") == ["start", "stat"], f"{complete('sta')}")
check(complete("resume", "") == ["far.example"], f"{complete('resume', '')}")
check("ann@second.example" in complete("user", "password", "ann@s"), "accounts are not completed")
script = bin("qmailctl", "completions", "bash").decode()
for line, told in (("queue rel", "release"), ("user password ann@sec", "second.example"), ("user pass", "password")):
    asks = f"{script}\nPATH={HOME}/bin:$PATH; COMP_LINE='qmailctl {line}'; COMP_POINT=${{#COMP_LINE}}; _qmailctl; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", asks], capture_output=True, text=True, timeout=PATIENCE)
    check(done.stdout == told + "\n", f"{line}: {done}")
for shell in ("fish", "zsh"):
    check(b"qmailctl" in bin("qmailctl", "completions", shell), shell)
bin("qmailctl", "resume", "far.example")

# What nobody could be told is no success, and is done all the same.
for words in (("stat",), ("stat", "--json"), ("queue",), ("user", "list"), ("help",), ("check", "--json"), ("doqueue",)):
    with open("/dev/full", "w") as full:
        done = subprocess.run([HOME / "bin/qmailctl", *words], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
    said = done.stderr.decode()
    check(done.returncode == 111 and "unable to write" in said, f"{words}: {done}")

# What takes longer than a second says so at a terminal, and takes the line away again.
ours, theirs = pty.openpty()
with open(HOME / "users/lock", "r+") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    waits = subprocess.Popen([HOME / "bin/qmailctl", "domain", "add", "third.example"], stderr=theirs)
    os.close(theirs)
    told = ""
    while not re.search(r"\rwaiting for another qmailctl \(\d+ s\)", told):
        check(select.select([ours], [], [], PATIENCE)[0], f"it does not say that it waits: {told!r}")
        told += os.read(ours, 1000).decode()
wait_for("the command goes on", 20, lambda: waits.poll() is not None)
while select.select([ours], [], [], 0)[0]:
    try:
        told += os.read(ours, 1000).decode()
    except OSError:
        break
check(waits.returncode == 0, f"{told!r}")
check(told.endswith("\r\x1b[K"), f"{told!r}")
