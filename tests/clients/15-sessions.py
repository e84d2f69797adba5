#!/usr/bin/env python3
"""The session files, unchanged, against the installed server: those whose settings it has."""

import shutil

from mail import *

ROOT = pathlib.Path(__file__).resolve().parents[2]
if not shutil.which("cargo"):
    skip("cargo is not on the path")

account("alice")
rules = HOME / "service/qmail-smtpd/rules"
kept = rules.read_text()
given = HOME / "given"
given.write_text(f"control me = {HOST}\nmailbox alice@{HOST}\n")
try:
    # The files are what a stranger sees: no relaying for this machine meanwhile.
    rules.write_text(":allow\n")
    bin("qmailctl", "cdb")
    files = [str(f) for f in sorted((ROOT / "tests/sessions").glob("*.smtp"))]
    done = subprocess.run(
        ["cargo", "run", "--quiet", "--locked", "--package", "session", "--", *files,
         "--smtp", f"{SMTP[0]}:{SMTP[1]}", "--given", str(given)],
        cwd=ROOT, capture_output=True, text=True, timeout=1000)
finally:
    rules.write_text(kept)
    bin("qmailctl", "cdb")
played = [line for line in done.stdout.splitlines() if line.endswith(": ok")]
check(done.returncode == 0, f"{done.stdout}\n{done.stderr}")
check(len(played) >= 30, f"only {len(played)} files were played:\n{done.stdout}")
print(f"{len(played)} session files played")
