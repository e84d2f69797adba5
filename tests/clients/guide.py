"""A machine set up after "Life with qmail": its files, as people have typed them in, are in `lwq/`."""

import hashlib
import shutil

from apart import write
from mail import *

FILES = pathlib.Path(__file__).parent / "lwq"
SEND = "#!/bin/sh\nexec /var/qmail/rc\n"
LOG = """#!/bin/sh
exec /usr/local/bin/setuidgid qmaill /usr/local/bin/multilog t /var/log/qmail{}
"""
# Ours, that it has in /usr/local/bin.
TOOLS = "rblsmtpd recordio tcprules tcpserver multilog softlimit setuidgid supervise svok svscan tai64nlocal svc svstat".split()


def text(name):
    """One of its files."""
    return (FILES / name).read_text()


def by_hand(root):
    """What the guide says, step by step."""
    home = root / "var/qmail"
    for name in ("boot", "control", "doc", "man", "users"):
        (home / name).mkdir()
    (home / "alias").mkdir()
    os.chown(home / "alias", 7790, 2107)
    (home / "alias").chmod(0o2755)
    # Stock's programs, by a stand-in: what matters is that they go.
    for name in ("qmail-send", "qmail-queue", "qmail-smtpd", "qmail-start"):
        shutil.copy("/bin/true", home / "bin" / name)
    # This one is a script: it would count what our queue does not have.
    write(home / "bin/qmail-qstat", "#!/bin/sh\n# WARNING: This file was auto-generated. Do not edit!\necho 77\n", 0o755)
    (home / "bin/qmail-queue").chmod(0o4711)
    split = [f"{part}/{n}" for part in ("mess", "info", "local", "remote") for n in range(3)]
    for name in ("pid", "intd", "todo", "bounce", "lock", *split):
        (home / "queue" / name).mkdir(parents=True)
        os.chown(home / "queue" / name, 7794, 2107)
    (home / "queue").chmod(0o750)
    # A letter that waited for joe when stock's qmail-send was stopped.
    waited = "Received: (qmail 77 invoked by uid 1000); 22 Nov 2026 13:46:57 -0000\nSubject: waited\n\nhello\n"
    for part, held in (("mess", waited), ("info", "Fs@example.net\0"), ("local", "Tjoe@mail.example.org\0")):
        write(home / "queue" / part / "2/11", held, 0o600, (7794, 2107))
    (home / "queue/lock").chmod(0o750)
    write(home / "queue/lock/sendmutex", "", 0o600, (7796, 2107))
    write(home / "queue/lock/tcpto", "\0" * 1024, 0o644, (7795, 2107))
    for name, line in (("me", "mail.example.org"), ("rcpthosts", "mail.example.org"),
                       ("defaultdelivery", "./Maildir/"), ("concurrencyincoming", "20")):
        write(home / "control" / name, line + "\n")
    for name in ("root", "postmaster", "mailer-daemon"):
        write(home / "alias" / f".qmail-{name}", "joe\n")
    write(home / "rc", text("rc"), 0o755)
    for name, run, log in (("send", SEND, ""), ("smtpd", text("smtpd"), "/smtpd"), ("pop3d", text("pop3d"), "/pop3d")):
        service = home / "supervise" / f"qmail-{name}"
        write(service / "run", run, 0o755)
        write(service / "log/run", LOG.format(log), 0o755)
        (root / "service" / f"qmail-{name}").symlink_to(f"/var/qmail/supervise/qmail-{name}")
        logs = root / f"var/log/qmail{log}"
        logs.mkdir(parents=True)
        os.chown(logs, 7792, 2108)
        logs.chmod(0o755)
    write(home / "bin/qmailctl", text("qmailctl"), 0o755)
    write(root / "etc/tcp.smtp", '127.:allow,RELAYCLIENT=""\n')
    (root / "var/lock/subsys").mkdir(parents=True)


def in_the_wild(root):
    """The same, as others have it."""
    by_hand(root)
    service = root / "var/qmail/supervise/qmail-smtpd"
    write(service / "run", text("smtpd-recorded"), 0o755)
    write(service / "log/run", LOG.format("/smtpd").replace(" t ", " t s1000000 n20 "), 0o755)
    for sticky in (service, service.parent / "qmail-send", service.parent / "qmail-pop3d"):
        sticky.chmod(0o1755)


def sums():
    """What is the administrator's, byte by byte and with its mode."""
    files = [pathlib.Path("/etc/tcp.smtp"), pathlib.Path("/bin/checkpassword")]
    home = pathlib.Path("/var/qmail")
    files += [home / "rc", home / "bin/qmailctl", *(home / "control").iterdir(), *home.glob("alias/.qmail-*")]
    files += [*home.glob("supervise/qmail-*/run"), *home.glob("supervise/qmail-*/log/run")]
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mode) for f in files}


def inst_check():
    """What the guide's checker looks for."""
    home = pathlib.Path("/var/qmail")
    for name in "alias bin boot control doc man queue supervise users".split():
        check((home / name).is_dir(), f"no directory {name}")
    for script in [home / "rc", *home.glob("supervise/*/run"), *home.glob("supervise/*/log/run")]:
        check(script.read_text().startswith("#!/bin/sh\n") and os.access(script, os.X_OK), f"{script}")
    for name in ("qmail-send", "qmail-smtpd", "queued", "pspawn"):
        check(pathlib.Path("/service", name).is_symlink(), f"/service/{name} is no link")
    for name in ("", "/smtpd"):
        about = os.stat(f"/var/log/qmail{name}")
        check((about.st_uid, about.st_mode & 0o7777) == (7792, 0o755), f"/var/log/qmail{name}: {about}")
    check((home / "control/defaultdelivery").read_text() and (home / "control/concurrencyincoming").exists(), "control")
    check(os.path.exists("/etc/tcp.smtp") and os.stat("/etc/tcp.smtp.cdb").st_mode & 0o777 == 0o644, "/etc/tcp.smtp")
    for name in ("root", "postmaster", "mailer-daemon"):
        check((home / f"alias/.qmail-{name}").exists(), f"no .qmail-{name}")
    for name in ("qmail-queue", "qmail-send", "qmail-smtpd", "qmail-qstat"):
        check((home / "bin" / name).is_symlink(), f"bin/{name} is still stock's")
