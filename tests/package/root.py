#!/usr/bin/env python3
"""What `qmailctl install` and `uninstall` do below a root directory: root.py STAGE DIR. Nothing above it
is touched; what somebody has set there is kept."""

import hashlib
import os
import pathlib
import shutil
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    check(done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install(*more):
    return qmailctl("install", "--from", STAGE, "--root", ROOT, "--host", "mail.example.org", *more)


def refused(why, *words):
    """A command that must fail, for this reason, and change nothing."""
    before = state()
    done = subprocess.run([STAGE / "qmail-admin", "qmailctl", *words], capture_output=True, text=True, timeout=600)
    check(done.returncode == 111 and why in done.stderr, f"{words}: {done}")
    check(state() == before, f"{words}: something was changed")


def watched(home):
    """Pretends that somebody's supervise watches a service of a home's; what it has open."""
    ok = ROOT / home / "service/queued/supervise/ok"
    ok.parent.mkdir(parents=True, exist_ok=True)
    if not ok.exists():
        os.mkfifo(ok)
    return os.open(ok, os.O_RDONLY | os.O_NONBLOCK)


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
again = install()
check("nothing to do" in again, "a second run finds something to do")
check("this home's name, old.example.net, which --host mail.example.org does not change" in again, again)
check(state() == after, "a second run has changed something")

# What cannot be meant is refused where there is nothing else to do, too; what can is done.
below = ("install", "--from", STAGE, "--root", ROOT)
refused("nonsense is not ADDR:PORT", *below, "--smtp", "nonsense")
refused("is not a host name", *below, "--host", "a b")
refused("only letters", "--home", "/srv/new", *below, "--life-with-qmail", "--scan", "/srv/100%")
refused(f"below {ROOT}: ", *below, "--life-with-qmail")
refused("/nowhere: No such file or directory", "install", "--from", STAGE, "--root", "/nowhere")
check(install("--smtp", "127.0.0.1:2525").count("listen at 127.0.0.1 2525") == 1, "an address was left out")
check(" 127.0.0.1 2525 " in (HOME / "service/qmail-smtpd/run").read_text(), "it listens elsewhere")
check("nothing to do" in install("--smtp", "127.0.0.1:2525"), "the same address again")

# A newer version: what somebody has changed stays, what nobody has is as it was written, or anew.
newer = ROOT.with_name(ROOT.name + "-newer")
shutil.copytree(STAGE, newer)
with (newer / "qmail").open("ab") as binary:
    binary.write(b"\0")
mine = [HOME / "service/queued/log/run", HOME / "service/pspawn/run", HOME / "service/qmail-send/run"]
mine[0].write_text(mine[0].read_text().replace("s1000000 n20", "b2G"))
mine[1].write_text("#!/bin/sh\n# a site's own\nexec sleep 1000\n")
old = "".join(line for line in mine[2].open() if not line.startswith("# Written by"))
mine[2].write_text(old)
wanted = [run.read_text() for run in mine]
said = qmailctl("install", "--from", newer, "--root", ROOT)
check("put bin/qmail\n" in said and "make or complete the home" in said, said)
check([run.read_text() for run in mine[:2]] == wanted[:2], "somebody's run script was written anew")
check("# Written by" in mine[2].read_text(), "a script from before the line was not known as ours")
check("n20 s1000000" not in mine[0].read_text() and "b2G" in mine[0].read_text(), "log/run")
shutil.rmtree(newer)

# What cannot be: homes that no unit could name, and homes that are not root's.
for name, why in (("/srv/a b", "only letters"), ("/srv/100%", "only letters"), ("/srv/private", "private home")):
    (ROOT / name[1:]).mkdir(parents=True)
    if "private" in name:
        os.chown(ROOT / name[1:], 47901, 47901)
    words = [STAGE / "qmail-admin", "qmailctl", "--home", name, "install", "--from", STAGE, "--root", ROOT]
    done = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, timeout=60)
    check(done.returncode == 111 and why in done.stderr, f"{name}: {done}")
leave = ["chroot", ROOT, "/var/qmail/bin/qmailctl", "--home", "/srv/private", "uninstall", "--dry-run"]
done = subprocess.run(leave, capture_output=True, text=True, timeout=60)
check(done.returncode == 111 and "private home" in done.stderr, f"{done}")

# Another home takes over the links; what was kept before the first stays kept. A script somebody has in
# the place of ours stays.
(ROOT / "etc/init.d").mkdir()
(ROOT / "etc/init.d/qmail").write_text("#!/bin/sh\n# another's\n")
said = qmailctl("--home", "/srv/other", "install", "--from", STAGE, "--root", ROOT, "--boot", "sysv")
check("/etc/init.d/qmail stays" in said, said)
check((ROOT / "etc/init.d/qmail").read_text() == "#!/bin/sh\n# another's\n", "somebody's script was written anew")
check(os.readlink(ROOT / "usr/sbin/sendmail") == "/srv/other/bin/sendmail", "sendmail of the other home")
check((ROOT / "usr/sbin/sendmail.before-qmail").read_text() == "another one's", "what was kept is lost")
qmailctl("install", "--from", STAGE, "--root", ROOT)
check(os.readlink(ROOT / "usr/sbin/sendmail") == "/var/qmail/bin/sendmail", "sendmail")

# What starts a home is remembered; a svscan of somebody's is left to it, and that is said.
inittab = (ROOT / "etc/inittab").read_text()
(ROOT / "etc/init.d/qmail").unlink()
for boot in (("--boot", "none"), ()):
    said = qmailctl("--home", "/srv/quiet", *below, *boot)
    check((ROOT / "etc/inittab").read_text() == inittab and "inittab" not in said, said)
# Cut off while it made the first account, before the services: the next finishes it.
quiet = ROOT / "srv/quiet"
check((quiet / "account").exists(), "no first account")
for path in [quiet / "account", *quiet.glob("users/assign"), *quiet.glob("users/*.cdb"), *quiet.glob("users/cdb")]:
    path.unlink()
(quiet / "users/passwords").unlink()
for path in quiet.glob("alias/.qmail-*"):
    path.unlink()
shutil.rmtree(quiet / "service")
qmailctl("--home", "/srv/quiet", *below)
check((quiet / "account").exists() and (quiet / "users/cdb").exists(), "an install cut off early has no account")
reader = watched("srv/watched")
said = qmailctl("--home", "/srv/watched", *below)
check("looks at /srv/watched/service is not ours: it is left to start the services" in said, said)
check((ROOT / "etc/inittab").read_text() == inittab, "a second svscan is started")
os.close(reader)

# What an earlier --boot set up stays, and is told of.
qmailctl("--home", "/srv/quiet", *below, "--boot", "sysv")
said = qmailctl("--home", "/srv/quiet", *below, "--boot", "none")
check("/etc/init.d/qmail starts it with the machine, too" in said, said)
(ROOT / "etc/init.d/qmail").unlink()
check("too" not in qmailctl("--home", "/srv/quiet", *below), "told of what is not there")
qmailctl("install", "--from", STAGE, "--root", ROOT)

letter = HOME / "mail/kept"
letter.write_text("a letter")
page = HOME / "man/man8/site.8"
page.write_text(".Dd today\n")
for name in (".before", ".before.new", ".before.filling", ".fresh"):
    (HOME / "bin" / name).mkdir()
    (HOME / "bin" / name / "qmail").write_text("left by an upgrade that was cut off")
(HOME / "bin/qmail.4711.new").write_text("half of it")
(HOME / "bin/mine").write_text("a site's own")
with open(ROOT / "etc/inittab", "a") as more:
    more.write("SV:2:respawn:/srv/other/bin/svscan /srv/other/service\n")
reader = watched("var/qmail")
refused("is at work there", "uninstall", "--root", ROOT)
os.close(reader)
planned = qmailctl("uninstall", "--root", ROOT, "--dry-run")
check(qmailctl("uninstall", "--root", ROOT) == planned and "end every process" not in planned, planned)
check([path.name for path in (HOME / "bin").iterdir()] == ["mine"], "something of ours is left in bin/")
check((ROOT / "usr/sbin/sendmail").read_text() == "another one's", "the old sendmail is not back")
left = "id:2:initdefault:\nSV:2:respawn:/srv/other/bin/svscan /srv/other/service\n"
check((ROOT / "etc/inittab").read_text() == left, "inittab has our line, or lost another home's")
check(not os.path.lexists(HOME / "bin/qmail") and not os.path.lexists(HOME / "bin/svscan"), "bin/")
check(letter.exists() and (HOME / "control/me").exists() and (HOME / "users/assign").exists(), "lost")
check(page.exists() and not (HOME / "man/man8/qmailctl.8").exists(), "the manual")
check(host() == before, "the accounts of this machine have changed")
