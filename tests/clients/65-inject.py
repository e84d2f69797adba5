#!/usr/bin/env python3
"""5,000 letters from 8 loops that start sendmail -t and qmail-inject in turns: each is there once."""

import collections
import resource
import threading

from mail import *

LETTERS, LOOPS = 5_000, 8
_, maildir = account("inject")
_, heap = account("inject-heap")
failures = []

# A loop as a script has it: each letter a process of its own, no delivery waited for.
LOOP = """
n=$1
while [ $n -lt $2 ]; do
  printf 'To: inject\\nSubject: letter %d by sendmail\\n\\nhi\\n' $n | "$BIN/sendmail" -i -t || echo "$n: sendmail $?"
  n=$((n + 1))
  printf 'Subject: letter %d by qmail-inject\\n\\nhi\\n' $n | "$BIN/qmail-inject" inject || echo "$n: qmail-inject $?"
  n=$((n + 1))
done
"""


def loop(first, end):
    done = subprocess.run(
        ["sh", "-c", LOOP, "loop", str(first), str(end)], capture_output=True, timeout=1000,
        env={"PATH": "/usr/bin:/bin", "BIN": str(HOME / "bin"), "USER": "writer"})
    failures.extend((done.stdout + done.stderr).decode().splitlines())


each = LETTERS // LOOPS
bounds = [each * n // 2 * 2 for n in range(LOOPS)] + [LETTERS]
begun = time.monotonic()
threads = [threading.Thread(target=loop, args=pair) for pair in zip(bounds, bounds[1:])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
injected = time.monotonic() - begun
check(not failures, f"{len(failures)} injections failed: {failures[:5]}")
wait_count(maildir, LETTERS, 300)
delivered = time.monotonic() - begun
time.sleep(1)
seen = collections.Counter(int(subject.split()[1]) for subject in subjects(maildir))
check(sorted(seen) == list(range(LETTERS)), f"{LETTERS - len(seen)} letters are missing")
check(set(seen.values()) == {1}, f"delivered more than once: {[n for n, k in seen.items() if k > 1][:5]}")
print(f"{LETTERS} letters injected in {injected:.1f} s ({LETTERS / injected:.0f}/s), delivered in {delivered:.1f} s")

# Input without end is refused with a word, in bounded memory, and nothing of it is queued.

def inject(letter, *args, program="qmail-inject", **more):
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    return subprocess.run(
        [HOME / "bin" / program, *args], input=letter, capture_output=True, timeout=PATIENCE,
        preexec_fn=limit, env={"USER": "writer"}, **more)


huge = inject(b"X-Long: " + b"x" * (100 << 20) + b"\n\nbody\n", "inject-heap")
check((huge.returncode, huge.stderr) == (100, b"qmail-inject: fatal: header is too long\n"), huge)
folded = inject(b"X-Long: x\n" + b" x\n" * (30 << 20) + b"\n", "inject-heap")
check((folded.returncode, folded.stderr) == (100, b"qmail-inject: fatal: header is too long\n"), folded)
fields = inject(b"To:a\n" * 3_000_000 + b"\n")
check((fields.returncode, fields.stderr) == (100, b"qmail-inject: fatal: too many recipients for one letter\n"), fields)
many = inject(b"To: " + b",".join(b"u%d" % n for n in range(1_000_000)) + b"\n\n")
check((many.returncode, many.stderr) == (100, b"qmail-inject: fatal: too many recipients for one letter\n"), many)
commas = inject(b"To: " + b"," * (15 << 20) + b"\n\n")
check(commas.returncode == 100 and commas.stderr.startswith(b"qmail-inject: fatal: "), commas.stderr[:200])
deep = inject(b"From: " + b"(" * (15 << 20) + b"\n\n", "inject-heap")
check(deep.returncode == 100 and deep.stderr.startswith(b"qmail-inject: fatal: unable to parse this line:\n"), deep.stderr[:200])

line = inject(b"Subject: long\n\n" + b"x" * (10 << 20), "inject-heap")
check(line.returncode == 0, line)
nuls = inject(b"Subject: n\0ul\nTo: a\0b\nCc: inject-heap\n\nbo\0dy\n\0\n", "-H")
check(nuls.returncode == 0, nuls)
wait_count(heap, 2)
texts = sorted(letters(heap), key=len)
check(b"\nSubject: n\0ul\nTo: a\0b\nCc: inject-heap@" in texts[0] and texts[0].endswith(b"\n\nbo\0dy\n\0\n"), texts[0])
check(texts[1].endswith(b"x" * 1000 + b"\n") and len(texts[1]) > (10 << 20), "the long line")
