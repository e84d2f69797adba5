#!/usr/bin/env python3
"""What `qmailctl install` and `uninstall` do below a root directory: root.py STAGE DIR. Nothing above it
is touched; what somebody has set there is kept."""

import hashlib
import os
import pathlib
import subprocess
import sys

STAGE, ROOT = map(pathlib.Path, sys.argv[1:3])
HOME = ROOT / "var/qmail"


def check(holds, why):
    if not holds:
        print(f"root.py: {why}", file=sys.stderr)
        sys.exit(1)


def qmailctl(*words):
    command = [STAGE / "qmail-admin", "qmailctl", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    check(done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install(*more):
    return qmailctl("install", "--from", STAGE, "--root", ROOT, "--host", "mail.example.org", *more)


def state():
    """Everything there is, with what it holds."""
    found = {}
    for path in sorted(ROOT.rglob("*")):
        about = path.lstat()
        text = b""
        if path.is_symlink():
            text = os.fsencode(os.readlink(path))
        elif path.is_file():
            text = hashlib.sha256(path.read_bytes()).digest()
        found[path] = (about.st_mode, about.st_uid, about.st_gid, about.st_ino, about.st_mtime_ns, text)
    return found


def host():
    return [pathlib.Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group")]


before = host()
for name in ("etc", "usr/sbin", "var/qmail/control", "var/qmail/users"):
    (ROOT / name).mkdir(parents=True)
(ROOT / "etc/inittab").write_text("id:2:initdefault:\n")
(ROOT / "usr/sbin/sendmail").write_text("another one's")
(HOME / "control/me").write_text("old.example.net\n")
(HOME / "control/concurrencyincoming").write_text("7\n")
(HOME / "users/assign").write_text("=joe:joe:500:500:/home/joe:::\n.\n")

empty = state()
planned = install("--dry-run")
check(state() == empty, "--dry-run has done something")
for step in ("put bin/qmail\n", "add to /etc/inittab", "keep /usr/sbin/sendmail"):
    check(step in planned, f"no {step!r} in:\n{planned}")

done = install()
check(done.startswith(planned.rstrip("\n")), f"planned:\n{planned}done:\n{done}")
check((HOME / "control/me").read_text() == "old.example.net\n", "control/me was overwritten")
check((HOME / "control/concurrencyincoming").read_text() == "7\n", "a setting was overwritten")
check((HOME / "users/assign").read_text().startswith("=joe:"), "users/assign was overwritten")
check(not (HOME / "account").exists(), "an account was made where there are some")
check((ROOT / "etc/inittab").read_text().count("SV:") == 1, "inittab")
check(os.readlink(ROOT / "usr/sbin/sendmail") == "/var/qmail/bin/sendmail", "sendmail")
check((HOME / "man/man8/qmailctl.8").exists(), "no manual")
setuid = [path for path in ROOT.rglob("*") if path.is_file() and path.lstat().st_mode & 0o6000]
check(not setuid, f"setuid: {setuid}")

after = state()
check("nothing to do" in install(), "a second run finds something to do")
check(state() == after, "a second run has changed something")

letter = HOME / "mail/kept"
letter.write_text("a letter")
gone = subprocess.run(["chroot", ROOT, "/var/qmail/bin/qmailctl", "uninstall"], timeout=120)
check(gone.returncode == 0, "uninstall")
check((ROOT / "usr/sbin/sendmail").read_text() == "another one's", "the old sendmail is not back")
check((ROOT / "etc/inittab").read_text() == "id:2:initdefault:\n", "inittab has our line")
check(not os.path.lexists(HOME / "bin/qmail") and not os.path.lexists(HOME / "bin/svscan"), "bin/")
check(letter.exists() and (HOME / "control/me").exists() and (HOME / "users/assign").exists(), "lost")
check(host() == before, "the accounts of this machine have changed")
