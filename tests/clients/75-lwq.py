#!/usr/bin/env python3
"""A machine set up by hand after "Life with qmail": its own run scripts, rules, logs and qmailctl start
and steer our programs, put in the place of the old ones, and not a byte of them is changed. Then the same
places, made by our setup. Each in a root directory, a network and a process table of its own."""

# What python would only look for when it is needed, in a root directory where it is not.
import encodings.idna
import encodings.latin_1
import fcntl
import hashlib
import poplib
import re
import shutil
import socket
import struct
import tempfile

from mail import *

ROLES = """alias:x:7790:2108::/var/qmail/alias:/bin/true
qmaild:x:7791:2108::/var/qmail:/bin/true
qmaill:x:7792:2108::/var/qmail:/bin/true
qmailp:x:7793:2108::/var/qmail:/bin/true
qmailq:x:7794:2107::/var/qmail:/bin/true
qmailr:x:7795:2107::/var/qmail:/bin/true
qmails:x:7796:2107::/var/qmail:/bin/true
"""
# The guide's files, as people have typed them in.
RC = """#!/bin/sh

# Using stdout for logging
# Using control/defaultdelivery from qmail-local to deliver messages by default

exec env - PATH="/var/qmail/bin:$PATH" \\
qmail-start "`cat /var/qmail/control/defaultdelivery`"
"""
SMTPD = """#!/bin/sh

QMAILDUID=`id -u qmaild`
NOFILESGID=`id -g qmaild`
MAXSMTPD=`cat /var/qmail/control/concurrencyincoming`
LOCAL=`head -1 /var/qmail/control/me`

if [ -z "$QMAILDUID" -o -z "$NOFILESGID" -o -z "$MAXSMTPD" -o -z "$LOCAL" ]; then
    echo QMAILDUID, NOFILESGID, MAXSMTPD, or LOCAL is unset in
    echo /var/qmail/supervise/qmail-smtpd/run
    exit 1
fi

if [ ! -f /var/qmail/control/rcpthosts ]; then
    echo "No /var/qmail/control/rcpthosts!"
    echo "Refusing to start SMTP listener because it'll create an open relay"
    exit 1
fi

exec /usr/local/bin/softlimit -m 2000000 \\
    /usr/local/bin/tcpserver -v -R -l "$LOCAL" -x /etc/tcp.smtp.cdb -c "$MAXSMTPD" \\
        -u "$QMAILDUID" -g "$NOFILESGID" 0 smtp /var/qmail/bin/qmail-smtpd 2>&1
"""
# What else is met: no lookups, a list of senders, a recorder, larger and more logs.
WILD = """#!/bin/sh
QMAILDUID=`id -u qmaild`
NOFILESGID=`id -g qmaild`
exec /usr/local/bin/softlimit -m 3000000 /usr/local/bin/tcpserver -v -R -H -l 0 -x /etc/tcp.smtp.cdb \
    -c 20 -u $QMAILDUID -g $NOFILESGID 0 smtp \
    /usr/local/bin/rblsmtpd -r list.example /usr/local/bin/recordio /var/qmail/bin/qmail-smtpd 2>&1
"""
POP3D = """#!/bin/sh
exec /usr/local/bin/softlimit -m 2000000 \\
    /usr/local/bin/tcpserver -v -R -H -l 0 0 110 /var/qmail/bin/qmail-popup \\
        mail.example.org /bin/checkpassword /var/qmail/bin/qmail-pop3d Maildir 2>&1
"""
LOG = """#!/bin/sh
exec /usr/local/bin/setuidgid qmaill /usr/local/bin/multilog t /var/log/qmail{}
"""
QMAILCTL = """#!/bin/sh

# description: the qmail MTA

PATH=/var/qmail/bin:/bin:/usr/bin:/usr/local/bin:/usr/local/sbin
export PATH

QMAILDUID=`id -u qmaild`
NOFILESGID=`id -g qmaild`

case "$1" in
  start)
    echo "Starting qmail"
    for service in qmail-send qmail-smtpd qmail-pop3d; do
      if svok /service/$service ; then
        svc -u /service/$service /service/$service/log
      else
        echo "$service supervise not running"
      fi
    done
    if [ -d /var/lock/subsys ]; then
      touch /var/lock/subsys/qmail
    fi
    ;;
  stop)
    echo "Stopping qmail..."
    echo "  qmail-smtpd"
    svc -d /service/qmail-smtpd /service/qmail-smtpd/log
    echo "  qmail-pop3d"
    svc -d /service/qmail-pop3d /service/qmail-pop3d/log
    echo "  qmail-send"
    svc -d /service/qmail-send /service/qmail-send/log
    if [ -f /var/lock/subsys/qmail ]; then
      rm /var/lock/subsys/qmail
    fi
    ;;
  stat)
    svstat /service/qmail-send
    svstat /service/qmail-send/log
    svstat /service/qmail-smtpd
    svstat /service/qmail-smtpd/log
    svstat /service/qmail-pop3d
    svstat /service/qmail-pop3d/log
    qmail-qstat
    ;;
  doqueue|alrm|flush)
    echo "Flushing timeout table and sending ALRM signal to qmail-send."
    /var/qmail/bin/qmail-tcpok
    svc -a /service/qmail-send
    ;;
  queue)
    qmail-qstat
    qmail-qread
    ;;
  reload|hup)
    echo "Sending HUP signal to qmail-send."
    svc -h /service/qmail-send
    ;;
  pause)
    echo "Pausing qmail-send"
    svc -p /service/qmail-send
    echo "Pausing qmail-smtpd"
    svc -p /service/qmail-smtpd
    echo "Pausing qmail-pop3d"
    svc -p /service/qmail-pop3d
    ;;
  cont)
    echo "Continuing qmail-send"
    svc -c /service/qmail-send
    echo "Continuing qmail-smtpd"
    svc -c /service/qmail-smtpd
    echo "Continuing qmail-pop3d"
    svc -c /service/qmail-pop3d
    ;;
  restart)
    echo "Restarting qmail:"
    echo "* Stopping qmail-smtpd."
    svc -d /service/qmail-smtpd /service/qmail-smtpd/log
    echo "* Sending qmail-send SIGTERM and restarting."
    svc -t /service/qmail-send /service/qmail-send/log
    echo "* Restarting qmail-smtpd."
    svc -u /service/qmail-smtpd /service/qmail-smtpd/log
    echo "* Restarting qmail-pop3d."
    svc -t /service/qmail-pop3d /service/qmail-pop3d/log
    ;;
  cdb)
    tcprules /etc/tcp.smtp.cdb /etc/tcp.smtp.tmp < /etc/tcp.smtp
    chmod 644 /etc/tcp.smtp.cdb
    echo "Reloaded /etc/tcp.smtp."
    ;;
  help)
    cat <<HELP
   stop -- stops mail service (smtp connections refused, nothing goes out)
  start -- starts mail service (smtp connection accepted, mail can go out)
  pause -- temporarily stops mail service (connections accepted, nothing leaves)
   cont -- continues paused mail service
   stat -- displays status of mail service
    cdb -- rebuild the tcpserver cdb file for smtp
restart -- stops and restarts smtp, sends qmail-send a TERM & restarts it
doqueue -- schedules queued messages for immediate delivery
 reload -- sends qmail-send HUP, rereading locals and virtualdomains
  queue -- shows status of queue
   alrm -- same as doqueue
  flush -- same as doqueue
    hup -- same as reload
HELP
    ;;
  *)
    echo "Usage: $0 {start|stop|restart|doqueue|flush|reload|stat|pause|cont|cdb|queue|help}"
    exit 1
    ;;
esac

exit 0
"""
CHECKPASSWORD = """#!/bin/sh
# Name, password and time on descriptor 3, as every program of this name reads them.
said=`tr '\\000' '\\n' <&3 | head -n 2`
exec 3<&-
[ "$said" = "`printf 'joe\\nopen sesame'`" ] || exit 1
USER=joe HOME=/home/joe SHELL=/bin/sh; export USER HOME SHELL
cd || exit 111
exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
"""
TOOLS = "rblsmtpd recordio tcprules tcpserver multilog softlimit setuidgid supervise svok svscan tai64nlocal svc svstat".split()
OURS = ("qmail", "qmail-net", "daemontools", "qmail-admin")


def write(path, text, mode=0o644, owner=(0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, *owner)


def machine(root):
    """A root directory with the system's programs, accounts, and a user joe."""
    root.chmod(0o755)
    for name in ("usr", "lib", "lib64", "sbin", "etc", "proc", "dev", "tmp", "home", "root", "run", "bin", "service"):
        there = pathlib.Path("/", name)
        if there.is_symlink() and name != "bin":
            (root / name).symlink_to(os.readlink(there))
        else:
            (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    # A directory of its own, to put /bin/checkpassword into.
    for program in os.listdir("/bin"):
        (root / "bin" / program).symlink_to(f"/usr/bin/{program}")
    write(root / "bin/checkpassword", CHECKPASSWORD, 0o755)
    etc = root / "etc"
    write(etc / "passwd", "root:x:0:0::/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n" + ROLES)
    write(etc / "group", "root:x:0:\nqmail:x:2107:\nnofiles:x:2108:\njoe:x:1000:\n")
    write(etc / "services", "smtp 25/tcp\npop3 110/tcp\n")
    write(etc / "hosts", "127.0.0.1 localhost\n")
    write(etc / "resolv.conf", "nameserver 127.0.0.1\n")
    for part in ("", "Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"):
        where = root / "home/joe" / part
        where.mkdir(exist_ok=True)
        os.chown(where, 1000, 1000)
        where.chmod(0o700)
    (root / "home/joe").chmod(0o755)
    (root / "var/qmail/bin").mkdir(parents=True)


def by_hand(root):
    """What the guide says, step by step."""
    home = root / "var/qmail"
    for name in ("boot", "control", "doc", "man", "users"):
        (home / name).mkdir()
    (home / "alias").mkdir()
    os.chown(home / "alias", 7790, 2107)
    (home / "alias").chmod(0o2755)
    # Stock's programs, by a stand-in: what matters is that they go.
    for name in ("qmail-send", "qmail-queue", "qmail-smtpd", "qmail-start", "qmail-qstat"):
        shutil.copy("/bin/true", home / "bin" / name)
    (home / "bin/qmail-queue").chmod(0o4711)
    split = [f"{part}/{n}" for part in ("mess", "info", "local", "remote") for n in range(3)]
    for name in ("pid", "intd", "todo", "bounce", "lock", *split):
        (home / "queue" / name).mkdir(parents=True)
        os.chown(home / "queue" / name, 7794, 2107)
    (home / "queue").chmod(0o750)
    # A letter that waited for joe when stock's qmail-send was stopped.
    waited = "Received: (qmail 77 invoked by uid 1000); 22 Nov 2026 13:46:57 -0000\nSubject: waited\n\nhello\n"
    for part, text in (("mess", waited), ("info", "Fs@example.net\0"), ("local", "Tjoe@mail.example.org\0")):
        write(home / "queue" / part / "2/11", text, 0o600, (7794, 2107))
    (home / "queue/lock").chmod(0o750)
    write(home / "queue/lock/sendmutex", "", 0o600, (7796, 2107))
    write(home / "queue/lock/tcpto", "\0" * 1024, 0o644, (7795, 2107))
    for name, text in (("me", "mail.example.org\n"), ("rcpthosts", "mail.example.org\n"),
                       ("defaultdelivery", "./Maildir/\n"), ("concurrencyincoming", "20\n")):
        write(home / "control" / name, text)
    for name in ("root", "postmaster", "mailer-daemon"):
        write(home / "alias" / f".qmail-{name}", "joe\n")
    write(home / "rc", RC, 0o755)
    for name, run, log in (("send", "#!/bin/sh\nexec /var/qmail/rc\n", ""), ("smtpd", SMTPD, "/smtpd"),
                           ("pop3d", POP3D, "/pop3d")):
        service = home / "supervise" / f"qmail-{name}"
        write(service / "run", run, 0o755)
        write(service / "log/run", LOG.format(log), 0o755)
        (root / "service" / f"qmail-{name}").symlink_to(f"/var/qmail/supervise/qmail-{name}")
        logs = root / f"var/log/qmail{log}"
        logs.mkdir(parents=True)
        os.chown(logs, 7792, 2108)
        logs.chmod(0o755)
    write(home / "bin/qmailctl", QMAILCTL, 0o755)
    write(root / "etc/tcp.smtp", '127.:allow,RELAYCLIENT=""\n')
    (root / "var/lock/subsys").mkdir(parents=True)


def in_the_wild(root):
    """The same, as others have it."""
    by_hand(root)
    service = root / "var/qmail/supervise/qmail-smtpd"
    write(service / "run", WILD, 0o755)
    write(service / "log/run", LOG.format("/smtpd").replace(" t ", " t s1000000 n20 "), 0o755)
    for sticky in (service, service.parent / "qmail-send", service.parent / "qmail-pop3d"):
        sticky.chmod(0o1755)


def enter(root):
    """Makes this process's root that directory, in namespaces of its own, with a loopback network."""
    for name in ("usr", "lib", "lib64", "sbin", "dev"):
        if (root / name).is_dir() and not (root / name).is_symlink():
            subprocess.run(["mount", "--rbind", f"/{name}", root / name], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "usr/local/bin"], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        up = struct.pack("16sh14s", b"lo", 1, b"")
        fcntl.ioctl(sock, 0x8914, up)  # SIOCSIFFLAGS
    os.chroot(root)
    os.chdir("/")
    os.environ.clear()
    os.environ["PATH"] = "/var/qmail/bin:/usr/local/bin:/usr/bin:/bin"
    for name in TOOLS:
        os.symlink(f"/var/qmail/bin/{name}", f"/usr/local/bin/{name}")


def run(*words, code=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    check(done.returncode == code, f"{words}: {done}")
    return done.stdout


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
    for name in ("qmail-queue", "qmail-send", "qmail-smtpd"):
        check((home / "bin" / name).is_symlink(), f"bin/{name} is still stock's")


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
    with smtplib.SMTP("127.0.0.1", 25, timeout=20) as smtp:
        smtp.helo("x")
        smtp.sendmail("a@example.net", [to], f"Subject: {subject}\n\nhello\n")


def fetched(user, password, subject):
    pop = poplib.POP3("127.0.0.1", 110, timeout=20)
    pop.user(user)
    pop.pass_(password)
    found = [f"Subject: {subject}".encode() in pop.retr(n + 1)[1] for n in range(pop.stat()[0])]
    pop.quit()
    return True in found


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
    run("cp", "-a", "/var/qmail/queue", "/var/qmail/queue.stock")
    said = run("/var/qmail/bin/qmail-admin", "qmailctl", "--home", "/var/qmail", "setup")
    check("bin/qmailctl stays: a script" in said, said)
    check(sums() == before, "setup changed a file of the administrator's")
    inst_check()
    start()
    wait_for("mail is accepted", 30, up)
    mine = "/var/qmail/bin/qmailctl"
    told = run(mine, "stat")
    for service in ("send", "smtpd", "pop3d"):
        for log in ("", "/log"):
            check(re.search(rf"^/service/qmail-{service}{log}: up \(pid \d+\) \d+ seconds$", told, re.M), told)
    check(told.endswith("messages in queue: 0\nmessages in queue but not yet preprocessed: 0\n"), told)

    letter("by hand")
    wait_for("the letter can be fetched", 20, lambda: fetched("joe", "open sesame", "by hand"))
    with smtplib.SMTP("127.0.0.1", 25, timeout=20) as smtp:
        smtp.helo("x")
        smtp.mail("a@example.net")
        check(smtp.rcpt("nobody@mail.example.org")[0] == 550, "a stranger has a mailbox")
        check(smtp.rcpt("x@elsewhere.example")[0] == 250, "the rule for 127. lets nobody relay")
    try:
        fetched("joe", "wrong", "")
        fail("a wrong password is good enough")
    except poplib.error_proto as error:
        check(b"authorization failed" in error.args[0], f"{error}")

    said = run("/var/qmail/bin/qmail-admin", "qmailctl", "queue", "import", "/var/qmail/queue.stock")
    check(said.startswith("1 letters imported, 0 were before, 0 left\n"), said)
    wait_for("the letter that waited can be fetched", 20, lambda: fetched("joe", "open sesame", "waited"))

    # The run script starts it as root; who hears the stranger is not.
    with socket.create_connection(("127.0.0.1", 110), timeout=20) as stranger:
        stranger.recv(100)
        wait_for("qmail-popup is two processes", 10, lambda: popups() == ["0", "7791"])

    current = pathlib.Path("/var/log/qmail/current").read_text()
    check("new msg " in current and "delivery 1: success" in current, current)
    smtpd = pathlib.Path("/var/log/qmail/smtpd/current").read_text()
    check("tcpserver: ok " in smtpd, smtpd)
    check("softlimit: warning: 2000000 bytes of memory are too few for /usr/local/bin/tcpserver" in smtpd, smtpd)
    warned = run("/var/qmail/bin/qmail-admin", "qmailctl", "check", code=1)
    check("supervise/qmail-smtpd/run gives its programs 2000000 bytes" in warned, warned)

    # The guide's script and ours say the same, word for word, and do it.
    ours = ("/var/qmail/bin/qmail-admin", "qmailctl")
    for word in ("doqueue", "alrm", "flush", "reload", "hup", "cdb", "pause", "cont", "restart"):
        mine_said, ours_said = run(mine, word), run(*ours, word)
        check(mine_said == ours_said, f"{word}: {mine_said!r} {ours_said!r}")
        if word == "pause":
            wait_for("everything pauses", 10, lambda: states().count(", paused") == 3)
    wait_for("everything goes on", 20, lambda: states().count(": up ") == 3 and "paused" not in states())
    check(run(*ours, "help").startswith(run(mine, "help")), "help differs")
    usage = run(mine, "nonsense", code=1)
    check(run(*ours, "nonsense", code=1).split(" ", 2)[2] == usage.split(" ", 2)[2], usage)
    for stop in ((mine,), ours):
        check(run(*stop, "stop") == "Stopping qmail...\n  qmail-smtpd\n  qmail-pop3d\n  qmail-send\n", "stop")
        wait_for("everything is down", 20, lambda: states().count(": down ") == 3)
        check(not os.path.exists("/var/lock/subsys/qmail"), "the lock file stays")
        begun = run(*(ours if stop == (mine,) else (mine,)), "start")
        check(begun == "Starting qmail\n", begun)
        check(os.path.exists("/var/lock/subsys/qmail"), "no lock file")
        wait_for("mail is accepted again", 30, up)
    letter("again")
    wait_for("the letter can be fetched", 20, lambda: fetched("joe", "open sesame", "again"))
    check(sums() == before, "a file of the administrator's was changed")
    said = run("/var/qmail/bin/qmail-admin", "qmailctl", "--home", "/var/qmail", "setup")
    check(sums() == before, "setup, run again, changed a file of the administrator's")


def other_machine():
    """A tree with what else is met in run scripts."""
    before = sums()
    run("/var/qmail/bin/qmail-admin", "qmailctl", "--home", "/var/qmail", "setup")
    start()
    wait_for("mail is accepted", 30, up)
    letter("in the wild")
    wait_for("the letter can be fetched", 20, lambda: fetched("joe", "open sesame", "in the wild"))
    smtpd = pathlib.Path("/var/log/qmail/smtpd/current").read_text()
    check(re.search(r"^@[0-9a-f]{24} \d+ > 220 mail.example.org ESMTP", smtpd, re.M), smtpd)
    check(re.search(r"^@[0-9a-f]{24} \d+ < Subject: in the wild", smtpd, re.M), smtpd)
    check(sums() == before, "a file of the administrator's was changed")


def new_machine():
    """The same places, by our setup."""
    setup = ("/var/qmail/bin/qmail-admin", "qmailctl", "--home", "/var/qmail", "setup")
    # By sudo, as people do: else the first account would be root's.
    os.environ["SUDO_USER"] = "ann"
    run(*setup, "--life-with-qmail", "--host", "mail.example.org", "--pop3", "127.0.0.1:110")
    inst_check()
    start()
    wait_for("mail is accepted", 30, up)
    letter("by setup", "postmaster@mail.example.org")
    name, password = pathlib.Path("/var/qmail/account").read_text().strip().split(":")
    wait_for("the letter can be fetched", 20, lambda: fetched(name, password, "by setup"))
    told = run("qmailctl", "stat")
    for service in ("queued", "pspawn", "qmail-send", "qmail-smtpd", "qmail-pop3d"):
        check(re.search(rf"^/service/{service}: up \(pid \d+\) \d+ seconds$", told, re.M), told)
    check("new msg " in pathlib.Path("/var/log/qmail/current").read_text(), "no log")
    check(run("qmailctl", "cdb") == "Reloaded /etc/tcp.smtp.\n", "cdb")
    check(run("qmailctl", "check") == "", "check")
    # A script whose mark is gone is somebody's own; the others are written anew.
    send = pathlib.Path("/var/qmail/supervise/qmail-send/run")
    send.write_text("#!/bin/sh\nexec /var/qmail/rc\n")
    pathlib.Path("/var/qmail/rc").chmod(0o700)
    run(*setup)
    check(send.read_text() == "#!/bin/sh\nexec /var/qmail/rc\n", "somebody's own script was written over")
    check(os.stat("/var/qmail/rc").st_mode & 0o777 == 0o755, "rc was not mended")


def inner(root, which):
    enter(pathlib.Path(root))
    {"old": old_machine, "other": other_machine, "new": new_machine}[which]()


def outer():
    if os.geteuid() != 0:
        skip("root makes namespaces and a root directory")
    if subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True).returncode != 0:
        skip("no namespaces of one's own here")
    for which, made in (("old", by_hand), ("other", in_the_wild), ("new", lambda root: None)):
        root = pathlib.Path(tempfile.mkdtemp(prefix="lwq."))
        try:
            machine(root)
            made(root)
            for name in OURS:
                shutil.copy(HOME / "bin" / name, root / "var/qmail/bin" / name)
            # Whatever is started in there ends with its first process.
            apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
            done = subprocess.run([*apart, sys.executable, __file__, which, root], timeout=240)
            if done.returncode != 0:
                for log in sorted(root.glob("var/log/qmail/**/current")):
                    print(f"{log}:\n{log.read_text()[-2000:]}")
                fail(f"{which}: {done.returncode}")
        finally:
            shutil.rmtree(root, ignore_errors=True)


if len(sys.argv) > 2:
    inner(sys.argv[2], sys.argv[1])
else:
    outer()
