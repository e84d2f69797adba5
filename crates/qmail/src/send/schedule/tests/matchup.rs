//! The log as its readers know it: every line one of stock's, every letter's life closed. What the
//! reader knows is what qmailanalog's `matchup` keeps from line to line.

use super::lives::Dice;
use super::traffic::{Answer, DEAD, FINE, Traffic};
use super::*;
use letter::bounce::Kind;

/// What is known of a letter that is in the queue.
#[derive(Debug, Default)]
struct Life {
    described: bool,
    tried: bool,
    failures: u32,
    told: bool,
    flying: u32,
}

/// What the lines so far have said.
#[derive(Debug, Default)]
struct Reader {
    lives: BTreeMap<u64, Life>,
    /// Deliveries under way: of which letter, and local (0) or remote (1).
    flights: BTreeMap<u64, (u64, usize)>,
    last: u64,
    ended: u64,
    counts: BTreeMap<&'static str, u64>,
    /// The letter whose next line must describe it.
    new: Option<u64>,
}

impl Reader {
    fn read(&mut self, log: &str) -> Result<(), String> {
        for line in log.split_inclusive('\n') {
            let whole = line.strip_suffix('\n').ok_or("half a line")?;
            let plain = whole.bytes().all(|c| (32..127).contains(&c));
            let said = self.line(whole).filter(|()| plain);
            said.ok_or_else(|| format!("not a line of stock's, or not now: {line:?}"))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let new = self.new.take();
        if let Some(rest) = line.strip_prefix("info msg ") {
            let (id, rest) = rest.split_once(": bytes ")?;
            let (bytes, rest) = rest.split_once(" from <")?;
            let (from, rest) = rest.rsplit_once("> qp ")?;
            let (qp, uid) = rest.split_once(" uid ")?;
            let id = number(id)?;
            let numbers = [number(bytes)?, number(qp)?, number(uid)?];
            self.lives.get_mut(&id)?.described = true;
            return self.count("info", new == Some(id) && word(from) && numbers.len() == 3);
        }
        if new.is_some() {
            return None;
        }
        if let Some(id) = line.strip_prefix("new msg ") {
            self.new = Some(number(id)?);
            let tried = self.lives.entry(number(id)?).or_default().tried;
            return self.count("new", !tried);
        }
        if let Some(rest) = line.strip_prefix("starting delivery ") {
            return self.starting(rest);
        }
        if let Some(rest) = line.strip_prefix("delivery ") {
            return self.delivery(rest);
        }
        if let Some(rest) = line.strip_prefix("bounce msg ") {
            let (id, qp) = rest.split_once(" qp ")?;
            number(qp)?;
            return self.told("bounce", number(id)?);
        }
        if let Some(id) = line.strip_prefix("triple bounce: discarding bounce/") {
            return self.told("triple", number(id)?);
        }
        if let Some(id) = line.strip_prefix("double bounce: discarding bounce/") {
            return self.told("double", number(id)?);
        }
        if let Some(id) = line.strip_prefix("end msg ") {
            let life = self.lives.remove(&number(id)?)?;
            self.ended += 1;
            let settled = life.flying == 0 && (life.failures > 0) == life.told;
            return self.count("end", life.described && settled);
        }
        if line == "status: exiting" {
            return self.count("exiting", self.flights.is_empty());
        }
        let rest = line.strip_prefix("status: local ")?;
        self.status(rest.strip_suffix(" exitasap").unwrap_or(rest))
    }

    /// `2: msg 1 to local joe@here`
    fn starting(&mut self, rest: &str) -> Option<()> {
        let (delivery, rest) = rest.split_once(": msg ")?;
        let (id, rest) = rest.split_once(" to ")?;
        let (channel, to) = rest.split_once(' ')?;
        let channel = ["local", "remote"].iter().position(|&name| name == channel)?;
        let (delivery, id) = (number(delivery)?, number(id)?);
        self.lives.get_mut(&id)?.flying += 1;
        let next = delivery == self.last + 1;
        self.last = delivery;
        self.flights.insert(delivery, (id, channel));
        self.count(["local", "remote"][channel], next && word(to))
    }

    /// `2: success: did_1+0+0/`
    fn delivery(&mut self, rest: &str) -> Option<()> {
        let (delivery, rest) = rest.split_once(": ")?;
        let (id, _) = self.flights.remove(&number(delivery)?)?;
        let life = self.lives.get_mut(&id)?;
        (life.flying, life.tried) = (life.flying - 1, true);
        if rest == "report mangled, will defer" {
            return self.count("mangled", true);
        }
        let (verdict, text) = rest.split_once(": ")?;
        let verdict = ["success", "deferral", "failure"].into_iter().find(|&v| v == verdict)?;
        life.failures += u32::from(verdict == "failure");
        self.count(verdict, word(text))
    }

    /// `1/10 remote 0/20`
    fn status(&mut self, rest: &str) -> Option<()> {
        let (local, remote) = rest.split_once(" remote ")?;
        for (channel, load) in [local, remote].into_iter().enumerate() {
            let (running, limit) = load.split_once('/')?;
            let (running, limit) = (number(running)?, number(limit)?);
            let flying = self.flights.values().filter(|(_, c)| *c == channel).count() as u64;
            if running > limit || running != flying {
                return None;
            }
        }
        self.count("status", true)
    }

    fn told(&mut self, what: &'static str, id: u64) -> Option<()> {
        let life = self.lives.get_mut(&id)?;
        let first = !std::mem::replace(&mut life.told, true);
        let now = life.flying == 0 && life.failures > 0;
        self.count(what, first && now)
    }

    /// After a restart deliveries are counted from 1, and what was under way has no end.
    fn restart(&mut self) {
        self.last = 0;
        for (id, _) in std::mem::take(&mut self.flights).into_values() {
            let life = self.lives.entry(id).or_default();
            life.flying -= 1;
        }
    }

    fn count(&mut self, what: &'static str, holds: bool) -> Option<()> {
        *self.counts.entry(what).or_default() += 1;
        holds.then_some(())
    }
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| plain && (text == "0" || !text.starts_with('0')))
}

/// An address or a text as it may stand in the log.
fn word(text: &str) -> bool {
    text.bytes().all(|c| (33..127).contains(&c) && c != b'%')
}

/// What becomes of a delivery depends on whom it is to, and on the hour.
fn fate(f: &Flying, now: Moment) -> Answer {
    let mood = now.secs() / 600 % 3;
    let to = String::from_utf8_lossy(&f.recipient);
    match &to[..] {
        "full@here" if mood > 0 => (5, Outcome::Later, "Temporary_error: 100% full\nreally\n"),
        "gone@here" | "vu-gone@v.org" => (2, Outcome::Never, "Sorry, no mailbox. (#5.1.1)\n"),
        "silent@here" => (1, Outcome::Never, ""),
        _ if to.ends_with("@dead.org") => DEAD,
        _ if to.ends_with("@grey.org") && mood == 0 => {
            (90, Outcome::Later, "450 gr\u{e9}y\nlater\n")
        }
        _ if to.ends_with("@no.org") => (70, Outcome::Never, "Remote host said: 550 no\n"),
        _ if f.channel == Channel::Local => (3, Outcome::Done, "did 1+0+0\n"),
        _ => FINE,
    }
}

/// A day's traffic around a schedule, with its bounces.
struct Day {
    t: Traffic<fn(&Flying, Moment) -> Answer>,
    reader: Reader,
    dice: Dice,
    next: u64,
}

impl Day {
    fn new() -> Self {
        let t = Traffic::new(World::new(10, 20), fate as fn(&Flying, Moment) -> Answer);
        let mut day = Self { t, reader: Reader::default(), dice: Dice(7), next: 0 };
        day.t.w.step(Event::Listed);
        day
    }

    /// A letter of one of these kinds.
    fn letter(&mut self) {
        const SENDERS: [&str; 6] =
            ["ann@x.org", "bob@here", "gone@here", "", "#@[]", "list-@l.org-@[]"];
        const RECIPIENTS: [&str; 9] = [
            "joe@here",
            "joe@far.org",
            "full@here",
            "gone@here",
            "gone@v.org",
            "silent@here",
            "x@dead.org",
            "a b@grey.org",
            "%\n@no.org",
        ];
        let sender = SENDERS[self.dice.roll(SENDERS.len())];
        let count = [0, 1, 1, 1, 1, 1, 2, 5][self.dice.roll(8)];
        let to: Vec<_> = (0..count).map(|_| RECIPIENTS[self.dice.roll(9)]).collect();
        self.next += 1;
        self.t.arrive(self.next, sender, &to);
    }

    /// Bounces are queued, and everybody is read.
    fn settle(&mut self) {
        while !self.t.w.bouncing.is_empty() {
            for (known, sender) in std::mem::take(&mut self.t.w.bouncing) {
                self.t.w.disk.remove(&known.id);
                self.t.w.step(Event::Bounced(known, Bounced::Settled(77)));
                let (from, to) = match Kind::of(&sender) {
                    Kind::Single(to) => ("", String::from_utf8(to.to_vec()).unwrap()),
                    Kind::Double => {
                        ("#@[]", ["gone@here", "postmaster@here"][self.dice.roll(2)].into())
                    }
                    Kind::Triple => panic!("told to nobody"),
                };
                self.next += 1;
                self.t.arrive(self.next, from, &[&to]);
            }
        }
        self.reader.read(&std::mem::take(&mut self.t.w.log)).unwrap();
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            for _ in 0..[0, 0, 0, 1][self.dice.roll(4)] {
                self.letter();
            }
            self.t.run(1);
            self.settle();
        }
    }

    /// TERM, what runs is heard out, and another run begins with what queued has.
    fn restart(&mut self) {
        self.t.w.step(Event::Exit);
        self.t.run(120);
        while !self.t.w.schedule.over(self.t.w.now) {
            self.settle();
            self.t.run(1);
        }
        self.settle();
        self.reader.restart();
        let (now, disk) = (self.t.w.now, std::mem::take(&mut self.t.w.disk));
        self.t.w = World::new(10, 20);
        self.t.w.now = now;
        self.t.w.disk = disk;
        for id in self.t.w.disk.keys().copied().collect::<Vec<_>>() {
            self.t.w.disk.get_mut(&id).unwrap().old = true;
            self.t.w.tell(id);
        }
        self.t.w.step(Event::Listed);
        self.settle();
    }
}

#[test]
fn every_letters_life_closes_in_the_log_of_a_day() {
    let mut day = Day::new();
    day.run(43_200);
    day.restart();
    day.run(43_200);
    let letters = day.next;
    for _ in 0..9 * 24 {
        day.t.run(3_600);
        day.settle();
    }
    let Reader { lives, flights, ended, counts, .. } = &day.reader;
    assert!(lives.is_empty() && flights.is_empty(), "{lives:?}");
    assert_eq!(*ended, day.next);
    println!("{letters} letters in a day, {} with bounces of later: {counts:?}", day.next);
    for what in ["bounce", "triple", "deferral", "failure", "success", "local", "remote"] {
        assert!(counts[what] > 1_000, "{what}: {counts:?}");
    }
    assert!(day.t.w.disk.is_empty());
}

#[test]
fn a_line_that_is_not_stocks_or_comes_at_the_wrong_time_is_noticed() {
    let begin = "status: local 0/10 remote 0/20\nnew msg 1\n\
                 info msg 1: bytes 2 from <s@x> qp 3 uid 4\n\
                 starting delivery 1: msg 1 to local joe@here\n";
    for (bad, why) in [
        ("status: local 0/10 remote 0/20\n", "one runs"),
        ("end msg 1\n", "one runs"),
        ("starting delivery 3: msg 1 to local joe@here\n", "2 is next"),
        ("starting delivery 2: msg 2 to local joe@here\n", "no such letter"),
        ("delivery 2: success: \n", "no such delivery"),
        ("delivery 1: success: a b\n", "a space"),
        ("delivery 1: failed: \n", "no such word"),
        ("bounce msg 1 qp 5\n", "nothing failed"),
        ("delivery 1: failure: no/\nend msg 1\n", "nobody was told"),
        ("hello\n", "no such line"),
        ("delivery 1: success: ", "half a line"),
    ] {
        assert!(Reader::default().read(&format!("{begin}{bad}")).is_err(), "{why}");
    }
    Reader::default().read(&format!(
        "{begin}status: local 1/10 remote 0/20\ndelivery 1: failure: no/\nbounce msg 1 qp 5\nend msg 1\n"
    ))
    .unwrap();
}

#[test]
fn with_an_empty_doublebounceto_a_bounce_that_bounces_is_discarded_at_once() {
    let mut w = World::linked(10, 20);
    w.schedule.discards_doubles = true;
    w.arrive(4, "", &["gone@here"]);
    w.land(0, Outcome::Never, "no\n");
    w.ack_all();
    assert!(w.log.ends_with("double bounce: discarding bounce/4\n"), "{}", w.log);
    assert_eq!((w.bouncing.len(), w.cleaning.len()), (0, 1));
    w.arrive(5, "s@x", &["gone@here"]);
    w.land(0, Outcome::Never, "no\n");
    w.ack_all();
    assert_eq!(w.bouncing.len(), 1, "a sender is still told");
}

#[test]
fn a_failure_that_queued_has_no_room_for_is_an_alert_once_until_it_is_said_again() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@here", "b@here"]);
    w.land(0, Outcome::Done, "");
    w.step(Event::Unwritten);
    assert!(!w.log.contains("HELP!"), "a delivery is not the only word on anything");
    w.sleep();
    w.land(0, Outcome::Never, "no\n");
    let alert = "alert: unable to append to bounce message; HELP! sleeping...\n";
    for said in 1..3 {
        for _ in 0..3 {
            w.step(Event::Unwritten);
        }
        assert_eq!(w.log.matches(alert).count(), said);
        w.now = w.now.plus_secs(5);
        w.step(Event::Wake);
    }
}
