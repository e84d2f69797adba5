#!/usr/bin/env python3
"""qmailctl: a domain and an account work at once, without a restart; the queue and services show."""

import poplib

from mail import *

bin("qmailctl", "domain", "add", "second.example")
bin("qmailctl", "user", "add", "ann@second.example", "--password-stdin", input=b"open sesame\n")
_, same_name = account("ann")


def accepted():
    with smtplib.SMTP(*SMTP, timeout=20) as smtp:
        smtp.helo("x")
        smtp.mail("a@example.net")
        return smtp.rcpt("ann@second.example")[0] == 250 and smtp.rcpt("eve@second.example")[0] == 550


wait_for("the new domain's account is accepted and a stranger's is not", 10, accepted)
with smtplib.SMTP(*SMTP, timeout=20) as smtp:
    smtp.sendmail("a@example.net", ["ann@second.example"], "Subject: second\n\nhello\n")


def fetched():
    pop = poplib.POP3(*POP3, timeout=20)
    pop.user("ann@second.example")
    pop.pass_("open sesame")
    found = [b"Subject: second" in pop.retr(n + 1)[1] for n in range(pop.stat()[0])]
    pop.quit()
    return found == [True]


wait_for("the letter can be fetched", 20, fetched)
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
