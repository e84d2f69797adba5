#!/usr/bin/env python3
"""A stock queue with letters in all states is imported, exported, imported into an empty home and
exported again: the two exports are equal. Interrupted imports and exports go on where they were,
damaged letters are left and named, and nothing is in two places at once. Letters of several queues that
look alike are several.

Homes of its own, with queued and nothing else: what is to be seen must not be delivered meanwhile.
LETTERS says how many there are; the claim is 10,000, a thousand is played every day."""

import collections
import fcntl
import random
import shutil
import signal
import stat

from mail import *

LETTERS = int(os.environ.get("LETTERS", "1000"))
SCRATCH = HOME / f"moves-{os.getpid()}"
BINARIES = ("qmail", "qmail-admin", "qmail-net", "daemontools")
NOW = 1_795_000_000
dice = random.Random(4)


class Mail:
    """A home with a running queued, no deliveries."""

    def __init__(self, name):
        self.home, self.queued = SCRATCH / name, None
        (self.home / "bin").mkdir(parents=True)
        for binary in BINARIES:
            os.link(HOME / "bin" / binary, self.home / "bin" / binary)
        self.ctl("setup", "--host", "mx.example.org", admin="qmail-admin")
        (self.home / "control/virtualdomains").write_text("virt.org:vuser\none@user.org:box\n")

    def ctl(self, *args, code=0, admin="qmailctl"):
        start = [self.home / "bin" / admin] + (["qmailctl"] if admin != "qmailctl" else [])
        start += ["--home", self.home, *args]
        done = subprocess.run(start, capture_output=True, timeout=900)
        check(done.returncode == code, f"{args}: exit {done.returncode}, not {code}: {done}")
        return done.stdout.decode() + done.stderr.decode()

    def show(self, program):
        env = dict(os.environ, QMAILHOME=str(self.home))
        return subprocess.run([self.home / "bin" / program], capture_output=True, env=env, timeout=300).stdout

    def start(self):
        self.queued = subprocess.Popen(
            [self.home / "service/queued/run"], stdout=(self.home / "queued.log").open("ab"),
            stderr=subprocess.STDOUT)
        wait_for("queued answers", 30, lambda: b"messages" in self.show("qmail-qstat"))

    def stop(self, how=signal.SIGTERM):
        if self.queued:
            self.queued.send_signal(how)
            self.queued.wait(60)
            self.queued = None


class Stock:
    """A queue as stock qmail lays it out."""

    def __init__(self, root, split=23, big_todo=False):
        self.root, self.split, self.big_todo = root, split, big_todo
        self.letters = 0
        for name in ("pid", "intd", "todo", "bounce", "lock"):
            (root / name).mkdir(parents=True)
        for name in ("mess", "info", "local", "remote") + (("todo", "intd") if big_todo else ()):
            for n in range(split):
                (root / name / str(n)).mkdir(parents=True, exist_ok=True)
        (root / "lock/sendmutex").touch()

    def put(self, part, number, text, time=None):
        flat = part in ("bounce", "intd", "todo") and not (self.big_todo and part != "bounce")
        path = self.root / part / (str(number) if flat else f"{number % self.split}/{number}")
        path.write_bytes(text)
        if time is not None:
            os.utime(path, ns=(time, time))
        return path

    def mess(self, text, time):
        fresh = self.root / "pid/new"
        fresh.write_bytes(text)
        os.utime(fresh, ns=(time, time))
        number = fresh.stat().st_ino
        fresh.rename(self.root / f"mess/{number % self.split}/{number}")
        self.letters += 1
        return number


def body(n):
    top = dice.choice([b"by uid 1000", b"from network", b"for bounce", b"by alias"])
    text = b"Received: (qmail %d invoked %s); 22 Nov 2026 13:46:57 -0000\nSubject: %d\n\n" % (n, top, n)
    size = 400_000 if n % 1000 == 7 else dice.randrange(2000)
    return text + bytes(dice.choices(b"abc \n\0\xff", k=min(size, 500))) * max(1, size // 500)


def local(n):
    return dice.choice([b"joe-%d@mx.example.org", b"vuser-ann-%d@virt.org", b"x-y-%d@MX.example.ORG"]) % n


def bare(address):
    return address[6:] if address.startswith(b"vuser-") else address


def paragraph(address):
    return b"<" + address.replace(b"\n", b"_") + b">:\nSorry, no.\n/next line\n\n"


def one(stock, n):
    """A letter in a state that depends on n."""
    birth = (NOW + n) * 10**9 + dice.randrange(10**6) * 1000
    number = stock.mess(body(n), birth)
    sender = dice.choice([b"s%d@example.net", b"", b"#@[]", b"list-%d@example.net-@[]"])
    sender = sender % n if b"%d" in sender else sender
    state = n % 12
    if state == 0:  # queued, not preprocessed; what is left in info is garbage
        to = b"".join(b"T%s\0" % a for a in (b"ann@virt.org", b"one@user.org", b"nodomain", b"r@far.example"))
        stock.put("todo", number, b"u1000\0p%d\0F%s\0" % (n, sender) + to, birth)
        if n % 24 == 0:
            stock.put("info", number, b"Fgarbage")
        return
    if state == 1:  # never accepted
        stock.letters -= 1
        return stock.put("intd", number, b"u1\0p2\0Fs@x\0Thal")
    kinds, bounce = {"local": [], "remote": []}, b""
    ways = {2: "l", 3: "r", 4: "", 11: "l"}.get(state, "lr")
    for way, make in (("local", local), ("remote", lambda k: b"r%d@far.example" % k)):
        if way[0] not in ways:
            continue
        for k in range(dice.choice([1, 1, 1, 2, 5, 40])):
            address, done = make(n * 100 + k), state >= 5 and dice.random() < 0.5
            done = done or (state == 10)
            kinds[way].append((b"D" if done else b"T") + address + b"\0")
            if done and dice.random() < 0.4:
                bounce += paragraph(bare(address))
    if state == 9:  # one channel is settled and its file gone, its failures are still to be told
        bounce += paragraph(b"gone%d@virt.org" % n) + paragraph(b"away@far.example")
    if state == 11:  # a virtual user keeps its prefix in a bounce
        kinds["local"].append(b"Dbox-one@user.org\0")
        bounce += paragraph(b"box-one@user.org")
    stock.put("info", number, b"F" + sender + b"\0", birth)
    for way, step in (("local", 100), ("remote", 400)):
        if kinds[way]:
            due = birth + dice.choice([0, step, step * 16]) * 10**9
            stock.put(way, number, b"".join(kinds[way]), due)
    if bounce:
        stock.put("bounce", number, bounce)


def looked_at(root):
    """All letters of a queue, without their numbers."""
    letters = collections.Counter()
    for path in root.glob("mess/*/*"):
        number = int(path.name)
        check(number == path.stat().st_ino, f"{path}: number and inode differ")
        check(number % 23 == int(path.parent.name), f"{path}: in the wrong directory")
        told = [hash(path.read_bytes()), path.stat().st_mode, path.stat().st_uid]
        for part in ("info", "local", "remote"):
            at = root / part / path.parent.name / path.name
            told += [at.read_bytes(), at.stat().st_mtime_ns, at.stat().st_mode, at.stat().st_uid] if at.exists() else [None]
        at = root / "bounce" / path.name
        told.append(at.read_bytes() if at.exists() else None)
        letters[tuple(told)] += 1
    return letters


def count(mail):
    return int(mail.show("qmail-qstat").split(b"\n")[0].split()[-1])


def damage(stock):
    """Letters that cannot be taken, each with what is to be said of it."""
    wrong = []
    for part, text, why in (
        ("info", b"Fx@y", "is not F, a sender and one NUL"),
        ("local", b"Ta@mx.example.org", "does not end in a NUL"),
        ("remote", b"Xa@far.example\0", "unknown type"),
        ("bounce", b"hello\n\n", "does not begin with <recipient>"),
        ("local", b"Tjoe@elsewhere.example\0", "--reroute"),
        ("info", b"F" + b"x" * 2000 + b"\0", "sender is too long"),
    ):
        number = stock.mess(b"Subject: damaged\n\n", NOW * 10**9)
        if part != "info":
            stock.put("info", number, b"Fs@x\0", NOW * 10**9)
        stock.put(part, number, text)
        wrong.append((number, why))
    number = stock.mess(b"", NOW * 10**9)
    stock.put("info", number, b"Fs@x\0")
    (stock.root / f"mess/{number % stock.split}/{number}").unlink()
    wrong.append((number, "there is no letter in mess"))
    stock.letters -= len(wrong)
    return wrong


def whole(first, second):
    old = Stock(SCRATCH / "old", split=7, big_todo=True)
    for n in range(LETTERS):
        one(old, n)
    wrong = damage(old)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in old.root.rglob("*") if p.is_file()}

    # Its qmail-send runs: refused.
    with (old.root / "lock/sendmutex").open("r") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        check("is running: stop it first" in first.ctl("queue", "import", old.root, code=111), "a running queue")
    check(count(first) == 0, "a running queue was taken")

    # Interrupted twice: the program, and queued with it; then it goes on.
    for victim in ("import", "queued"):
        run = subprocess.Popen(
            [first.home / "bin/qmailctl", "--home", first.home, "queue", "import", old.root, "--hold"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        so_far = count(first)
        wait_for("some are in", 60, lambda: count(first) > so_far + LETTERS // 20 or run.poll() is not None)
        if victim == "import":
            run.kill()
        else:
            first.stop(signal.SIGKILL)
        run.wait(60)
        if victim == "queued":
            first.start()
        check(0 < count(first), f"{victim}: nothing is in")
    check(b"GMT" not in first.show("qmail-qread"), "held letters are listed")

    said = first.ctl("queue", "import", old.root, "--hold", code=1)
    for number, why in wrong:
        line = [l for l in said.splitlines() if f"/{number}: " in l]
        check(len(line) == 1 and why in line[0], f"{number}: {why}: {line}")
    check(f"{len(wrong)} left" in said and "never accepted" in said, said[-300:])
    check(count(first) == old.letters, f"{count(first)} letters, not {old.letters}")
    check(f"imported letters held: {old.letters}\n" in first.ctl("queue", "held"), "held")
    first.stop(signal.SIGKILL)
    first.start()
    check(f"{old.letters} imported letters released" in first.ctl("queue", "release", "imported"), "release")
    said = first.ctl("queue", "import", old.root, code=1)
    check(said.splitlines().count(f"0 letters imported, {old.letters} were before, {len(wrong)} left") == 1, said[-300:])
    listed = first.show("qmail-qread")
    check(listed.count(b" GMT  #") == old.letters, "qmail-qread lists them all")
    check(b"  done\tlocal\t" in listed and b"\tremote\tr" in listed and b"  bouncing\n" in listed, "qmail-qread")
    after = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in old.root.rglob("*") if p.is_file()}
    check(before == after, "the source was changed")

    # Out, interrupted once, and in, and out again.
    run = subprocess.Popen([first.home / "bin/qmailctl", "--home", first.home, "queue", "export", SCRATCH / "one"],
                           stdout=subprocess.DEVNULL)
    made = SCRATCH / "one/info"
    wait_for("some are out", 60, lambda: (made.exists() and any(made.glob("*/*"))) or run.poll() is not None)
    run.kill()
    run.wait(60)
    check(not (SCRATCH / "one/lock/sendmutex").exists(), "half an export could be started")
    said = first.ctl("queue", "export", SCRATCH / "one")
    check(said.startswith(f"{old.letters} letters exported"), said)
    check(b"GMT" not in first.show("qmail-qread"), "exported letters are listed")
    check("exported to another directory" in first.ctl("queue", "export", SCRATCH / "two", code=111), "twice")
    check("there are letters in it" in first.ctl("queue", "export", SCRATCH / "one", code=111), "again")
    said = second.ctl("queue", "import", SCRATCH / "one")
    check(f"{old.letters} letters imported, 0 were before, 0 left" in said, said)
    second.ctl("queue", "export", SCRATCH / "three")
    one_, three = looked_at(SCRATCH / "one"), looked_at(SCRATCH / "three")
    check(sum(one_.values()) == old.letters, f"{sum(one_.values())} letters exported")
    differ = list((one_ - three).keys())[:1] + list((three - one_).keys())[:1]
    check(one_ == three, f"the exports differ: {str(differ)[:2000]}")
    modes = {name: oct((SCRATCH / "three" / name).stat().st_mode)[-4:] for name in
             ("mess", "mess/22", "info/0", "todo", "lock", "lock/sendmutex", "lock/trigger", "lock/tcpto")}
    check(list(modes.values()) == ["0750", "0750", "0700", "0750", "0750", "0600", "0622", "0644"], modes)
    check(stat.S_ISFIFO((SCRATCH / "three/lock/trigger").stat().st_mode), "trigger")

    # Taken back by one, forgotten by the other.
    check(f"{old.letters} exported letters released" in first.ctl("queue", "release", "exported"), "taken back")
    check(first.show("qmail-qread").count(b" GMT  #") == old.letters, "they are not back")
    check(f"{old.letters} exported letters forgotten" in second.ctl("queue", "forget", "exported"), "forget")
    check(count(second) == 0, "they are not forgotten")


def alike(mail):
    """Letters of several queues whose files have one number, time and size are as many letters."""
    held = count(mail)
    queues = []
    for sender, text in ((b"ann@a.org", b"Subject: one\n\n"), (b"bob@b.org", b"Subject: one\n\n"),
                         (b"ann@a.org", b"Subject: two\n\n")):
        queue = Stock(SCRATCH / f"alike-{len(queues)}")
        queue.put("mess", 23, text, NOW * 10**9)
        queue.put("info", 23, b"F%s\0" % sender, NOW * 10**9)
        queue.put("remote", 23, b"Tr%d@far.example\0" % len(queues), NOW * 10**9)
        queues.append(queue)
    for queue in queues:
        said = mail.ctl("queue", "import", queue.root, "--hold")
        check("1 letters imported, 0 were before, 0 left" in said, f"another queue's letter is no copy: {said}")
    # Its qmail-send went on since: that is the letter it was.
    queues[0].put("remote", 23, b"Dr0@far.example\0", NOW * 10**9)
    for queue in queues:
        said = mail.ctl("queue", "import", queue.root, "--hold")
        check("0 letters imported, 1 were before, 0 left" in said, f"a letter came twice: {said}")
    check(count(mail) == held + len(queues), f"{count(mail)} letters")
    mail.ctl("queue", "release", "imported")
    out = SCRATCH / "alike-out"
    said = mail.ctl("queue", "export", out)
    check(said.startswith(f"{held + len(queues)} letters exported"), said)
    got = sorted((out.joinpath("info", *p.parts[-2:]).read_bytes(), p.read_bytes()) for p in out.glob("mess/*/*"))
    check(got == [(b"Fann@a.org\0", b"Subject: one\n\n"), (b"Fann@a.org\0", b"Subject: two\n\n"),
                  (b"Fbob@b.org\0", b"Subject: one\n\n")], f"other letters came out: {got}")


def named(mail):
    """A name that somebody else chose stays on its line, and steers no terminal."""
    said = mail.ctl("queue", "import", SCRATCH / "a\nqmailctl: all is well\033[2J\u202e", code=111)
    check(said.count("\n") == 1 and "/a?qmailctl: all is well?[2J?/" in said, f"a name as it was: {said!r}")


SCRATCH.mkdir()
SCRATCH.chmod(0o755)
homes = []
try:
    for name in ("first", "second"):
        homes.append(Mail(name))
        homes[-1].start()
    whole(*homes)
    alike(homes[1])
    named(homes[1])
finally:
    for mail in homes:
        mail.stop()
    shutil.rmtree(SCRATCH)
