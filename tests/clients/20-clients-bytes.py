#!/usr/bin/env python3
"""swaks and msmtp send, curl, mpop and fetchmail fetch: what was sent is what is fetched, byte for
byte, behind the lines the server adds."""

import os
import shutil
import subprocess
import tempfile

from mail import *

WORK = pathlib.Path(tempfile.mkdtemp(prefix="qmail-rs-bytes."))
ADDED = (b"Return-Path:", b"Delivered-To:", b"Received:", b"  by ", b"\tby ")

BODIES = {
    "plain": b"Hello.\n",
    "8-bit": "Grüße aus Zürich, привет, 日本\n".encode(),
    "dots": b".\n..\n...\n.leading\n..two\nmiddle . dot\n.\n",
    "binary": bytes(c for c in range(1, 256) if c not in (10, 13)) * 3 + b"\n",
    "long lines": b"x" * 5_000 + b"\n" + b"y" * 2_000 + b"\n",
    "very long lines": b"x" * 100_000 + b"\n" + b"y" * 50_000 + b"\n",
    "empty body": b"",
    "25 MB": (b"0123456789abcdef" * 4 + b"\n") * (25 * 1024 * 1024 // 65),
}


def letter(name):
    return b"From: <a@example.net>\nTo: <b@example.org>\nSubject: " + name.encode() + b"\n\n" + BODIES[name]


def stripped(text):
    """A fetched letter without the lines the server (or the fetching client) put on top."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    while lines and (lines[0].startswith(ADDED) or lines[0].startswith(b"From ")):
        lines.pop(0)
    return b"\n".join(lines)


def run(*args, **more):
    done = subprocess.run(args, capture_output=True, timeout=2 * PATIENCE, **more)
    check(done.returncode == 0, f"{args[0]}: exit {done.returncode}\n{done.stdout[-900:]}\n{done.stderr[-900:]}")
    return done.stdout


def swaks(to, path):
    # swaks mends what it is given; told not to, it wants the letter as it goes over the wire.
    wire = path.read_bytes().replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..") + b".\r\n"
    path = path.with_suffix(".wire")
    path.write_bytes(wire)
    run("swaks", "--server", SMTP[0], "--port", str(SMTP[1]), "--from", "a@example.net", "--to", to,
        "--data", f"@{path}", "--suppress-data", "--no-data-fixup")


def msmtp(to, path):
    run("msmtp", "-C", "/dev/null", f"--host={SMTP[0]}", f"--port={SMTP[1]}", "--from=a@example.net",
        "--auth=off", "--tls=off", "--set-date-header=off", "--set-from-header=off", "--set-msgid-header=off", to, stdin=open(path, "rb"))


def curl(user, secret):
    url = f"pop3://{POP3[0]}:{POP3[1]}/1"
    return run("curl", "-sS", "--user", f"{user}:{secret}", url)


def mpop(user, secret):
    box = WORK / f"mpop.{user}"
    box.mkdir()
    for part in ("tmp", "new", "cur"):
        (box / part).mkdir()
    run("mpop", "-C", "/dev/null", f"--host={POP3[0]}", f"--port={POP3[1]}", f"--user={user}",
        f"--passwordeval=printf %s '{secret}'", "--tls=off", "--auth=plain",
        f"--uidls-file={WORK}/uidls.{user}", "--keep=on", "--received-header=off", f"--delivery=maildir,{box}")
    return letters(box)[0]


def fetchmail(user, secret):
    out = WORK / f"fetchmail.{user}"
    rc = WORK / f"rc.{user}"
    rc.write_text(
        f'poll {POP3[0]} service {POP3[1]} protocol pop3 uidl no dns user "{user}" password "{secret}" '
        f'sslproto "" keep fetchall no rewrite no forcecr mda "cat > {out}"\n')
    rc.chmod(0o600)
    home = dict(os.environ, FETCHMAILHOME=str(WORK), HOME=str(WORK))
    run("fetchmail", "-f", str(rc), "--invisible", env=home)
    return out.read_bytes()


for program in ("swaks", "msmtp", "curl", "mpop", "fetchmail"):
    if not shutil.which(program):
        skip(f"{program} is not installed")

tried = 0
for sender, send in (("swaks", swaks), ("msmtp", msmtp)):
    for number, name in enumerate(BODIES):
        user = f"{sender}{number}"
        secret, maildir = account(user)
        path = WORK / "letter"
        path.write_bytes(letter(name))
        send(f"{user}@{HOST}", path)
        wait_count(maildir, 1, 120)
        if not stripped(letters(maildir)[0]) == letter(name):
            fail(f"{name} sent by {sender} is stored differently")
        for fetch in (curl, mpop, fetchmail):
            if fetch is fetchmail and name == "very long lines":
                continue  # fetchmail itself cuts lines at its buffer of 8 KiB
            got = stripped(fetch(user, secret)).rstrip(b"\n")
            if got != letter(name).rstrip(b"\n"):
                (WORK / "got").write_bytes(got)
                fail(f"{name} sent by {sender} comes back differently by {fetch.__name__}, see {WORK}")
            tried += 1
print(f"{tried} letters sent and fetched, equal but for the lines added")
shutil.rmtree(WORK)
