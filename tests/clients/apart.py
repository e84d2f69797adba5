"""A machine of one's own: a root directory, a network and a process table, with our programs in /var/qmail."""

# What python would only look for when it is needed, in a root directory where it is not.
import encodings.idna
import encodings.latin_1
import fcntl
import shutil
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
OURS = ("qmail", "qmail-net", "daemontools", "qmail-admin")


def write(path, text, mode=0o644, owner=(0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, *owner)


def machine(root, programs):
    """A root directory with the system's programs and some more, accounts, and a user joe."""
    root.chmod(0o755)
    for name in ("usr", "lib", "lib64", "sbin", "etc", "proc", "dev", "tmp", "home", "root", "run", "bin", "service"):
        there = pathlib.Path("/", name)
        if there.is_symlink() and name != "bin":
            (root / name).symlink_to(os.readlink(there))
        else:
            (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    # A directory of its own, to put more into.
    for program in os.listdir("/bin"):
        (root / "bin" / program).symlink_to(f"/usr/bin/{program}")
    for program, text in programs.items():
        write(root / "bin" / program, text, 0o755)
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
    for name in OURS:
        shutil.copy(HOME / "bin" / name, root / "var/qmail/bin" / name)


def enter(root, tools):
    """Makes this process's root that directory, in namespaces of its own, with a loopback network, and these
    programs of ours where people look for them."""
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
    for name in tools:
        os.symlink(f"/var/qmail/bin/{name}", f"/usr/local/bin/{name}")


def run(*words, code=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    check(done.returncode == code, f"{words}: {done}")
    return done.stdout


def each(kinds, programs):
    """Plays this script again on a machine of its own for each kind, which a function of the root directory
    makes of a bare one: `SCRIPT KIND ROOT`, which begins with `enter`. Ends the scenario if one fails."""
    if os.geteuid() != 0:
        skip("root makes namespaces and a root directory")
    apart = ["unshare", "--mount", "--net", "--pid", "--fork"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        skip("no namespaces of one's own here")
    for kind, made in kinds.items():
        root = pathlib.Path(tempfile.mkdtemp(prefix="apart."))
        try:
            machine(root, programs)
            made(root)
            # Whatever is started in there ends with its first process.
            again = [*apart, "--kill-child", sys.executable, sys.argv[0], kind, root]
            done = subprocess.run(again, timeout=4 * PATIENCE)
            if done.returncode != 0:
                for log in sorted(root.glob("var/log/qmail/**/current")):
                    print(f"{log}:\n{log.read_text()[-2000:]}")
                fail(f"{kind}: {done.returncode}")
        finally:
            shutil.rmtree(root, ignore_errors=True)
