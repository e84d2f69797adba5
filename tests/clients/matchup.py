"""qmail-send's log, read as qmailanalog's `matchup` reads it, and more strictly: every line is one of
stock's, in an order that stock can write, and says of letters and deliveries what fits those before it."""

import re

NUMBER = r"(0|[1-9][0-9]*)"
WORD = r"([!-$&-~]*)"
LINES = {
    "status": rf"status: local {NUMBER}/{NUMBER} remote {NUMBER}/{NUMBER}( exitasap)?",
    "exiting": r"status: exiting",
    "new": rf"new msg {NUMBER}",
    "info": rf"info msg {NUMBER}: bytes {NUMBER} from <{WORD}> qp {NUMBER} uid {NUMBER}",
    "starting": rf"starting delivery {NUMBER}: msg {NUMBER} to (local|remote) {WORD}",
    "ended": rf"delivery {NUMBER}: (success|deferral|failure): {WORD}",
    "mangled": rf"delivery {NUMBER}: report mangled, will defer",
    "bounce": rf"bounce msg {NUMBER} qp {NUMBER}",
    "triple": rf"triple bounce: discarding bounce/{NUMBER}",
    "double": rf"double bounce: discarding bounce/{NUMBER}",
    "end": rf"end msg {NUMBER}",
    "alert": r"alert: .*",
    "warning": r"warning: .*",
    # What helpers and supervise say on descriptor 2 has their name in front.
    "others": r"(?:supervise|qmail-[a-z]+): .*",
}
LINES = {name: re.compile(pattern) for name, pattern in LINES.items()}


def runs(lines):
    """The lines, cut where a run of qmail-send begins: at the last status before its first delivery. (Status
    lines follow the beginning and the end of deliveries; so do all others but a run's first.)"""
    begins, status = [], 0
    for at, line in enumerate(lines):
        if line.startswith("status: local "):
            status = at
        elif line.startswith("starting delivery 1:"):
            begins.append(status)
    for begin, end in zip([0, *begins], [*begins, len(lines)]):
        if begin < end:
            yield lines[begin:end]


class Unknown(Exception):
    """A line that stock does not write, or not there."""


class Letter:
    """What is known of a letter in the queue."""

    def __init__(self):
        self.described, self.tried, self.failed, self.told, self.flying = False, False, False, False, 0
        self.cut = False  # a run of qmail-send died while it was in the queue
        self.sender, self.deliveries = None, []


class Reader:
    """What the lines so far have said."""

    def __init__(self):
        self.letters, self.flights, self.last, self.closed, self.new = {}, {}, 0, 0, None
        self.announced, self.over = set(), True
        self.counts = dict.fromkeys(LINES, 0)

    def read_all(self, lines):
        """Takes many, of several runs."""
        for run in runs(lines):
            if not self.over:
                self.died()
            self.announced, self.last = set(), 0
            for line in run:
                self.read(line)

    def read(self, line):
        """Takes one line, without its label."""
        for name, pattern in LINES.items():
            if found := pattern.fullmatch(line):
                break
        else:
            raise Unknown(f"no line of stock's: {line!r}")
        self.counts[name] += 1
        new, self.new, self.over = self.new, None, name == "exiting"
        if new is not None and name != "info":
            raise Unknown(f"letter {new} is new, then: {line!r}")
        words = found.groups() if name != "info" else (new, *found.groups())
        try:
            getattr(self, f"line_{name}")(*words)
        except (AssertionError, KeyError) as why:
            raise Unknown(f"not now: {line!r} ({why!r})") from why

    def died(self):
        """A run ended without a word: what flew has no end, what was to be said is not."""
        for letter, _ in self.flights.values():
            self.letters[letter].flying -= 1
        for known in self.letters.values():
            known.cut = True
        self.flights = {}

    def line_status(self, local, local_limit, remote, remote_limit, _):
        for running, limit, channel in ((local, local_limit, "local"), (remote, remote_limit, "remote")):
            flying = sum(way == channel for _, way in self.flights.values())
            # A local delivery that waits for the disk only is not counted any more.
            assert int(running) <= min(int(limit), flying), f"{flying} fly"
            assert channel == "local" or int(running) == flying, f"{flying} fly"

    def line_exiting(self):
        assert not self.flights, self.flights

    def line_new(self, letter):
        old = self.letters.setdefault(letter, Letter())
        # A run announces once more what an earlier one has not reported on.
        assert letter not in self.announced and not old.flying and (not old.tried or old.cut), "not new"
        self.announced.add(letter)
        self.new = letter

    def line_info(self, new, letter, _bytes, sender, _qp, _uid):
        assert letter == new, "not announced"
        known = self.letters[letter]
        known.described, known.sender = True, sender

    def line_starting(self, number, letter, channel, address):
        known = self.letters[letter]
        assert known.described and int(number) == self.last + 1 and not known.told
        self.last, known.flying = int(number), known.flying + 1
        self.flights[number] = (letter, channel)
        known.deliveries.append((number, channel, address))

    def line_ended(self, number, verdict, _text):
        known = self.land(number)
        known.failed |= verdict == "failure"

    def line_mangled(self, number):
        self.land(number)

    def land(self, number):
        letter, _ = self.flights.pop(number)
        known = self.letters[letter]
        known.flying, known.tried = known.flying - 1, True
        return known

    def line_bounce(self, letter, _qp=None):
        known = self.letters[letter]
        assert (known.failed or known.cut) and not known.told and not known.flying
        known.told = True

    line_triple = line_double = line_bounce

    def line_end(self, letter):
        known = self.letters.pop(letter)
        assert known.described and not known.flying and (known.failed == known.told or known.cut)
        self.closed += 1

    def line_alert(self):
        pass

    line_warning = line_others = line_alert
