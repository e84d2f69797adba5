#!/usr/bin/env python3
"""A new version under load: no connection is refused or cut, no letter lost or doubled; a new version
that does not become ready is taken back."""

import shutil
import tempfile

import flow
from mail import *

BINARIES = ["qmail", "qmail-net", "daemontools", "qmail-admin"]
secret, maildir = account("upgrade")
recipient = f"upgrade@{HOST}"
ends = (SMTP, POP3, recipient, recipient, secret)


def build(number):
    """The binaries of another build: what there is, and a few bytes."""
    dir = pathlib.Path(tempfile.mkdtemp(prefix="qmail-upgrade-"))
    for name in BINARIES:
        shutil.copy2(HOME / "bin" / name, dir / name)
        with open(dir / name, "ab") as binary:
            binary.write(b"\nbuild %d\n" % number)
    return dir


def upgrade(dir, *more):
    command = [HOME / "bin/qmailctl", "upgrade", "--from", dir, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def programs():
    """What runs, as (argv 0's last part, what the kernel says it runs)."""
    found = []
    for pid, words in processes().items():
        try:
            found.append((words[1], os.readlink(f"/proc/{pid}/exe")))
        except OSError:
            pass
    return found


def arrived(subjects_sent):
    wait_count(maildir, len(subjects_sent), 120)
    check(sorted(subjects(maildir)) == sorted(subjects_sent), "not the letters that were accepted")


held = flow.Held(*ends)
running = flow.Flow(*ends)
time.sleep(1)
for number in range(2):
    new = build(number)
    done = upgrade(new)
    shutil.rmtree(new)
    check(done.returncode == 0, f"upgrade {number}: {done.stdout}{done.stderr}")
    check("upgrade done" in done.stdout, done.stdout)
sent = held.finish()
sent += running.stop()
check(not running.troubles, "\n".join(running.troubles[:10]))
check(running.logins > 3 and len(sent) > 50, f"{running.logins} logins, {len(sent)} letters")
arrived(sent)
print(f"{len(sent)} letters and {running.logins} logins through two upgrades")

# The same again is nothing to do.
same = upgrade(HOME / "bin")
check(same.returncode == 0 and "already" in same.stdout, same.stdout + same.stderr)

# A queued that cannot start: the binary is a script that runs everything else as ever.
broken = build(7)
shutil.copy2(broken / "qmail", broken / "real")
real = HOME / "real-qmail"
os.replace(broken / "real", real)
real.chmod(0o755)
(broken / "qmail").write_text(
    f"""#!/bin/sh
name=${{0##*/}}
case $name in
qmail-queued) echo 'queued of the broken version ends' >&2; exit 1 ;;
qmail) exec {real} "$@" ;;
*) exec {real} "$name" "$@" ;;
esac
"""
)
before = programs()
done = upgrade(broken, "--limit", "4")
check(done.returncode == 111, f"a broken version: {done.returncode} {done.stdout}{done.stderr}")
check("queued did not become ready within 4 seconds" in done.stderr, done.stderr)
check("the old version is back" in done.stderr, done.stderr)
logged = next(HOME.glob("log/upgrade")).read_text()
check("putting the old version back" in logged and "the old version is back" in logged, logged)
with smtplib.SMTP(*SMTP, timeout=60) as session:
    flow.letter(session, recipient, "after")
sent.append("after")
arrived(sent)
check((HOME / "bin/qmail").read_bytes()[:4] == b"\x7fELF", "bin/qmail is not the old one")
shutil.rmtree(broken)
real.unlink()

# A network program that never serves: the listener tries it, and stays what it is.
stuck = build(8)
(stuck / "qmail-net").write_text('#!/bin/sh\n[ "$1" = help ] && echo qmail-smtpd && exit 0\nexit 1\n')
waiting = flow.Held(*ends)
done = upgrade(stuck, "--limit", "5")
check(done.returncode == 111, f"a stuck version: {done.returncode} {done.stdout}{done.stderr}")
check("did not become the new version within 5 seconds" in done.stderr, done.stderr)
check("staying what it is" in log("qmail-smtpd"), "tcpserver did not say why")
sent += waiting.finish()
arrived(sent)
shutil.rmtree(stuck)
