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


def pids():
    """Who runs each service, as svstat has it."""
    dirs = [path for path in (HOME / "service").iterdir() if not path.name.startswith(".")]
    return sorted(line.split(")")[0] for line in bin("svstat", *dirs).decode().splitlines())


def arrived(subjects_sent):
    wait_count(maildir, len(subjects_sent), 120)
    check(sorted(subjects(maildir)) == sorted(subjects_sent), "not the letters that were accepted")


def stub(dir, binary, cases):
    """Makes a binary of a build a script with cases of its own, that runs everything else as ever."""
    real = HOME / f"real-{binary}"
    shutil.copy2(dir / binary, real)
    (dir / binary).write_text(
        f"""#!/bin/sh
name=${{0##*/}}
[ "$name" = {binary} ] && [ "$1" != help ] && {{ name=$1; shift; }}
case $name in
{cases}
{binary}) exec {real} "$@" ;;
*) exec {real} "$name" "$@" ;;
esac
"""
    )
    return real


def names():
    """What is in bin/, and where its links lead."""
    return sorted((path.name, path.is_symlink() and os.readlink(path)) for path in (HOME / "bin").iterdir())


def untouched(dir, real, why):
    """A version that is refused before any service is told."""
    running_now, there = pids(), names()
    kept = (HOME / "bin/.before/qmail").read_bytes()
    done = upgrade(dir)
    check(done.returncode == 111 and why in done.stderr, f"{why}: {done.stdout}{done.stderr}")
    check(pids() == running_now, f"{why}: a service was touched")
    check(names() == there, f"{why}: bin/ is another: {names()}")
    check((HOME / "bin/.before/qmail").read_bytes() == kept, f"{why}: the version before is lost")
    shutil.rmtree(dir)
    real.unlink()


def service(name, script):
    """A service of the site's own."""
    dir = HOME / "service" / f".{name}"
    dir.mkdir()
    (dir / "run").write_text(script)
    (dir / "run").chmod(0o755)
    dir.rename(HOME / "service" / name)
    wait_for(f"service {name}", 30, lambda: b": up" in bin("svstat", HOME / "service" / name))


# A second listener and something that is none of ours.
smtpd = (HOME / "service/qmail-smtpd/run").read_text()
service("second", smtpd.replace(f" {SMTP[1]} ", " 0 "))
service("site", "#!/bin/sh\nexec sleep 10000\n")
held = flow.Held(*ends)
running = flow.Flow(*ends)
time.sleep(1)
for number in range(2):
    new = build(number)
    done = upgrade(new)
    shutil.rmtree(new)
    check(done.returncode == 0, f"upgrade {number}: {done.stdout}{done.stderr}")
    check("upgrade done" in done.stdout, done.stdout)
    check("second: ready after" in done.stdout, done.stdout)
    check("site: not a program of this home, left as it is" in done.stdout, done.stdout)
sent = held.finish()
sent += running.stop()
check(not running.troubles, "\n".join(running.troubles[:10]))
check(running.logins > 3 and len(sent) > 50, f"{running.logins} logins, {len(sent)} letters")
arrived(sent)
print(f"{len(sent)} letters and {running.logins} logins through two upgrades")

# The same again is nothing to do.
same = upgrade(HOME / "bin")
check(same.returncode == 0 and "already" in same.stdout, same.stdout + same.stderr)

# One that does not take the settings, and one that cannot tell how the services are.
broken = build(5)
real = stub(broken, "qmail", "qmail-send) echo 'I do not like them' >&2; exit 111 ;;")
untouched(broken, real, "not upgraded")
broken = build(6)
real = stub(broken, "daemontools", "svstat) exit 1 ;;")
untouched(broken, real, "svstat does not tell the state of")

# A queued that cannot start: the binary is a script that runs everything else as ever. What it has
# brought, a link to a program of its own, goes with it.
broken = build(7)
cases = """qmail-queued) echo 'queued of the broken version ends' >&2; exit 1 ;;
qmail) [ "$1" = help ] && echo brand-new; exec REAL "$@" ;;"""
real = stub(broken, "qmail", cases.replace("REAL", str(HOME / "real-qmail")))
there, kept = names(), (HOME / "bin/.before/qmail").read_bytes()
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
check(names() == there, f"the broken version left something: {names()}")
check((HOME / "bin/.before/qmail").read_bytes() == kept, "the version before is lost")
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
