//! Power cuts through whole lives: the real schedule on the real log, on a disk that forgets. After
//! each cut everything goes on to its end, and then: no recipient is forgotten, no sender is told
//! twice, no mailbox has a letter twice.
//!
//! `CUTS=N cargo test … cuts -- --nocapture` tries N subsets of what was not synced at each step.

use std::collections::BTreeSet;

use letter::bounce::{self, Bounce, Kind, Names};
use store::disk::sim::{Fault, Sim};
use store::queue::{BLOCK, Config, Content, NewLetter, Queue, Trouble};

use super::lives::Dice;
use super::world::{Flying, deliveries, routing};
use super::*;

const CONFIG: Config = Config { segment: 8 * BLOCK, inline: 8_000, ..Config::SMALL };

/// Sender and recipients of each letter; what a name begins with is its fate.
const LETTERS: [&[&str]; 6] = [
    &["s0@here", "ok0@here", "no0@here", "later0@here", "far0@far.org"],
    &["s1@here", "no1@here"],
    &["gone2@here", "no2@here", "ok2@here"],
    &["#@[]", "no3@here"],
    &["list-@here-@[]", "no4@here", "ok4@here", "nofar4@far.org"],
    &["s5@here", "old5@here"],
];

/// Who is told what, and how often, when all six letters have ended.
const TOLD: [(usize, &str, &str); 6] = [
    (0, "s0@here", "no0@here"),
    (1, "s1@here", "no1@here"),
    (2, "postmaster@here", "gone2@here"),
    (4, "list-@here", "no4@here"),
    (4, "list-@here", "nofar4@far.org"),
    (5, "s5@here", "old5@here"),
];

fn fate(f: &Flying, now: Moment) -> (Outcome, &'static str) {
    let to = String::from_utf8_lossy(&f.recipient);
    let age = now.secs() - 1_000_000_000;
    match &to[..] {
        _ if to.starts_with("no") || to.starts_with("gone") => {
            (Outcome::Never, "Sorry. (#5.1.1)\n")
        }
        _ if to.starts_with("later") && age < 90 => (Outcome::Later, "busy\n"),
        _ if to.starts_with("old") => (Outcome::Later, "never ready\n"),
        _ => (Outcome::Done, "did 1+0+0\n"),
    }
}

/// How far a client is with a letter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Offered {
    #[default]
    No,
    /// It was cut off before it heard anything, and does not come again.
    Perhaps,
    Yes,
}

/// Everything that no power cut reaches: mailboxes, other hosts, clients, time.
#[derive(Clone, Debug, Default)]
struct Outside {
    now: Moment,
    offered: [Offered; LETTERS.len()],
    /// Files in mailboxes by their names: the letter's number, and which recipient.
    files: BTreeSet<(u64, u32)>,
    /// How often each address got a letter that is no bounce.
    got: BTreeMap<String, u32>,
    /// How often each address was told of each other's failure.
    told: BTreeMap<(String, String), u32>,
    twice: Vec<String>,
}

/// One run of queued and qmail-send, until all is done or the disk stops.
struct Run<'a> {
    queue: Queue<&'a Sim>,
    schedule: Schedule,
    outside: &'a mut Outside,
    /// Deliveries, each with its sender, as told to the spawners.
    flying: Vec<Flying>,
    cleaning: Vec<Known>,
    bouncing: Vec<(Known, Vec<u8>)>,
    /// Serials, the record that each waits for, and whether that must be synced.
    unacked: Vec<(u64, u64, bool)>,
    /// Letters and bounces that were taken and are not promised.
    taken: Vec<(u64, Taken)>,
    out: Actions,
}

enum Taken {
    Letter(usize),
    Bounce(Known),
}

impl<'a> Run<'a> {
    fn start(sim: &'a Sim, outside: &'a mut Outside) -> Option<Self> {
        let (queue, _) = Queue::open(sim, CONFIG).ok()?;
        let mut out = Actions::default();
        let rules = Rules {
            routing: routing(),
            policy: Policy::default(),
            limits: [2, 2],
            lifetime: 300,
            discards_doubles: false,
            seed: 7,
        };
        let schedule = Schedule::new(rules, &mut out);
        let mut run = Self {
            queue,
            schedule,
            outside,
            flying: Vec::new(),
            cleaning: Vec::new(),
            bouncing: Vec::new(),
            unacked: Vec::new(),
            taken: Vec::new(),
            out,
        };
        let ids: Vec<u64> = run.queue.index().iter().map(|(id, _)| id).collect();
        for id in ids {
            run.tell(id, true).ok()?;
        }
        run.step(Event::Listed);
        Some(run)
    }

    fn step(&mut self, event: Event<'_>) {
        self.schedule.step(event, self.outside.now, &mut self.out);
    }

    fn tell(&mut self, id: u64, old: bool) -> Result<(), Trouble> {
        let known = self.queue.index().get(id).unwrap();
        let progress = progress_block(known.progress());
        let (birth, envelope) =
            self.queue.describe(id, |d| (d.birth, d.envelope.as_bytes().to_vec()))?;
        let envelope = Envelope::new(&envelope).unwrap();
        let entry = Entry::new(id, birth, 99, 1, 2, old, envelope, &progress).unwrap();
        self.schedule.step(Event::Entry(entry), self.outside.now, &mut self.out);
        Ok(())
    }

    /// Goes on until nothing is left to do.
    fn finish(mut self) -> Result<(), Trouble> {
        for number in 0..LETTERS.len() {
            if self.outside.offered[number] == Offered::No {
                self.offer(number)?;
                self.turn()?;
            }
        }
        for _ in 0..10_000 {
            if !self.turn()? && !self.wait()? {
                return Ok(());
            }
        }
        panic!("it does not come to an end");
    }

    /// Does one thing; false if there is nothing.
    fn turn(&mut self) -> Result<bool, Trouble> {
        self.carry_out()?;
        if !self.flying.is_empty() {
            self.land()?;
        } else if let Some(known) = self.cleaning.pop() {
            self.queue.finish(known.id)?;
            self.queue.flush()?;
            self.step(Event::Cleaned(known, true));
        } else if let Some((known, sender)) = self.bouncing.pop() {
            self.bounce(known, &sender)?;
        } else {
            return Ok(false);
        }
        self.carry_out()?;
        Ok(true)
    }

    /// The disk, then time.
    fn wait(&mut self) -> Result<bool, Trouble> {
        if self.queue.is_dirty() || !self.unacked.is_empty() || !self.taken.is_empty() {
            self.queue.commit()?;
            self.queue.tend()?;
            return self.hear().map(|()| true);
        }
        let Some(wake) = self.schedule.wake() else { return Ok(false) };
        self.outside.now = wake.max(self.outside.now);
        self.step(Event::Wake);
        Ok(true)
    }

    fn carry_out(&mut self) -> Result<(), Trouble> {
        let out = std::mem::take(&mut self.out);
        self.flying.extend(deliveries(&out));
        self.cleaning.extend(&out.clean);
        self.bouncing.extend(out.bounce);
        let mut bytes = &out.notes[..];
        while let Some((frame, used)) = frame::take(bytes, MAX_REQUEST).unwrap() {
            let Ok(Request::Note { serial, letter, index, note }) = Request::decode(frame) else {
                panic!("only notes are sent");
            };
            self.queue.note(letter, index, note)?;
            let last = self.queue.next_id() - 1;
            self.unacked.push((serial, last, matches!(note, Note::Failed(_))));
            bytes = &bytes[used..];
        }
        if !self.unacked.is_empty() {
            self.queue.flush()?;
        }
        self.hear()
    }

    /// What is written or synced is acknowledged.
    fn hear(&mut self) -> Result<(), Trouble> {
        let (written, synced) = (self.queue.written(), self.queue.synced());
        for (serial, last, syncs) in std::mem::take(&mut self.unacked) {
            if last <= if syncs { synced } else { written } {
                self.step(Event::Ack(serial));
            } else {
                self.unacked.push((serial, last, syncs));
            }
        }
        for (id, taken) in std::mem::take(&mut self.taken) {
            if id > synced {
                self.taken.push((id, taken));
                continue;
            }
            match taken {
                Taken::Letter(number) => self.outside.offered[number] = Offered::Yes,
                Taken::Bounce(known) => self.step(Event::Bounced(known, Bounced::Settled(1))),
            }
            self.tell(id, false)?;
        }
        Ok(())
    }

    fn land(&mut self) -> Result<(), Trouble> {
        let f = self.flying.remove(0);
        let (outcome, text) = fate(&f, self.outside.now);
        if outcome == Outcome::Done {
            self.delivered(&f)?;
        }
        let report = Report { slot: f.slot, outcome: Some(outcome), text: text.as_bytes() };
        self.step(Event::Report(f.channel, report));
        Ok(())
    }

    /// A mailbox gets a letter; one that was perhaps delivered is looked for first.
    fn delivered(&mut self, f: &Flying) -> Result<(), Trouble> {
        let text = self.queue.with_content(f.letter, <[u8]>::to_vec)?;
        let new = self.outside.files.insert((f.letter, f.index));
        let to = String::from_utf8(f.recipient.clone()).unwrap();
        if !new && f.perhaps {
            return Ok(());
        }
        if !new && f.channel == Channel::Local {
            self.outside.twice.push(to.clone());
        }
        let text = String::from_utf8(text).unwrap();
        if !text.starts_with("Date: ") {
            *self.outside.got.entry(to).or_default() += 1;
            return Ok(());
        }
        let paragraphs = text.split("\n\n").take_while(|p| !p.starts_with("---"));
        for failed in paragraphs.filter_map(|p| p.strip_prefix('<')) {
            let (failed, _) = failed.split_once(">:\n").unwrap();
            *self.outside.told.entry((to.clone(), failed.to_owned())).or_default() += 1;
        }
        Ok(())
    }

    fn offer(&mut self, number: usize) -> Result<(), Trouble> {
        self.outside.offered[number] = Offered::Perhaps;
        let mut envelope = Vec::new();
        LETTERS[number].iter().for_each(|field| base::text0::put(&mut envelope, field.as_bytes()));
        let text = format!("Subject: {number}\n\nhi\n");
        let id = self.accept(&envelope, text.as_bytes(), None)?;
        self.taken.push((id, Taken::Letter(number)));
        Ok(())
    }

    fn bounce(&mut self, known: Known, sender: &[u8]) -> Result<(), Trouble> {
        let names = Names {
            from: b"MAILER-DAEMON".to_vec(),
            host: b"here".to_vec(),
            double_to: b"postmaster".to_vec(),
            double_host: b"here".to_vec(),
            max: 0,
        };
        let kind = Kind::of(sender);
        let (from, to) = kind.envelope(&names).unwrap();
        let paragraphs = self.queue.paragraphs(known.id)?;
        let original = self.queue.with_content(known.id, <[u8]>::to_vec)?;
        let size = original.len() as u64;
        let bounce = Bounce { kind, names: &names, seam: 1, first: &original, size };
        let mut text = bounce.head(&to, b"22 Nov 2026 13:46:57 -0000");
        text.extend(paragraphs.concat());
        text.extend(bounce.copy());
        text.extend(paragraphs.iter().flat_map(|paragraph| bounce::status(paragraph)));
        text.extend([bounce.attach(), original.clone(), bounce.tail()].concat());
        let mut envelope = Vec::new();
        base::text0::put(&mut envelope, from);
        base::text0::put(&mut envelope, &to);
        let id = self.accept(&envelope, &text, Some(known.id))?;
        self.taken.push((id, Taken::Bounce(known)));
        Ok(())
    }

    fn accept(
        &mut self,
        envelope: &[u8],
        text: &[u8],
        finishes: Option<u64>,
    ) -> Result<u64, Trouble> {
        self.queue.accept(&NewLetter {
            birth: self.outside.now,
            uid: 1,
            pid: 2,
            finishes,
            envelope: Envelope::new(envelope).unwrap(),
            content: Content::Inline(text),
        })
    }
}

/// Everybody has what is due to him: of a letter that was acknowledged exactly, of another one
/// exactly or nothing.
fn judge(outside: &Outside) -> Result<(), String> {
    let Outside { offered, got, told, twice, .. } = outside;
    if !twice.is_empty() {
        return Err(format!("twice in a mailbox: {twice:?}"));
    }
    for (number, letter) in LETTERS.iter().enumerate() {
        let mut found = BTreeSet::new();
        for to in letter[1..].iter().filter(|to| !to.starts_with("no") && !to.starts_with("old")) {
            let count = got.get(*to).copied().unwrap_or(0);
            // Another host cannot know that it had a letter before.
            let most = if to.ends_with("@here") { 1 } else { u32::MAX };
            if count > most {
                return Err(format!("{to} got {count}"));
            }
            found.insert(count > 0);
        }
        for (_, to, failed) in TOLD.iter().filter(|(of, ..)| *of == number) {
            let count = told.get(&((*to).to_owned(), (*failed).to_owned())).copied().unwrap_or(0);
            if count > 1 {
                return Err(format!("{to} was told {count} times of {failed}"));
            }
            found.insert(count > 0);
        }
        let whole = found == BTreeSet::from([true]) || letter[0] == "#@[]";
        let none = found == BTreeSet::from([false]) && offered[number] == Offered::Perhaps;
        if !whole && !none {
            return Err(format!("letter {number} ({:?}): {got:?}, {told:?}", offered[number]));
        }
    }
    let expected =
        |key: &&(String, String)| TOLD.iter().any(|(_, a, b)| (*a, *b) == (&key.0, &key.1));
    match told.keys().find(|key| !expected(key)) {
        Some(key) => Err(format!("{key:?} was told")),
        None => Ok(()),
    }
}

/// Goes on from what is left, to the end, and judges.
fn end(state: &Sim, mut outside: Outside) -> Result<(), String> {
    let run = Run::start(state, &mut outside).ok_or("the queue does not open")?;
    run.finish().map_err(|trouble| trouble.to_string())?;
    let (queue, _) = Queue::open(state, CONFIG).map_err(|alarm| alarm.to_string())?;
    if !queue.index().is_empty() {
        return Err("letters are left in the queue".to_owned());
    }
    judge(&outside)
}

fn fresh() -> Outside {
    Outside { now: Moment::from_secs(1_000_000_000), ..Outside::default() }
}

/// What may be left when the disk stops at a step.
fn states(sim: &Sim, cuts: u64, dice: &mut Dice) -> Vec<Sim> {
    let mut states = vec![sim.killed(), sim.power_cut(|_| false), sim.power_cut(|_| true)];
    states.extend((0..cuts).map(|_| sim.power_cut(|_| dice.roll(2) == 1)));
    states
}

fn explore(blank: &Sim, cuts: u64) -> (u64, Vec<String>) {
    let whole = blank.clone();
    end(&whole, fresh()).unwrap();
    let (mut count, mut broken, mut dice) = (0, Vec::new(), Dice(0x9e37_79b9_7f4a_7c15));
    for step in blank.steps()..whole.steps() {
        for fault in [Fault::Stop, Fault::Io] {
            let sim = blank.clone();
            sim.fail_at(step, fault);
            let mut outside = fresh();
            let _ = Run::start(&sim, &mut outside).map(Run::finish);
            for state in states(&sim, cuts, &mut dice) {
                count += 1;
                // Once more, somewhere on the way to the end.
                let again = state.clone();
                let second = state.steps() + dice.roll(60) as u64;
                again.fail_at(second, Fault::Stop);
                let mut later = outside.clone();
                let _ = Run::start(&again, &mut later).map(Run::finish);
                let found = end(&state, outside.clone())
                    .and_then(|()| end(&again.power_cut(|_| dice.roll(2) == 1), later));
                broken.extend(found.err().map(|why| format!("{fault:?} at step {step}: {why}")));
            }
        }
    }
    (count, broken)
}

#[test]
fn no_recipient_is_forgotten_and_none_told_twice_wherever_the_power_goes() {
    let cuts = std::env::var("CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let (count, broken) = explore(&Sim::new(), cuts);
    println!("{count} states of bounces and letters delivered in part, {} broken", broken.len());
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 1_500, "{count}");
}

#[test]
fn a_disk_whose_syncs_do_nothing_forgets_recipients_and_that_is_seen() {
    let (count, broken) = explore(&Sim::lying(), 1);
    assert!(broken.len() > 20, "{} of {count}", broken.len());
}
