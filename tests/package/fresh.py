#!/usr/bin/env python3
"""What the package does in a fresh Debian: fresh.py ROOT PACKAGE NEXT-PACKAGE.

Run in a network, mounts and processes of its own (see `cargo xtask package`): ports 25 and 110 are
nobody's there, and every process but ours is the package's."""

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "clients"))
import flow

ROOT, NOW, NEXT = map(pathlib.Path, sys.argv[1:4])
HOME = ROOT / "var/qmail"
SMTP, POP3 = ("127.0.0.1", 25), ("127.0.0.1", 110)


def check(holds, why):
    if not holds:
        print(f"fresh.py: {why}", file=sys.stderr)
        sys.exit(1)


def inside(*words, **more):
    """Runs a program of that Debian's, without questions to anybody."""
    more.setdefault("timeout", 900)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    command = ["chroot", ROOT, *words]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, **more
    )


def does(*words):
    done = inside(*words)
    check(done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def wait_for(what, seconds, holds):
    seconds = max(flow.PATIENCE, seconds)
    until = time.monotonic() + seconds
    while not holds():
        check(time.monotonic() < until, f"after {seconds} s: {what}")
        time.sleep(0.1)


def greets(address):
    try:
        with socket.create_connection(address, timeout=30) as sock:
            return bool(sock.recv(1))
    except OSError:
        return False


def processes():
    """What runs in that Debian."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "root") == str(ROOT):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")[:3]
        except OSError:
            pass
    return {pid: words for pid, words in found.items() if words != [b""]}


def letters():
    found = []
    for maildir in HOME.glob("mail/*/*/Maildir"):
        for part in ("new", "cur"):
            found += [path.read_bytes() for path in (maildir / part).iterdir()]
    return found


def subjects():
    lines = [line for text in letters() for line in text.split(b"\n") if line.startswith(b"Subject: ")]
    return sorted(line[9:].decode().strip() for line in lines)


def install(package):
    shutil.copy(package, ROOT / "root" / package.name)
    return does("dpkg", "--install", f"/root/{package.name}")


def prepare():
    """A network with itself alone, and what a system has mounted."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    up = struct.pack("16sh", b"lo", 0x1 | 0x40)
    fcntl.ioctl(sock, 0x8914, up)  # SIOCSIFFLAGS: up and running
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", ROOT / "proc"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ROOT / "run"], check=True)
    for name in ("null", "zero", "random", "urandom", "full"):
        place = ROOT / "dev" / name
        place.touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", place], check=True)
    subprocess.run(["hostname", "mail.example.org"], check=False)


def main():
    prepare()
    print("installs, and asks nothing")
    if inside("dpkg", "--status", "qmail-rs").returncode == 0:
        inside("dpkg", "--purge", "qmail-rs")
    shutil.rmtree(HOME, ignore_errors=True)
    said = install(NOW)
    accounts = (ROOT / "etc/passwd").read_text()
    check("\nqmaild:" in accounts and not (HOME / "users/roles").exists(), said)
    again = does("/usr/lib/qmail-rs/qmail-admin", "qmailctl", "install", "--packaged")
    check("nothing to do" in again, f"a second time is not nothing:\n{again}")
    wrong = does("/var/qmail/bin/qmailctl", "check")
    check(wrong == "", f"qmailctl check: {wrong}")
    setuid = does("find", "/var/qmail", "/usr/lib/qmail-rs", "-perm", "/6000", "-type", "f")
    check(setuid == "", f"setuid: {setuid}")
    links = {"usr/sbin/sendmail", "usr/lib/sendmail", "usr/bin/qmailctl", "usr/bin/mailq"}
    check(all((ROOT / link).is_symlink() for link in links), "a link is missing")

    print("starts, and mail flows")
    # With no more than the unit leaves to it.
    unit = (ROOT / "usr/lib/systemd/system/qmail.service").read_text().splitlines()
    left = next(line for line in unit if line.startswith("CapabilityBoundingSet="))
    left = [name.lower().replace("cap_", "+") for name in left.split("=")[1].split()]
    does("/etc/init.d/qmail", "stop")
    wait_for("the end of all", 60, lambda: not processes())
    does("setpriv", f"--bounding-set=-all,{','.join(left)}", "/etc/init.d/qmail", "start")
    wait_for("SMTP", 30, lambda: greets(SMTP))
    wait_for("POP3", 30, lambda: greets(POP3))
    user, password = (HOME / "account").read_text().strip().split(":")
    host = (HOME / "control/me").read_text().strip()
    recipient = f"{user}@{host}"
    swaks = ["swaks", "--server", "127.0.0.1", "--from", "a@example.net", "--to", recipient]
    sent = subprocess.run([*swaks, "--header", "Subject: swaks", "--silent", "2"], timeout=flow.PATIENCE)
    check(sent.returncode == 0, "swaks was not served")
    wait_for("the letter", 30, lambda: subjects() == ["swaks"])
    mailbox = ROOT / "root/fetched"
    mailbox.unlink(missing_ok=True)
    mpop = ["mpop", "--host=127.0.0.1", f"--user={user}", "--auth=user", "--tls=off", "--keep=on"]
    mpop += [f"--passwordeval=echo {password}", f"--delivery=mbox,{mailbox}"]
    mpop += [f"--uidls-file={ROOT}/root/uidls", "--quiet"]
    fetched = subprocess.run(mpop, capture_output=True, text=True, timeout=flow.PATIENCE)
    check(fetched.returncode == 0, f"mpop: {fetched.stderr}")
    check("Subject: swaks" in mailbox.read_text(), "mpop has not fetched it")

    print("the next build under load")
    ends = (SMTP, POP3, recipient, user, password)
    held, running = flow.Held(*ends), flow.Flow(*ends)
    time.sleep(2)
    said = install(NEXT)
    check("upgrade done" in said, said)
    time.sleep(1)
    expected = ["swaks", *held.finish(), *running.stop()]
    check(not running.troubles, "\n".join(running.troubles[:10]))
    wait_for("every letter", 120, lambda: len(letters()) >= len(expected))
    check(subjects() == sorted(expected), "not the letters that were accepted")
    check(len(expected) > 50 and running.logins > 3, f"only {len(expected)} letters")
    print(f"{len(expected)} letters, {running.logins} logins, nobody turned away")

    print("goes, and leaves mail and settings")
    before = (HOME / "control/me").read_text()
    does("dpkg", "--purge", "qmail-rs")
    check(not processes(), f"still running: {processes()}")
    check(not greets(SMTP), "somebody still hears SMTP")
    check(subjects() == sorted(expected), "mail is gone")
    check((HOME / "control/me").read_text() == before, "settings are gone")
    for path in ("usr/sbin/sendmail", "var/qmail/bin/qmail", "etc/init.d/qmail"):
        check(not os.path.lexists(ROOT / path), f"{path} stays")


try:
    main()
finally:
    for pid in processes():
        os.kill(pid, signal.SIGKILL)
