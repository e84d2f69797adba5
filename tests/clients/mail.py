"""What several scenarios share: where the server is, letters with a name, and a look at Maildirs."""

import email
import os
import pathlib
import poplib
import smtplib
import socket
import subprocess
import sys
import time

HOME = pathlib.Path(os.environ["QMAIL_HOME"])
SMTP = (os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]))
POP3 = (os.environ["POP3_HOST"], int(os.environ["POP3_PORT"]))
USER = os.environ["MAIL_USER"]
PASSWORD = os.environ["MAIL_PASSWORD"]
HOST = (HOME / "control/me").read_text().strip()
ADDRESS = f"{USER}@{HOST}"
# How long anything may take that is sure to come, on a machine that is slow and has much else to do.
PATIENCE = 300
# What it costs to start a shell that does nothing, where nothing else goes on.
START = 0.003


def fail(why):
    """Ends the scenario: it did not hold."""
    print(f"{sys.argv[0]}: {why}", file=sys.stderr)
    sys.exit(1)


def skip(why):
    """Ends the scenario: it cannot be tried here."""
    print(f"{sys.argv[0]}: skipped: {why}")
    sys.exit(77)


def check(holds, why):
    """Ends the scenario unless `holds`."""
    if not holds:
        fail(why)


def free_port():
    """A port of this host that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def bin(name, *args, **more):
    """Runs one of the home's own programs and returns what it printed."""
    done = subprocess.run([HOME / "bin" / name, *args], capture_output=True, timeout=PATIENCE, **more)
    check(done.returncode == 0, f"{name} {args}: exit {done.returncode}: {done.stderr!r}")
    return done.stdout


def account(name):
    """Makes an account of its own for a scenario, so that scenarios do not meet; its Maildir."""
    secret = f"secret of {name}"
    bin("qmailctl", "user", "add", name, "--password-stdin", input=secret.encode() + b"\n")
    return secret, HOME / "mail" / HOST / name / "Maildir"


def letters(maildir):
    """Every letter in a Maildir, as bytes."""
    found = []
    for part in ("new", "cur"):
        for path in sorted((maildir / part).iterdir()):
            found.append(path.read_bytes())
    return found


def count(maildir):
    """How many letters a Maildir holds."""
    return sum(len(os.listdir(maildir / part)) for part in ("new", "cur"))


def wait_for(what, seconds, holds):
    """Waits until `holds()`; ends the scenario after `seconds`, which is what it takes at most where nothing
    else goes on: elsewhere it may take longer."""
    seconds = max(PATIENCE, 3 * seconds)
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            fail(f"after {seconds} s: {what}")
        time.sleep(0.05)


def slowness(starts=9):
    """How many times slower than a quick and idle machine this one is just now, 1 at least."""
    took = []
    for _ in range(starts):
        begun = time.monotonic()
        subprocess.run(["/bin/sh", "-c", ":"])
        took.append(time.monotonic() - begun)
    return max(1.0, sorted(took)[starts // 2] / START)


def wait_count(maildir, number, seconds=60):
    """Waits until a Maildir holds `number` letters, and insists on no more."""
    wait_for(f"{number} letters in {maildir}", seconds, lambda: count(maildir) >= number)
    check(count(maildir) == number, f"{count(maildir)} letters instead of {number}")


def subjects(maildir):
    """The subjects of all letters in a Maildir."""
    return [email.message_from_bytes(text)["Subject"] for text in letters(maildir)]


def fetched(address, user, password, subject):
    """Of each letter that POP3 has for a user, whether it has this subject."""
    pop = poplib.POP3(*address, timeout=PATIENCE)
    pop.user(user)
    pop.pass_(password)
    found = [f"Subject: {subject}".encode() in pop.retr(n + 1)[1] for n in range(pop.stat()[0])]
    pop.quit()
    return found


def log(service):
    """Everything a service has logged that is still kept."""
    files = sorted((HOME / "log" / service).glob("@*")) + [HOME / "log" / service / "current"]
    return b"".join(f.read_bytes() for f in files).decode("latin-1")


def processes():
    """The server's processes: pid -> (parent, name, uid, command line); also those that lost their
    supervise, which are known by the home in their environment."""
    table, wanted = {}, {int(os.environ["SVSCAN"])}
    ours = b"QMAILHOME=" + os.fsencode(HOME)
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines())
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if ours in (entry / "environ").read_bytes().split(b"\0"):
                    wanted.add(int(entry.name))
            except (OSError, ValueError):
                continue
            uid = int(status["Uid"].split()[1])
            name = os.path.basename(words[0].decode()) if words[0] else status["Name"].strip()
            table[int(entry.name)] = (int(status["PPid"]), name, uid, words)
    while True:
        more = {pid for pid, row in table.items() if row[0] in wanted} - wanted
        if not more:
            return {pid: row for pid, row in table.items() if pid in wanted}
        wanted |= more
