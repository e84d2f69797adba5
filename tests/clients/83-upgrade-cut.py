#!/usr/bin/env python3
"""An upgrade killed at every step: what is unfinished is told, and the next upgrade finishes it or goes
back. Never is bin/ left between two versions without a word."""

import shutil
import tempfile

from mail import *

BINARIES = ["qmail", "qmail-net", "daemontools", "qmail-admin"]
# Whatever an upgrade does to the disk; each is tried, for each call of it.
CALLS = ["rename", "mkdir", "linkat", "link", "fsync", "unlink", "rmdir", "unlinkat", "symlink"]
# The links made by the hundred are one case like another.
MANY = 16

if shutil.which("strace") is None:
    skip("no strace")

yard = pathlib.Path(tempfile.mkdtemp(prefix="qmail-cut-"))
yard.chmod(0o755)


def build(number, script=None):
    """The binaries of another build: what there is, and a few bytes."""
    dir = yard / f"build-{number}"
    dir.mkdir()
    for name in BINARIES:
        shutil.copy2(HOME / "bin" / name, dir / name)
        with open(dir / name, "ab") as binary:
            binary.write(b"\nbuild %d\n" % number)
    if script:
        (dir / "qmail-net").write_text(script)
    return dir


def qmailctl(home, *words, cut=()):
    """Runs the home's qmailctl, killed where `cut` says."""
    command = [*cut, home / "bin/qmailctl", "--home", home, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def killed_at(call, number):
    return ["strace", "-q", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]


def version(home, *dirs):
    """Which builds the binaries are of."""
    found = set()
    for name in BINARIES:
        there = (home / "bin" / name).read_bytes()
        found |= {dir for dir in dirs if (dir / name).read_bytes() == there} or {None}
    return found


def programs(home):
    """The names in bin/, but what upgrades have beside the programs."""
    return sorted(path.name for path in (home / "bin").iterdir() if path.name[0] != ".")


def told(home):
    """Whether stat and check tell of it; they say the same."""
    said = {"was cut off" in qmailctl(home, word).stdout for word in ("stat", "check")}
    check(len(said) == 1, "stat and check differ")
    return said.pop()


def mended(home, old, new, why):
    """After a kill: nothing between two versions without a word, and the next upgrade mends it."""
    there = version(home, old, new)
    check(None not in there, f"{why}: a binary is of neither version")
    if not told(home):
        check(len(there) == 1, f"{why}: two versions, and nobody says so")
        return
    done = qmailctl(home, "upgrade")
    check("was cut off" in done.stdout, f"{why}: {done.stdout}{done.stderr}")
    if done.returncode != 0:
        check("the old version is back" in done.stderr, f"{why}: {done.stdout}{done.stderr}")
        check(version(home, old, new) == {old}, f"{why}: not back")
    check(len(version(home, old, new)) == 1, f"{why}: two versions after it was mended")
    check(not told(home), f"{why}: still unfinished")


def sweep(home, old, new, calls):
    """Kills the upgrade from one to the other at each of these calls; how often, and where it ended."""
    cuts, ends = 0, {old: 0, new: 0}
    for call in calls:
        for number in range(1, MANY + 1):
            names = programs(home)
            done = qmailctl(home, "upgrade", "--from", new, cut=killed_at(call, number))
            if done.returncode != -9:
                break
            cuts += 1
            mended(home, old, new, f"killed at {call} {number}")
            end = version(home, old, new).pop()
            ends[end] += 1
            check([n for n in programs(home) if not n.endswith(".new")] == names, f"names: {programs(home)}")
            if end == new:
                back = qmailctl(home, "upgrade", "--from", old)
                check(back.returncode == 0, f"{back.stdout}{back.stderr}")
        # One that was not killed is whole, one way or the other; and back to where we were.
        check(len(version(home, old, new)) == 1 and not told(home), f"{call}: not whole")
        if version(home, old, new) != {old}:
            back = qmailctl(home, "upgrade", "--from", old)
            check(back.returncode == 0, f"{back.stdout}{back.stderr}")
    return cuts, ends


# At rest: no service to wait for, so every step can be tried.
rest = yard / "home"
(rest / "bin").mkdir(parents=True)
old, new = build(1), build(2)
for name in BINARIES:
    shutil.copy2(old / name, rest / "bin" / name)
heard = [f"127.0.0.1:{free_port()}" for _ in range(2)]
setup = ["setup", "--host", HOST, "--smtp", heard[0], "--pop3", heard[1]]
made = subprocess.run([rest / "bin/qmail-admin", "qmailctl", "--home", rest, *setup], capture_output=True)
check(made.returncode == 0, made.stderr)
nothing = qmailctl(rest, "upgrade")
check(nothing.returncode == 111 and "no upgrade was cut off" in nothing.stderr, nothing.stderr)
cuts, ends = sweep(rest, old, new, CALLS)
check(min(ends.values()) > 3, f"{cuts} kills, {ends}")
print(f"{cuts} kills at rest: {ends[new]} finished, {ends[old]} as before")

# Between two binaries: an upgrade that is refused leaves what that one is finished with, and takes nobody's
# place.
renames = next(n for n in range(4, 20) if (qmailctl(rest, "upgrade", "--from", new, cut=killed_at("rename", n)), len(version(rest, old, new)))[1] == 2)
locals, refused = rest / "control/locals", build(6)
kept = locals.read_bytes()
locals.unlink()
locals.mkdir()
done = qmailctl(rest, "upgrade", "--from", refused)
check(done.returncode == 111 and "not upgraded" in done.stderr and "takes its place" not in done.stdout, f"{done}")
check(not (rest / "bin/.fresh.new").exists(), "what was refused stays")
locals.rmdir()
locals.write_bytes(kept)
done = qmailctl(rest, "upgrade")
check(done.returncode == 0 and "finishing it" in done.stdout and version(rest, old, new) == {new}, f"{done}")

# A disk that is full before anything is kept: nothing was changed, and nothing is left of it.
full = ["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=link,linkat", "-e", "inject=link,linkat:error=ENOSPC"]
names = {path.name for path in (rest / "bin").iterdir()}
done = qmailctl(rest, "upgrade", "--from", old, cut=full)
check(done.returncode == 111 and "No space left on device" in done.stderr, f"{done}")
check(done.stderr.endswith("; nothing was changed\n") and version(rest, old, new) == {new}, f"{done}")
check({path.name for path in (rest / "bin").iterdir()} == names and not told(rest), "something is left")

# What services lack that an earlier setup did not make is made, too.
lacks = rest / "service/queued/ends-last"
lacks.unlink()
check(f"{lacks} does not exist" in qmailctl(rest, "check").stdout, "check does not miss it")
done = qmailctl(rest, "upgrade", "--from", old)
check(done.returncode == 0 and f"made {lacks}\n" in done.stdout and lacks.exists(), f"{done}")

# A version that fails when it is in its place: the way back is killed, too.
broken = build(3, '#!/bin/sh\ncase $0 in */build-3/*) echo qmail-smtpd ;; *) exit 1 ;; esac\n')
cuts, ends = sweep(rest, old, broken, ["rename", "fsync", "rmdir"])
check(ends[broken] == 0 and cuts > 10, f"{cuts} kills, {ends}")
print(f"{cuts} kills of one that goes back")


def runs(home, name):
    """What a service runs, by device and inode."""
    line = bin("svstat", home / "service" / name).decode()
    if "(pid " not in line:
        return None
    about = os.stat(f"/proc/{line.split('(pid ')[1].split(')')[0]}/exe")
    return about.st_dev, about.st_ino


def at_work(why):
    """Every service runs what is in bin/, and mail flows."""
    for name, binary in (("queued", "qmail"), ("pspawn", "qmail"), ("qmail-send", "qmail"), ("qmail-smtpd", "daemontools")):
        about = os.stat(HOME / "bin" / binary)
        wait_for(f"{why}: {name} runs another version", 30, lambda: runs(HOME, name) == (about.st_dev, about.st_ino))
    sent.append(why)
    with smtplib.SMTP(*SMTP, timeout=60) as session:
        session.sendmail("cut@example.net", f"cut@{HOST}", f"Subject: {why}\r\n\r\n")
    wait_count(maildir, len(sent))
    check(sorted(subjects(maildir)) == sorted(sent), "not the letters that were accepted")


# Under services at work: killed between two binaries, and when the first service is the new one.
maildir, sent = account("cut")[1], []
before = yard / "before"
before.mkdir()
for name in BINARIES:
    shutil.copy2(HOME / "bin" / name, before / name)
# A paused service could become neither version: nothing is touched.
smtpd = HOME / "service/qmail-smtpd"
subprocess.run([HOME / "bin/svc", "-p", smtpd], check=True, timeout=60)
wait_for("qmail-smtpd is paused", 60, lambda: (smtpd / "supervise/status").read_bytes()[16] == 1)
done = qmailctl(HOME, "upgrade", "--from", new)
check(done.returncode == 111 and "is paused: nothing was changed (mend: " in done.stderr, f"paused: {done}")
check(version(HOME, before, new) == {before} and not told(HOME), "something was changed")
subprocess.run([HOME / "bin/qmailctl", "cont"], check=True, timeout=60)
done = qmailctl(HOME, "upgrade", "--from", new, cut=killed_at("rename", renames))
check(done.returncode == -9 and len(version(HOME, before, new)) == 2, f"killed: {done}")
check(told(HOME), "nobody tells of a mixture")
done = qmailctl(HOME, "upgrade")
check(done.returncode == 0 and "finishing it" in done.stdout and "upgrade done" in done.stdout, f"{done}")
check(version(HOME, before, new) == {new} and not told(HOME), "not finished")
at_work("finished after a kill between two binaries")

other = build(4)
going = subprocess.Popen([HOME / "bin/qmailctl", "upgrade", "--from", other], stdout=subprocess.PIPE, text=True)
for line in going.stdout:
    if "queued: ready" in line:
        break
going.kill()
going.wait()
check(told(HOME), "nobody tells of services of two versions")
shutil.rmtree(other)
done = qmailctl(HOME, "upgrade")
check(done.returncode == 0 and "finishing it" in done.stdout, f"{done}")
at_work("finished after a kill between two services")

# What is cut off before the new ones are all there goes back; another version may take its place.
last = build(5)
done = qmailctl(HOME, "upgrade", "--from", last, cut=killed_at("rename", renames))
check(done.returncode == -9, f"killed: {done}")
shutil.rmtree(HOME / "bin/.fresh")
done = qmailctl(HOME, "upgrade")
check(done.returncode == 0 and "the old version is back" in done.stdout and not told(HOME), f"{done}")
at_work("back after a kill")
done = qmailctl(HOME, "upgrade", "--from", last, cut=killed_at("rename", renames))
check(done.returncode == -9 and told(HOME), f"killed: {done}")
done = qmailctl(HOME, "upgrade", "--from", before)
check(done.returncode == 0 and "this one takes its place" in done.stdout and not told(HOME), f"{done}")
at_work("another version in its place")
print(f"{len(sent)} letters through four kills at work")

# Services where the guide has svscan look, one of them a site's that lies elsewhere: it is named, with the
# command that renews it.
qmailctl(rest, "upgrade", "--from", old)
(rest / "service").rename(rest / "supervise")
scanned = yard / "scanned"
scanned.mkdir()
for service in (rest / "supervise").iterdir():
    (scanned / service.name).symlink_to(service)
(rest / "service").symlink_to(scanned)
site = yard / "site"
site.mkdir()
(site / "run").write_text(f"#!/bin/sh\nexec {rest}/bin/tcpserver -RH 127.0.0.1 {free_port()} true\n")
(site / "run").chmod(0o755)
(scanned / "site").symlink_to(site)
svscan = subprocess.Popen([rest / "bin/svscan", scanned], start_new_session=True, stderr=subprocess.DEVNULL)
try:
    is_new = lambda name: runs(rest, name) == ((about := os.stat(rest / "bin/daemontools")).st_dev, about.st_ino)
    for name in ("site", "qmail-smtpd"):
        wait_for(f"{name} is up", 30, lambda: (scanned / name / "supervise/ok").exists() and is_new(name))
    done = qmailctl(rest, "upgrade", "--from", new)
    check(done.returncode == 0 and is_new("qmail-smtpd") and not is_new("site"), f"{done}")
    command = f"{rest}/bin/svc -h {scanned}/site"
    told = [line for line in done.stdout.splitlines() if line.startswith("site: ")]
    check(told and "lies elsewhere" in told[0] and told[0].endswith(command), f"{done}")
    subprocess.run(command.split(), check=True)
    wait_for("it is renewed by that", 30, lambda: is_new("site"))
finally:
    svscan.terminate()
    svscan.wait(60)
shutil.rmtree(yard)
