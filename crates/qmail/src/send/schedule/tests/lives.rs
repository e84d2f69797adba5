//! Lives played by lot: whatever happens in whatever order.

use super::*;

/// xorshift: enough to shuffle a test.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// How often each recipient of a log was settled: by letter and address.
fn settled(log: &str) -> BTreeMap<(&str, &str), u32> {
    let mut started = BTreeMap::new();
    let mut settled = BTreeMap::new();
    for line in log.lines() {
        let words: Vec<_> = line.split([' ', ':']).collect();
        match words[..] {
            ["starting", "delivery", number, "", "msg", letter, "to", _, address] => {
                started.insert(number, (letter, address));
            }
            ["delivery", number, "", "success" | "failure", ..] => {
                *settled.entry(started[number]).or_default() += 1;
            }
            _ => (),
        }
    }
    settled
}

fn play(w: &mut World, dice: &mut Dice, linked: &mut bool) {
    match dice.roll(7) {
        0 | 1 if !w.flying.is_empty() => {
            let outcome = [Outcome::Done, Outcome::Later, Outcome::Never][dice.roll(3)];
            let at = dice.roll(w.flying.len());
            let text = ["said\n", "(#4.4.1)\n", "Remote host said: 450 no\n"][dice.roll(3)];
            w.land(at, outcome, text);
        }
        2 | 3 if *linked && !w.unacked.is_empty() => {
            let serial = w.unacked.remove(dice.roll(w.unacked.len()));
            w.step(Event::Ack(serial));
        }
        4 if !w.cleaning.is_empty() => {
            let id = w.cleaning.remove(dice.roll(w.cleaning.len()));
            let gone = *linked && dice.roll(4) > 0;
            if gone {
                w.disk.remove(&id.id);
            }
            w.step(Event::Cleaned(id, gone));
        }
        5 if !w.bouncing.is_empty() => {
            let (id, _) = w.bouncing.remove(dice.roll(w.bouncing.len()));
            let how = if *linked && dice.roll(4) > 0 {
                let stored = w.disk.remove(&id.id).unwrap();
                let failed = stored.progress.iter().filter(|&&p| p == Progress::Failed).count();
                assert_eq!(stored.paragraphs.len(), failed);
                Bounced::Settled(1)
            } else {
                Bounced::Refused
            };
            w.step(Event::Bounced(id, how));
        }
        _ if *linked && dice.roll(40) == 0 => {
            *linked = false;
            w.unacked.clear();
            w.step(Event::Unlinked);
        }
        _ if !*linked => {
            for id in w.disk.keys().copied().collect::<Vec<_>>() {
                w.disk.get_mut(&id).unwrap().old = true;
                w.tell(id);
            }
            w.step(Event::Listed);
            *linked = true;
        }
        _ => {
            w.now = w.now.plus_secs(dice.roll(2000) as u64);
            w.step(Event::Wake);
        }
    }
}

#[test]
fn every_recipient_is_settled_exactly_once_in_whatever_order_things_happen() {
    for seed in 1..=60 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
        let mut w = World::linked(3, 5);
        let (mut linked, mut recipients, mut ended) = (true, 0, BTreeMap::<u64, u32>::new());
        for id in 1..=20_u64 {
            let count = dice.roll(5);
            let names: Vec<String> =
                (0..count).map(|n| format!("u{n}@{}", ["here", "far"][dice.roll(2)])).collect();
            recipients += count;
            w.store(id, "s@x", &names.iter().map(String::as_str).collect::<Vec<_>>());
            if linked {
                w.tell(id);
            }
            for _ in 0..dice.roll(20) {
                play(&mut w, &mut dice, &mut linked);
            }
        }
        let mut turns = 0;
        while !w.disk.is_empty() || !linked {
            play(&mut w, &mut dice, &mut linked);
            turns += 1;
            assert!(turns < 1_000_000, "seed {seed} does not come to an end");
        }
        for line in w.log.lines() {
            if let Some(id) = line.strip_prefix("end msg ") {
                *ended.entry(id.parse().unwrap()).or_default() += 1;
            }
        }
        let settled = settled(&w.log);
        assert_eq!(settled.len(), recipients, "seed {seed}");
        assert!(settled.values().all(|&n| n == 1), "seed {seed}: settled twice");
        assert!(ended.len() == 20 && ended.values().all(|&n| n == 1), "seed {seed}");
        assert!(w.flying.is_empty() && w.schedule.letters.is_empty());
    }
}
