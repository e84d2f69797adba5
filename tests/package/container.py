#!/usr/bin/env python3
"""What the Dockerfile's second half makes, without Docker: container.py ROOT STAGE. ROOT is a Debian, STAGE has
the binaries and the manual; the entry point is the first process, as in a container.

Run in a network, mounts and processes of its own (see `cargo xtask package`)."""

import fcntl
import json
import os
import pathlib
import shlex
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import time

ROOT, STAGE = map(pathlib.Path, sys.argv[1:3])
HOME = ROOT / "var/qmail"
HOST = "mail.example.org"
DOCKERFILE = pathlib.Path(__file__).parent.parent.parent / "Dockerfile"


def check(holds, why):
    if not holds:
        print(f"container.py: {why}", file=sys.stderr)
        sys.exit(1)


def said():
    """The second stage's words, by their first: what is built first is not looked at here."""
    text = DOCKERFILE.read_text().replace("\\\n", " ").split("\nFROM ")[-1]
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in text.splitlines()[1:] if " " in line}


def builds():
    """The first stage: as new a Rust as the workspace asks for, and what is copied is made."""
    cargo = DOCKERFILE.with_name("Cargo.toml").read_text()
    wanted = cargo.split('rust-version = "')[1].split('"')[0]
    text = DOCKERFILE.read_text()
    check(f"FROM rust:{wanted}-slim AS build" in text, f"the Dockerfile does not build with Rust {wanted}")
    for binary in ("qmail", "qmail-net", "daemontools", "qmail-admin"):
        check(f"--package {binary}" in text and f"release/{binary} " in text, f"{binary} is not built")


def prepare():
    """A network with itself alone, and what a container has mounted."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up and running
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for name in ("null", "zero", "random", "urandom", "full"):
        (ROOT / "dev" / name).touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", ROOT / "dev" / name], check=True)


class Container:
    """The entry point, as process 1 of its own."""

    def __init__(self, words):
        shutil.copy(ROOT / "etc/passwd.image", ROOT / "etc/passwd")
        shutil.copy(ROOT / "etc/group.image", ROOT / "etc/group")
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        environment.update(part.split("=", 1) for part in shlex.split(words["ENV"]))
        apart = ["unshare", "--pid", "--fork", "--mount", f"--mount-proc={ROOT}/proc"]
        entry = ["chroot", ROOT, *json.loads(words["ENTRYPOINT"])]
        self.words = words
        self.log = open(ROOT.with_name("container.log"), "ab")
        self.unshare = subprocess.Popen([*apart, *entry], env=environment, stdout=self.log, stderr=self.log)

    def first(self):
        """The first process, as it is seen from here."""
        path = pathlib.Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        return int(path.read_text().split()[0])

    def inside(self, *words):
        enter = ["nsenter", "--target", str(self.first()), "--pid", "--mount", "chroot", ROOT, *words]
        return subprocess.run(enter, capture_output=True, text=True, timeout=60)

    def serves(self):
        until = time.monotonic() + 60
        while True:
            check(self.unshare.poll() is None and time.monotonic() < until, "it does not serve")
            try:
                with socket.create_connection(("127.0.0.1", 110), 5) as pop3, smtplib.SMTP("127.0.0.1", 25, timeout=30):
                    if pop3.recv(3) == b"+OK":
                        break
            except OSError:
                time.sleep(0.2)
        words = pathlib.Path(f"/proc/{self.first()}/cmdline").read_bytes().split(b"\0")
        check(words[0] == b"/var/qmail/bin/svscan", f"the first process is {words}")
        health = json.loads(self.words["HEALTHCHECK"].split(" CMD ", 1)[1])
        until = time.monotonic() + 20  # --start-period
        while (done := self.inside(*health)).returncode != 0:
            check(time.monotonic() < until, f"not healthy: {done.stdout}{done.stderr}")
            time.sleep(0.5)

    def stop(self):
        os.kill(self.first(), getattr(signal, self.words["STOPSIGNAL"]))
        check(self.unshare.wait(60) == 0, "svscan did not end as it should")


def letters():
    return sorted(path.read_bytes() for path in HOME.glob("mail/*/*/Maildir/new/*"))


def send(recipient, subject):
    wanted = len(letters()) + 1
    with smtplib.SMTP("127.0.0.1", 25, timeout=30) as session:
        session.sendmail("a@example.net", recipient, f"Subject: {subject}\r\n\r\nx\r\n")
    until = time.monotonic() + 30
    while len(letters()) < wanted:
        check(time.monotonic() < until, f"{subject}: not delivered")
        time.sleep(0.1)


def main():
    builds()
    words = said()
    prepare()
    shutil.rmtree(HOME, ignore_errors=True)
    source, place = words["COPY"].split()[-2:]
    check(source == "/stage", "the Dockerfile copies another directory")
    shutil.rmtree(ROOT / place[1:], ignore_errors=True)
    shutil.copytree(STAGE, ROOT / place[1:])
    for name in ("passwd", "group"):
        shutil.copy(ROOT / "etc" / name, ROOT / "etc" / f"{name}.image")

    first = Container(words)
    first.serves()
    user, password = (HOME / "account").read_text().strip().split(":")
    send(f"{user}@{HOST}", "in the first container")
    check("nothing to do" not in ROOT.with_name("container.log").read_text(), "the image had a home")
    first.stop()

    # Another container with the same volumes: the rest is the image's again.
    volumes = [ROOT / path[1:] for path in json.loads(words["VOLUME"])]
    for path in HOME.iterdir():
        if path not in volumes:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    second = Container(words)
    second.serves()
    send(f"{user}@{HOST}", "in the second container")
    check(len(letters()) == 2, f"{len(letters())} letters")
    with socket.create_connection(("127.0.0.1", 110), 30) as pop3:
        reader = pop3.makefile("rb")
        answers = [reader.readline()]
        for line in (f"USER {user}", f"PASS {password}", "STAT", "QUIT"):
            pop3.sendall(line.encode() + b"\r\n")
            answers.append(reader.readline())
        check(answers[3].startswith(b"+OK 2 "), f"POP3: {answers}")
    second.stop()


main()
