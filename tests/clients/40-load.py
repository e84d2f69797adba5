#!/usr/bin/env python3
"""smtp-source sends 10,000 letters of 4 KB over 50 sessions: each is in the Maildir exactly once."""

import shutil
import subprocess

from mail import *

LETTERS, SESSIONS = 10_000, 50
source = shutil.which("smtp-source") or "/usr/sbin/smtp-source"
if not os.path.exists(source):
    skip("smtp-source (Debian: postfix) is not installed")

_, maildir = account("load")
begun = time.monotonic()
done = subprocess.run(
    [source, "-s", str(SESSIONS), "-m", str(LETTERS), "-l", "4096", "-d", "-f", "a@example.net",
     "-t", f"load@{HOST}", f"inet:{SMTP[0]}:{SMTP[1]}"], timeout=900, capture_output=True)
check(done.returncode == 0, f"smtp-source: {done.stderr[-600:]!r}")
accepted = time.monotonic() - begun
wait_count(maildir, LETTERS, 300)
delivered = time.monotonic() - begun
time.sleep(2)
check(count(maildir) == LETTERS, f"{count(maildir)} letters instead of {LETTERS}")
names = os.listdir(maildir / "new")
check(all(os.stat(maildir / "new" / n).st_size == int(n.split(",S=")[1].split(",")[0]) for n in names), "a size is not as its name says")
print(f"{LETTERS} letters accepted in {accepted:.1f} s, delivered in {delivered:.1f} s")
