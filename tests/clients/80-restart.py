#!/usr/bin/env python3
"""Letters wait through a stop and a start: nothing is lost, and TERM to qmail-send is heeded."""

from mail import *

_, maildir = account("restart")
service = str(HOME / "service/qmail-send")
bin("svc", "-d", service)
wait_for("qmail-send is down", 20, lambda: not any(r[1] == "qmail-send" for r in processes().values()))
with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
    for n in range(50):
        smtp.sendmail("a@example.net", [f"restart@{HOST}"], f"Subject: {n}\n\nx\n")
check(count(maildir) == 0, "delivered though qmail-send is down")
check(b"messages in queue: 50\n" in bin("qmail-qstat"), "the queue does not hold 50 letters")
listed = bin("qmail-qread").decode()
check(listed.count(f"restart@{HOST}") == 50 and " GMT  #" in listed, f"qmail-qread: {listed[:300]}")
bin("svc", "-u", service)
wait_count(maildir, 50)
check(sorted(subjects(maildir), key=int) == [str(n) for n in range(50)], "not the letters that were sent")
check("status: exiting" in log("qmail-send"), "qmail-send did not say that it exits")
