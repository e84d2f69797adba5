#!/usr/bin/env python3
"""The machine goes down while a letter is on its way: svscan waits for the delivery under way, its outcome is
written down, and after the next start nobody gets the letter twice."""

import shutil
import signal
import socketserver
import tempfile
import threading

from mail import *

# How long the far end takes to say that it has a letter: longer than svscan waits for most services.
SLOW = 14

# When letters came.
arrived = []


class Far(socketserver.StreamRequestHandler):
    """A server that takes its time before it says that it has a letter."""

    def handle(self):
        say = lambda text: self.wfile.write(text + b"\r\n")
        say(b"220 far.example.net")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"DATA":
                say(b"354 go ahead")
                for _ in iter(self.rfile.readline, b".\r\n"):
                    pass
                arrived.append(time.monotonic())
                time.sleep(SLOW)
            say(b"221 bye" if word == b"QUIT" else b"250 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


far = Server(("127.0.0.1", 0), Far)
threading.Thread(target=far.serve_forever, daemon=True).start()
yard = pathlib.Path(tempfile.mkdtemp(prefix="qmail-shutdown-"))
yard.chmod(0o755)
home = yard / "home"
(home / "bin").mkdir(parents=True)
for name in ("qmail", "qmail-net", "daemontools", "qmail-admin"):
    shutil.copy2(HOME / "bin" / name, home / "bin" / name)


ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
setup = [home / "bin/qmail-admin", "qmailctl", "--home", home, "setup", "--host", HOST]
made = subprocess.run([*setup, "--smtp", ports[0], "--pop3", ports[1]], capture_output=True)
check(made.returncode == 0, made.stderr)
(home / "control/smtproutes").write_text(f":[127.0.0.1]:{far.server_address[1]}\n")


def start():
    return subprocess.Popen([home / "bin/svscan", home / "service"], cwd=home, start_new_session=True, stderr=subprocess.PIPE)


def end(svscan):
    """Ends all that svscan runs; what it said."""
    svscan.send_signal(signal.SIGTERM)
    return svscan.communicate(timeout=PATIENCE)[1].decode()


def queued():
    """How many letters are in the queue."""
    done = subprocess.run([home / "bin/qmail-qstat"], capture_output=True, text=True)
    return int(done.stdout.split("\n")[0].rsplit(" ", 1)[1]) if done.returncode == 0 else None


svscan = start()
try:
    wait_for("the queue", 30, lambda: queued() is not None)
    subprocess.run([home / "bin/qmail-inject", "-fa@example.net", "b@far.example.net"], input=b"Subject: once\n\nx\n", check=True, env={"QMAILHOME": str(home), "PATH": os.environ["PATH"]})
    wait_for("the letter to be on its way", 30, lambda: arrived)
finally:
    told = end(svscan)
took = time.monotonic() - arrived[0]
print(f"svscan ended {took:.1f} s after the letter came, exit code {svscan.returncode}")
check(svscan.returncode == 0 and "killed" not in told, f"{svscan.returncode}: {told}")
check(took >= SLOW, "svscan did not wait for the delivery")

svscan = start()
try:
    wait_for("an empty queue", 60, lambda: queued() == 0)
finally:
    end(svscan)
check(len(arrived) == 1, f"the letter came {len(arrived)} times")
shutil.rmtree(yard)
