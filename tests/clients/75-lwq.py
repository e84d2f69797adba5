#!/usr/bin/env python3
"""A machine set up by hand after "Life with qmail": its own run scripts, rules, logs and qmailctl start
and steer our programs, put in the place of the old ones, and not a byte of them is changed. Then the same
places, made by our setup. Each in a root directory, a network and a process table of its own."""

import poplib
import re

from apart import each, enter, run
from guide import TOOLS, by_hand, in_the_wild, inst_check, sums, text
from mail import *

# The guide's script, and ours.
MINE = ("/var/qmail/bin/qmailctl",)
OURS = ("/var/qmail/bin/qmail-admin", "qmailctl")
SETUP = (*OURS, "--home", "/var/qmail", "setup")
MAILBOXES = ("127.0.0.1", 110)


def start():
    """As the machine starts it."""
    boot = ["/var/qmail/bin/svscanboot"] if os.path.exists("/var/qmail/bin/svscanboot") else ["svscan", "/service"]
    null = subprocess.DEVNULL
    return subprocess.Popen(boot, stdin=null, stdout=null, stderr=null, start_new_session=True)


def greeted(port, word):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            return sock.recv(100).startswith(word)
    except OSError:
        return False


def up():
    return greeted(25, b"220 ") and greeted(110, b"+OK") and subprocess.run(["qmail-qstat"], capture_output=True).returncode == 0


def letter(subject, to="joe@mail.example.org"):
    with smtplib.SMTP("127.0.0.1", 25, timeout=PATIENCE) as smtp:
        smtp.helo("x")
        smtp.sendmail("a@example.net", [to], f"Subject: {subject}\n\nhello\n")


def arrives(subject, user="joe", password="open sesame"):
    """Waits until the letter can be fetched."""
    wait_for(f"{subject} can be fetched", 20, lambda: True in fetched(MAILBOXES, user, password, subject))


def popups():
    """As whom every qmail-popup runs."""
    uids = []
    for process in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            status = process.read_text()
        except OSError:
            continue
        if status.startswith("Name:\tqmail-popup\n"):
            uids.append(re.search(r"^Uid:\t(\d+)\t\1\t\1\t", status, re.M)[1])
    return sorted(uids)


def states():
    """What svstat says of the services people know."""
    return run("svstat", "/service/qmail-send", "/service/qmail-smtpd", "/service/qmail-pop3d")


def old_machine():
    """The tree by hand."""
    before = sums()
    taken_over(before)
    mail_comes_and_is_fetched()
    what_waited_is_delivered()
    strangers_are_not_heard_by_root()
    logs_tell()
    both_scripts_say_and_do_the_same()
    letter("again")
    arrives("again")
    check(sums() == before, "a file of the administrator's was changed")
    run(*SETUP)
    check(sums() == before, "setup, run again, changed a file of the administrator's")


def taken_over(before):
    """Setup leaves what there is, and the machine starts."""
    run("cp", "-a", "/var/qmail/queue", "/var/qmail/queue.stock")
    said = run(*SETUP)
    check("bin/qmailctl stays: a script" in said, said)
    check(sums() == before, "setup changed a file of the administrator's")
    inst_check()
    start()
    wait_for("mail is accepted", 30, up)
    told = run(*MINE, "stat")
    for service in ("send", "smtpd", "pop3d"):
        for log in ("", "/log"):
            check(re.search(rf"^/service/qmail-{service}{log}: up \(pid \d+\) \d+ seconds$", told, re.M), told)
    check(told.endswith("messages in queue: 0\nmessages in queue but not yet preprocessed: 0\n"), told)


def mail_comes_and_is_fetched():
    letter("by hand")
    arrives("by hand")
    with smtplib.SMTP("127.0.0.1", 25, timeout=PATIENCE) as smtp:
        smtp.helo("x")
        smtp.mail("a@example.net")
        check(smtp.rcpt("nobody@mail.example.org")[0] == 550, "a stranger has a mailbox")
        check(smtp.rcpt("x@elsewhere.example")[0] == 250, "the rule for 127. lets nobody relay")
    try:
        fetched(MAILBOXES, "joe", "wrong", "")
        fail("a wrong password is good enough")
    except poplib.error_proto as error:
        check(b"authorization failed" in error.args[0], f"{error}")


def what_waited_is_delivered():
    said = run(*OURS, "queue", "import", "/var/qmail/queue.stock")
    check(said.startswith("1 letters imported, 0 were before, 0 left\n"), said)
    arrives("waited")


def strangers_are_not_heard_by_root():
    """The run script starts qmail-popup as root."""
    with socket.create_connection(MAILBOXES, timeout=PATIENCE) as stranger:
        stranger.recv(100)
        wait_for("qmail-popup is two processes", 10, lambda: popups() == ["0", "7791"])


def logs_tell():
    current = pathlib.Path("/var/log/qmail/current").read_text()
    check("new msg " in current and "delivery 1: success" in current, current)
    smtpd = pathlib.Path("/var/log/qmail/smtpd/current").read_text()
    check("tcpserver: ok " in smtpd, smtpd)
    check("softlimit: warning: 2000000 bytes of memory are too few for /usr/local/bin/tcpserver" in smtpd, smtpd)
    warned = run(*OURS, "check", code=1)
    check("supervise/qmail-smtpd/run gives its programs 2000000 bytes" in warned, warned)


def both_scripts_say_and_do_the_same():
    """Word for word."""
    for word in ("doqueue", "alrm", "flush", "reload", "hup", "cdb", "pause", "cont", "restart"):
        mine_said, ours_said = run(*MINE, word), run(*OURS, word)
        check(mine_said == ours_said, f"{word}: {mine_said!r} {ours_said!r}")
        if word == "pause":
            wait_for("everything pauses", 10, lambda: states().count(", paused") == 3)
    wait_for("everything goes on", 20, lambda: states().count(": up ") == 3 and "paused" not in states())
    check(run(*OURS, "help").startswith(run(*MINE, "help")), "help differs")
    usage = run(*MINE, "nonsense", code=1)
    check(run(*OURS, "nonsense", code=1).split(" ", 2)[2] == usage.split(" ", 2)[2], usage)
    for stop, begin in ((MINE, OURS), (OURS, MINE)):
        check(run(*stop, "stop") == "Stopping qmail...\n  qmail-smtpd\n  qmail-pop3d\n  qmail-send\n", "stop")
        wait_for("everything is down", 20, lambda: states().count(": down ") == 3)
        check(not os.path.exists("/var/lock/subsys/qmail"), "the lock file stays")
        begun = run(*begin, "start")
        check(begun == "Starting qmail\n", begun)
        check(os.path.exists("/var/lock/subsys/qmail"), "no lock file")
        wait_for("mail is accepted again", 30, up)


def other_machine():
    """A tree with what else is met in run scripts."""
    before = sums()
    run(*SETUP)
    start()
    wait_for("mail is accepted", 30, up)
    letter("in the wild")
    arrives("in the wild")
    smtpd = pathlib.Path("/var/log/qmail/smtpd/current").read_text()
    check(re.search(r"^@[0-9a-f]{24} \d+ > 220 mail.example.org ESMTP", smtpd, re.M), smtpd)
    check(re.search(r"^@[0-9a-f]{24} \d+ < Subject: in the wild", smtpd, re.M), smtpd)
    check(sums() == before, "a file of the administrator's was changed")


def new_machine():
    """The same places, by our setup."""
    # By sudo, as people do: else the first account would be root's.
    os.environ["SUDO_USER"] = "ann"
    run(*SETUP, "--life-with-qmail", "--host", "mail.example.org", "--pop3", "127.0.0.1:110")
    inst_check()
    start()
    wait_for("mail is accepted", 30, up)
    letter("by setup", "postmaster@mail.example.org")
    name, password = pathlib.Path("/var/qmail/account").read_text().strip().split(":")
    arrives("by setup", name, password)
    told = run("qmailctl", "stat")
    for service in ("queued", "pspawn", "qmail-send", "qmail-smtpd", "qmail-pop3d"):
        check(re.search(rf"^/service/{service}: up \(pid \d+\) \d+ seconds$", told, re.M), told)
    check("new msg " in pathlib.Path("/var/log/qmail/current").read_text(), "no log")
    check(run("qmailctl", "cdb") == "Reloaded /etc/tcp.smtp.\n", "cdb")
    check(run("qmailctl", "check") == "", "check")
    # What the administrator has made is nobody's to mend but theirs: it is told.
    os.chown("/var/log/qmail/smtpd", 0, 0)
    os.chmod("/service", 0o777)
    warned = run("qmailctl", "check", code=1)
    for said in ("/var/log/qmail/smtpd cannot be written by uid 7792", "/service may be written by others"):
        check(said in warned, warned)
    os.chown("/var/log/qmail/smtpd", 7792, 2108)
    os.chmod("/service", 0o755)
    check(run("qmailctl", "check") == "", "check")
    # A script whose mark is gone is somebody's own; the others are written anew.
    send = pathlib.Path("/var/qmail/supervise/qmail-send/run")
    send.write_text("#!/bin/sh\nexec /var/qmail/rc\n")
    pathlib.Path("/var/qmail/rc").chmod(0o700)
    run(*SETUP)
    check(send.read_text() == "#!/bin/sh\nexec /var/qmail/rc\n", "somebody's own script was written over")
    check(os.stat("/var/qmail/rc").st_mode & 0o777 == 0o755, "rc was not mended")


if len(sys.argv) > 2:
    enter(pathlib.Path(sys.argv[2]), TOOLS)
    {"old": old_machine, "other": other_machine, "new": new_machine}[sys.argv[1]]()
else:
    kinds = {"old": by_hand, "other": in_the_wild, "new": lambda root: None}
    each(kinds, {"checkpassword": text("checkpassword")})
