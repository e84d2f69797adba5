//! Days of mixed traffic in virtual time: spawners that take as long as hosts do.

use super::world::routing;
use super::*;
use crate::send::letters::{Letter, Recipient};
use crate::send::schedule::change::shifted;

/// What a host makes of a delivery: after how many milliseconds it ends, and how.
pub(super) type Answer = (u64, Outcome, &'static str);

pub(super) const FINE: Answer =
    (100, Outcome::Done, "1.2.3.4 accepted message.\nRemote host said: 250 ok\n");
pub(super) const DEAD: Answer =
    (60_000, Outcome::Later, "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n");

/// A world whose deliveries end by themselves.
pub(super) struct Traffic<F> {
    pub(super) w: World,
    answer: F,
    ends: BinaryHeap<Reverse<(Moment, u64)>>,
    /// Deliveries under way, by number.
    under_way: BTreeMap<u64, (Flying, Answer)>,
    count: u64,
    /// When each letter first flew, and how often it did.
    first: BTreeMap<u64, Moment>,
    flights: BTreeMap<Vec<u8>, u32>,
    /// The most that ever flew at once, by recipient's domain.
    most: BTreeMap<Vec<u8>, usize>,
}

fn domain(recipient: &[u8]) -> Vec<u8> {
    base::address::split(recipient).1.unwrap_or_default().to_vec()
}

impl<F: Fn(&Flying, Moment) -> Answer> Traffic<F> {
    pub(super) fn new(w: World, answer: F) -> Self {
        Self {
            w,
            answer,
            ends: BinaryHeap::new(),
            under_way: BTreeMap::new(),
            count: 0,
            first: BTreeMap::new(),
            flights: BTreeMap::new(),
            most: BTreeMap::new(),
        }
    }

    /// What has just started gets its end; queued and qmail-clean answer at once.
    fn settle(&mut self) {
        while !(self.w.flying.is_empty() && self.w.unacked.is_empty() && self.w.cleaning.is_empty())
        {
            for flying in std::mem::take(&mut self.w.flying) {
                let now = self.w.now;
                let answer = (self.answer)(&flying, now);
                self.count += 1;
                self.ends.push(Reverse((now.plus_micros(answer.0 * 1000), self.count)));
                self.first.entry(flying.letter).or_insert(now);
                let there = domain(&flying.recipient);
                *self.flights.entry(there.clone()).or_default() += 1;
                self.under_way.insert(self.count, (flying, answer));
                let same = |(f, _): &&(Flying, Answer)| domain(&f.recipient) == there;
                let flying = self.under_way.values().filter(same).count();
                let most = self.most.entry(there.clone()).or_default();
                *most = flying.max(*most);
            }
            self.w.ack_all();
            self.w.clean_all();
        }
    }

    pub(super) fn arrive(&mut self, id: u64, sender: &str, recipients: &[&str]) {
        self.w.arrive(id, sender, recipients);
        self.settle();
    }

    /// Plays until a moment.
    fn until(&mut self, moment: Moment) {
        self.settle();
        loop {
            let end = self.ends.peek().map(|Reverse((at, _))| *at);
            let wake = self.w.schedule.wake().map(|at| at.max(self.w.now));
            let next = [end, wake].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= moment) else { break };
            self.w.now = next;
            if end == Some(next) {
                let Some(Reverse((_, number))) = self.ends.pop() else { break };
                let (flying, (_, outcome, text)) = self.under_way.remove(&number).unwrap();
                let report =
                    Report { slot: flying.slot, outcome: Some(outcome), text: text.as_bytes() };
                self.w.step(Event::Report(flying.channel, report));
            } else {
                self.w.step(Event::Wake);
            }
            self.settle();
        }
        self.w.now = moment;
    }

    pub(super) fn run(&mut self, seconds: u64) {
        self.until(self.w.now.plus_secs(seconds));
    }

    /// How long a letter waited for its first delivery, in milliseconds.
    fn waited(&self, id: u64, arrived: Moment) -> u64 {
        self.first.get(&id).map_or(u64::MAX, |first| first.since(arrived) / 1000)
    }
}

#[test]
fn letters_that_pour_in_take_no_place_from_those_that_are_there() {
    let started = |each_millisecond: u64| {
        let quick = |_: &Flying, _| (5, Outcome::Done, "did 1+0+0\n");
        let mut t = Traffic::new(World::linked(10, 20), quick);
        for id in 1..=10_000 {
            t.w.arrive(id, &format!("s{id}@x.org"), &[&format!("u{}@here", id % 100)]);
        }
        let mut id = 10_000;
        for millisecond in 0..3_000 {
            for _ in 0..each_millisecond {
                id += 1;
                t.w.arrive(id, "pours@x.org", &[&format!("u{}@here", id % 100)]);
                assert_eq!(t.w.flying.len() + t.under_way.len(), 10, "a place is empty");
            }
            t.until(Moment::from_secs(1_000_000_000).plus_micros(millisecond * 1_000));
            t.w.log.clear();
        }
        t.first.keys().filter(|&&id| id <= 10_000).count()
    };
    let (alone, poured) = (started(0), started(20));
    println!("{alone} of those that were there, {poured} beside 20,000 new letters a second");
    assert!(alone > 5_000 && poured * 10 > alone * 9, "{alone}, {poured}");
}

#[test]
fn a_letter_to_a_hundred_thousand_readers_does_not_delay_a_persons() {
    let mut t = Traffic::new(World::linked(10, 100), |_, _| FINE);
    let readers: Vec<String> = (0..100_000).map(|n| format!("r{n}@d{}.org", n % 50)).collect();
    let readers: Vec<&str> = readers.iter().map(String::as_str).collect();
    t.arrive(1, "list-@l.org-@[]", &readers);
    for id in 2..60 {
        t.run(1);
        let arrived = t.w.now;
        t.arrive(id, "ann@x.org", &[&format!("joe@d{}.org", id % 50)]);
        t.run(1);
        assert!(t.waited(id, arrived) < 1000, "{id} waited {} ms", t.waited(id, arrived));
        t.w.log.clear();
    }
    t.run(60);
    assert!(t.w.disk.is_empty(), "and everybody has it in three minutes");
}

#[test]
fn a_sender_of_many_letters_waits_behind_himself() {
    let mut t = Traffic::new(World::linked(10, 20), |_, _| FINE);
    for id in 1..=20_000 {
        t.w.arrive(id, "news@x.org", &[&format!("r@d{}.org", id % 5000)]);
    }
    t.run(5);
    for id in 20_001..20_020 {
        let arrived = t.w.now;
        t.arrive(id, "ann@x.org", &[&format!("joe@d{id}.org")]);
        t.run(1);
        assert!(t.waited(id, arrived) < 500, "{id} waited {} ms", t.waited(id, arrived));
    }
    let done = |t: &Traffic<_>| 20_019 - t.w.disk.len();
    let before = done(&t);
    t.run(10);
    assert!(done(&t) - before > 1900, "nothing is lost by being fair");
}

#[test]
fn a_dead_domain_costs_nobody_else_anything_and_its_letters_keep_their_times() {
    let dead = |f: &Flying, _| if f.recipient.ends_with(b"@dead.org") { DEAD } else { FINE };
    let mut t = Traffic::new(World::linked(10, 20), dead);
    let birth = t.w.now;
    for id in 1..=1000 {
        t.w.arrive(id, "ann@x.org", &[&format!("r{id}@dead.org")]);
    }
    for id in 1001..2000 {
        let arrived = t.w.now;
        t.arrive(id, "bob@x.org", &[&format!("r@d{}.org", id % 100)]);
        t.run(1);
        assert!(t.waited(id, arrived) < 100, "{id} waited {} ms", t.waited(id, arrived));
    }
    t.run(86_400 - 999);
    assert_eq!(t.most[&b"dead.org"[..]], 2, "two before we know, one at a time then");
    assert!(t.flights[&b"dead.org"[..]] < 200, "{:?}", t.flights[&b"dead.org"[..]]);
    assert_eq!(t.w.disk.len(), 1000);
    for stored in t.w.disk.values() {
        let [Progress::Deferred(due)] = stored.progress[..] else { panic!("not tried") };
        let age = due.since(birth) / 1_000_000;
        assert_eq!(age.isqrt().pow(2), age, "attempts are due at squares");
        assert!((86_400..100_000).contains(&age), "{age}");
    }
    assert!(t.w.log.contains("_(#4.4.1)/I_have_not_tried_again_since;"));
}

#[test]
fn a_domain_that_comes_back_gets_its_letters_and_is_then_trusted_again() {
    let dead_for_an_hour = |f: &Flying, now: Moment| {
        let dead = f.recipient.ends_with(b"@dead.org") && now.secs() < 1_000_003_600;
        if dead { DEAD } else { FINE }
    };
    let mut t = Traffic::new(World::linked(10, 100), dead_for_an_hour);
    for id in 1..=500 {
        t.w.arrive(id, "ann@x.org", &[&format!("r{id}@dead.org")]);
    }
    t.run(4 * 3600);
    assert_eq!(t.w.disk.len(), 0, "the next attempts find it alive");
    assert!(t.most[&b"dead.org"[..]] > 10);
    assert_eq!(t.w.schedule.lines[1].destinations.len(), 0, "nothing is left to remember");
}

#[test]
fn a_short_outage_is_waited_out() {
    let down = |f: &Flying, now: Moment| {
        let down = f.recipient.ends_with(b"@slow.org") && now.secs() < 1_000_000_020;
        if down { (10, DEAD.1, DEAD.2) } else { FINE }
    };
    let mut t = Traffic::new(World::linked(10, 100), down);
    t.arrive(1, "ann@x.org", &["joe@slow.org"]);
    t.run(1);
    for id in 2..200 {
        t.arrive(id, "ann@x.org", &["joe@slow.org"]);
    }
    t.run(60);
    assert!(t.w.disk.len() < 5, "all but the probes go when it is back: {}", t.w.disk.len());
}

#[test]
fn success_widens_and_trouble_narrows() {
    let busy = (
        100,
        Outcome::Later,
        "Connected to 1.2.3.4 but greeting failed.\nRemote host said: 421 busy\n",
    );
    let soft =
        (100, Outcome::Later, "1.2.3.4 does not like recipient.\nRemote host said: 450 later\n");
    let mood = |_: &Flying, now: Moment| match now.secs() - 1_000_000_000 {
        0..100 => FINE,
        100..200 => soft,
        200..300 => busy,
        _ => FINE,
    };
    let mut t = Traffic::new(World::linked(10, 100), mood);
    let mut id = 0;
    let mut run = |t: &mut Traffic<_>, from: u64, seconds: u64| {
        for second in from..from + seconds {
            t.until(Moment::from_secs(1_000_000_000 + second));
            for _ in 0..250 {
                id += 1;
                t.w.arrive(id, "ann@x.org", &["joe@far.org"]);
            }
        }
        t.w.log.clear();
        t.w.schedule.lines[1].destinations.window(b"far.org")
    };
    assert_eq!(run(&mut t, 0, 60), 20);
    assert_eq!(t.most[&b"far.org"[..]], 20);
    assert_eq!(run(&mut t, 100, 50), 2, "one that only puts off keeps two");
    assert_eq!(run(&mut t, 200, 80), 1, "one that wants no connection gets one at a time");
    let flights = t.flights[&b"far.org"[..]];
    assert_eq!(run(&mut t, 280, 10), 1);
    assert!(t.flights[&b"far.org"[..]] - flights < 3, "and pauses");
    assert!(run(&mut t, 700, 900) > 10, "and is trusted again, slowly");
}

#[test]
fn a_paused_domain_waits_without_taking_places_and_a_resumed_one_goes_at_once() {
    let mut t = Traffic::new(World::linked(10, 20), |_, _| FINE);
    t.w.step(Event::Policy(Policy::of(&["no.org:0"], &["a.org:1000001000", ".b.org:"], &[])));
    let to = ["joe@a.org", "joe@x.b.org", "joe@b.org", "joe@no.org", "joe@c.org"];
    for id in 1..=50 {
        t.arrive(id, "ann@x.org", &[to[id as usize % 5]]);
    }
    t.run(900);
    t.w.step(Event::Hurry);
    assert_eq!(t.flights.keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"b.org", b"c.org"]);
    t.run(110);
    assert_eq!(t.flights[&b"a.org"[..]], 10, "the pause has ended");
    t.w.step(Event::Policy(Policy::default()));
    t.run(10);
    assert!(t.w.disk.is_empty() && t.w.schedule.lines[1].destinations.len() == 0);
}

#[test]
fn a_program_that_hangs_does_not_stop_other_users_mail() {
    let hang = |f: &Flying, now: Moment| {
        let hangs = f.recipient.starts_with(b"joe-") && now.secs() > 1_000_000_010;
        if hangs { (10_000_000_000, Outcome::Later, "") } else { (5, Outcome::Done, "") }
    };
    let mut t = Traffic::new(World::linked(10, 20), hang);
    for id in 1..1000 {
        let arrived = t.w.now;
        t.arrive(id, "ann@x.org", &[&format!("joe-{id}@here")]);
        t.arrive(id + 1000, "ann@x.org", &["bob@here"]);
        t.run(1);
        assert!(t.waited(id + 1000, arrived) < 100, "{id}");
    }
    assert_eq!(t.w.schedule.lines[0].load().running, 2);
}

#[test]
fn a_clock_that_is_set_by_a_year_neither_stops_the_retries_nor_makes_a_storm() {
    const YEAR: i64 = 365 * 86_400 * 1_000_000;
    for by in [YEAR, -YEAR] {
        let mut t = Traffic::new(World::linked(10, 20), |f, _| {
            if f.recipient.ends_with(b"far.org") { (10, Outcome::Later, "no\n") } else { FINE }
        });
        for id in 1..=100 {
            t.w.arrive(id, "ann@x.org", &["joe@far.org"]);
        }
        t.run(500);
        assert_eq!(t.flights[&b"far.org"[..]], 200);
        t.w.now = shifted(t.w.now, by);
        t.w.step(Event::Jumped(by));
        t.run(1);
        t.arrive(101, "ann@x.org", &["joe@far.org"]);
        assert_eq!(t.flights[&b"far.org"[..]], 201, "no storm");
        t.run(1200);
        assert_eq!(
            t.flights[&b"far.org"[..]],
            302,
            "the attempts after 1,600 s, and a new letter's"
        );
        assert_eq!(t.w.bouncing, []);
        t.run(8 * 86_400);
        assert_eq!(t.w.lines("failure: no/I'm"), 101, "and the end comes after a week, as ever");
    }
}

#[test]
fn what_a_clock_set_back_left_in_the_queue_is_tried_within_hours_and_not_all_at_once() {
    let mut w = World::new(10, 20);
    for id in 1..=1000 {
        w.store(id, "s@x", &["a@far"]);
        let stored = w.disk.get_mut(&id).unwrap();
        let due = w.now.plus_secs(365 * 86_400 + 7 * id);
        (stored.old, stored.birth) = (true, w.now.plus_secs(365 * 86_400));
        stored.progress = vec![Progress::Deferred(due)];
        w.tell(id);
    }
    w.step(Event::Listed);
    assert!(w.flying.is_empty());
    let mut t = Traffic::new(w, |_, _| FINE);
    t.run(3600);
    let early = t.first.len();
    t.run(10 * 3600);
    assert!(early < 600 && t.w.disk.is_empty(), "{early} in the first hour");
}

/// What the process has in memory, bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A schedule that knows no letter yet.
fn empty() -> (Schedule, Actions, Moment) {
    let mut out = Actions::default();
    let (routing, policy, limits) = (routing(), Policy::default(), [10, 100]);
    let rules =
        Rules { routing, policy, limits, lifetime: 604_800, discards_doubles: false, seed: 7 };
    (Schedule::new(rules, &mut out), out, Moment::from_secs(1_000_000_000))
}

#[test]
#[ignore = "measures the whole process: run it alone, with --release"]
fn a_million_letters_that_wait_take_less_than_a_hundred_and_fifty_megabytes() {
    let (mut schedule, mut out, now) = empty();
    let progress = progress_block([Progress::Deferred(now.plus_secs(400))].into_iter());
    let (before, began) = (resident(), std::time::Instant::now());
    for id in 1..=1_000_000_u64 {
        let block =
            format!("sender{id}@example{}.org\0recipient{id}@domain{}.org\0", id % 97, id % 9973);
        let envelope = Envelope::new(block.as_bytes()).unwrap();
        let entry = Entry::new(id, now, 4000, 0, 1, true, envelope, &progress).unwrap();
        schedule.step(Event::Entry(entry), now, &mut out);
    }
    let (each, time) = ((resident() - before) / 1_000_000, began.elapsed());
    println!("{each} bytes a letter, {time:?}");
    assert!(each <= 150 && out.log.len() < 100, "{each} bytes a letter");
}

#[test]
fn a_letter_that_waits_is_small() {
    let letter = size_of::<Option<Letter>>();
    let timer = size_of::<(Moment, Recipient)>();
    // Its slice: two addresses of 24 bytes, their NULs, a mark and an index, the allocator's.
    let slice = 24 + 1 + 24 + 1 + 2 + 16;
    assert!(letter + timer + slice <= 140, "{letter} + {timer} + {slice}");
}

#[test]
#[ignore = "measures: run it alone, with --release"]
fn two_hundred_thousand_letters_pass_through_the_schedule() {
    let (mut schedule, mut out, now) = empty();
    let progress = progress_block([Progress::Waiting].into_iter());
    let (mut id, mut ended, mut serial) = (0, 0, 0);
    let began = std::time::Instant::now();
    schedule.step(Event::Listed, now, &mut out);
    while ended < 200_000 {
        let known: Vec<Known> = std::mem::take(&mut out.clean);
        out.log.clear();
        out.notes.clear();
        for _ in 0..50 {
            id += 1;
            let there = ["here", "far.org", "there.org"][id as usize % 3];
            let block = format!("sender{id}@example.org\0recipient{}@{there}\0", id % 100);
            let envelope = Envelope::new(block.as_bytes()).unwrap();
            let entry = Entry::new(id, now, 4000, 0, 1, false, envelope, &progress).unwrap();
            schedule.step(Event::Entry(entry), now, &mut out);
        }
        for (channel, bytes) in Channel::BOTH.into_iter().zip(std::mem::take(&mut out.deliver)) {
            let mut bytes = &bytes[..];
            while let Some((frame, used)) = frame::take(bytes, MAX_DELIVERY).unwrap() {
                let slot = Delivery::decode(frame).unwrap().slot;
                let report = Report { slot, outcome: Some(Outcome::Done), text: b"did 1+0+0\n" };
                schedule.step(Event::Report(channel, report), now, &mut out);
                serial += 1;
                schedule.step(Event::Ack(serial), now, &mut out);
                bytes = &bytes[used..];
            }
        }
        ended += known.len();
        for known in known {
            schedule.step(Event::Cleaned(known, true), now, &mut out);
        }
    }
    println!("{:?} a letter", began.elapsed() / 200_000);
}
