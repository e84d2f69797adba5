#!/usr/bin/env python3
"""Every process that can be fenced is: no new privileges, no capabilities, system calls filtered, and
the uid of its role. A stranger, a reader and a letter on its way out are among them. Inside their
fences everything goes on working: $QMAILQUEUE, the DNS, a server that refuses."""

import poplib
import threading

from mail import *

# Who is in a fence, and who cannot be: they become users, or run what users and administrators name.
FENCED = {"qmail-smtpd", "qmail-popup", "qmail-pop3d", "qmail-remote", "qmail-queued", "qmail-send",
          "qmail-clean", "multilog"}
FREE = {"svscan", "supervise", "tcpserver", "qmail-lspawn", "qmail-rspawn", "qmail-pspawn"}
secret, maildir = account("fences")


def status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def internet(pid):
    """Whether a process has a TCP connection or listens for one."""
    ours = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")]
    return any(f"socket:[{row[9]}]" in ours for row in rows[1:] if len(row) > 9)


# A reader, a stranger, and a server that greets nobody: processes that would be gone otherwise.
with smtplib.SMTP(*SMTP, timeout=PATIENCE) as smtp:
    smtp.sendmail("a@example.net", [f"fences@{HOST}"], "Subject: before\n\nx\n")
wait_count(maildir, 1)
reader = poplib.POP3(*POP3, timeout=PATIENCE)
reader.user("fences")
reader.pass_(secret)
check(reader.stat()[0] == 1, "the reader does not see the letter")
stranger = smtplib.SMTP(*SMTP, timeout=PATIENCE)
stranger.ehlo("stranger.example")
silent = socket.create_server(("127.0.0.1", 0))
(HOME / "control/smtproutes").write_text(f"silent.test:127.0.0.1:{silent.getsockname()[1]}\n")
bin("qmail-inject", "-ffences@" + HOST, "x@silent.test", input=b"Subject: out\n\nx\n")
silent.settimeout(PATIENCE)
held, _ = silent.accept()

seen, annexes = {}, 0
table = processes()
for pid, (_, name, uid, _) in table.items():
    try:
        now = status(pid)
    except OSError:
        continue
    name = os.path.basename(name)
    seen[name] = seen.get(name, 0) + 1
    if uid != 0:
        check(int(now["CapEff"], 16) == 0, f"{name} ({pid}) has capabilities: {now['CapEff']}")
    if name in FREE or name == "qmail-local":
        continue
    check(name in FENCED, f"{name} ({pid}) is neither fenced nor known to be free")
    check(len(set(now["Uid"].split())) == 1, f"{name} ({pid}) can be somebody else: {now['Uid']}")
    if name == "qmail-smtpd" and now["Seccomp"] == "0":
        # The one that serves connections whose letters go to a program; there are none now.
        annexes += 1
        check(not internet(pid), f"a qmail-smtpd without a fence ({pid}) has a connection")
        continue
    check(now["NoNewPrivs"] == "1", f"{name} ({pid}) may gain privileges")
    check(now["Seccomp"] == "2", f"{name} ({pid}) may call what it likes")
    if name == "qmail-pop3d" and HOME.stat().st_uid == 0:
        # The kernel shows what may not be traced as root's: its user cannot take its descriptors.
        check(os.stat(f"/proc/{pid}/fd").st_uid == 0, f"{name} ({pid}) is open to its user")
for name in FENCED:
    check(seen.get(name), f"no {name} was seen")
check(seen["qmail-smtpd"] >= 3 and annexes == 1, f"qmail-smtpd: {seen['qmail-smtpd']}, {annexes} unfenced")
check(seen["qmail-pop3d"] >= 2 and seen["qmail-remote"] >= 2, f"who serves is not beside its parent: {seen}")
if HOME.stat().st_uid == 0:
    names = ("qmail-smtpd", "qmail-send", "qmail-queued")
    roles = {uid for _, name, uid, _ in table.values() if os.path.basename(name) in names}
    check(len(roles) == 3 and 0 not in roles, f"roles share uids: {roles}")
print(", ".join(f"{n} {name}" for name, n in sorted(seen.items())))

reader.quit()
stranger.quit()
with held, held.makefile("rb") as said:
    for reply in (b"220 at last\r\n", b"250 silent.test\r\n", b"550 no\r\n"):
        held.sendall(reply)
        said.readline()
wait_for("the server's refusal", 20, lambda: "failure: Connected_to_127.0.0.1_but_sender_was_rejected." in log("qmail-send"))
silent.close()


def no_such_name(sock):
    """A DNS server that knows no name."""
    while True:
        asked, client = sock.recvfrom(512)
        sock.sendto(asked[:2] + b"\x85\x83\x00\x01\0\0\0\0\0\0" + asked[12:asked.index(b"\0", 12) + 5], client)


# The DNS is asked from inside the fence.
(HOME / "control/smtproutes").unlink()
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind(("127.0.0.1", 0))
threading.Thread(target=no_such_name, args=(dns,), daemon=True).start()
(HOME / "control/dnsservers").write_text(f"127.0.0.1:{dns.getsockname()[1]}\n")
bin("qmail-inject", "-ffences@" + HOST, "x@nobody.test", input=b"Subject: lost\n\nx\n")
wait_for("a lookup", 60, lambda: "failure: Sorry,_I_couldn't_find_any_host_named_nobody.test." in log("qmail-send"))
(HOME / "control/dnsservers").unlink()

# A program in the queue's place, named by a rule for one address: it may be anything, so it is not
# in the fence, and nor is the process that starts it.
program, rules = HOME / "queue-program", HOME / "service/qmail-smtpd/rules"
program.write_text(f"#!/bin/sh\ngrep -E '^(Seccomp|NoNewPrivs):' /proc/self/status >&2\nexec {HOME}/bin/qmail-queue\n")
program.chmod(0o755)
before, free = rules.read_text(), log("qmail-smtpd").count("Seccomp:\t0")
compile_rules = [str(rules) + ".cdb", str(rules) + ".tmp"]
try:
    rules.write_text(f'127.0.0.7:allow,QMAILQUEUE="{program}"\n' + before)
    bin("tcprules", *compile_rules, input=rules.read_bytes())
    for n, source in enumerate(("127.0.0.7", "127.0.0.1", "127.0.0.7")):
        with smtplib.SMTP(*SMTP, timeout=PATIENCE, source_address=(source, 0)) as smtp:
            smtp.sendmail("a@example.net", [f"fences@{HOST}"], f"Subject: program {n}\n\nx\n")
    wait_for("letters through a program", 30, lambda: len([s for s in subjects(maildir) if s.startswith("program ")]) == 3)
    check(log("qmail-smtpd").count("Seccomp:\t0") == free + 2, "the program did not run outside of the fence")
finally:
    rules.write_text(before)
    bin("tcprules", *compile_rules, input=rules.read_bytes())
    program.unlink()
wait_for("the queue is empty", 30, lambda: b"messages in queue: 0\n" in bin("qmail-qstat"))
