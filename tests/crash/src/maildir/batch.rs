//! Several deliveries that share the syncs of their file system, as qmail-lspawn makes them: each
//! is written, shown after one sync and over after the next. Every power cut, every failed step,
//! every death of the worker, and the repeated deliveries cut short again; with a reader, and with
//! a worker of an earlier qmail-lspawn that still shows what it was told to.

use std::ffi::OsStr;

use store::disk::Disk;
use store::disk::sim::{Fault, Sim};
use store::maildir::{Earlier, Places, deliver, show, stage, withdraw};

use super::{HEAD, letters, read_all};
use crate::report::{Broken, Tally, violation};
use crate::steps::{fail_each, left_by};

/// More steps than all deliveries of one attempt take.
const STEPS: u64 = 96;
/// States tried at one point if there is no limit.
const PER_POINT: u64 = 160;
/// The letters: the second is longer than a sector.
const NAMES: [&str; 3] = ["12.M34Q7R0.h,S=1,W=1", "12.M35Q8R0.h,S=1,W=1", "12.M36Q9R0.h,S=1,W=1"];
/// How many they are.
const LETTERS: usize = NAMES.len();

fn body(letter: usize) -> Vec<u8> {
    b"Subject: x\n\n0123456789\n".repeat(if letter == 1 { 40 } else { 1 })
}

/// In which order things are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As qmail-lspawn does them.
    Ours,
    /// Planted: shown before any sync.
    #[cfg(test)]
    ShownFirst,
    /// Planted: over once shown, without the second sync.
    #[cfg(test)]
    OverEarly,
    /// Planted: what was written while a failed sync ran counts as synced by the next.
    #[cfg(test)]
    Forgiving,
}

impl Order {
    fn is_early(self) -> bool {
        #[cfg(test)]
        return matches!(self, Self::ShownFirst | Self::OverEarly);
        #[cfg(not(test))]
        false
    }

    fn forgives(self) -> bool {
        #[cfg(test)]
        return self == Self::Forgiving;
        #[cfg(not(test))]
        false
    }
}

/// What one attempt does, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stage(usize),
    Sync,
    Show(usize),
    Over(usize),
}

use Step::{Over, Show, Stage, Sync};

/// The third letter is written while the first two are being shown, so that its first sync is their
/// second.
const OURS: &[Step] = &[
    Stage(0),
    Stage(1),
    Sync,
    Show(0),
    Stage(2),
    Show(1),
    Sync,
    Over(0),
    Over(1),
    Show(2),
    Sync,
    Over(2),
];
#[cfg(test)]
const FORGIVING: &[Step] = &[
    Stage(0),
    Sync,
    Stage(1),
    Show(0),
    Sync,
    Over(0),
    Sync,
    Show(0),
    Show(1),
    Sync,
    Over(0),
    Over(1),
];
#[cfg(test)]
const SHOWN_FIRST: &[Step] = &[
    Stage(0),
    Show(0),
    Stage(1),
    Show(1),
    Sync,
    Over(0),
    Over(1),
    Stage(2),
    Sync,
    Show(2),
    Sync,
    Over(2),
];
#[cfg(test)]
const OVER_EARLY: &[Step] = &[
    Stage(0),
    Stage(1),
    Sync,
    Show(0),
    Over(0),
    Stage(2),
    Show(1),
    Over(1),
    Sync,
    Show(2),
    Over(2),
];

/// Explores it all from a Maildir with an old letter in it.
pub(super) fn explore(start: &Sim, limit: Option<u64>, order: Order, tally: &mut Tally) {
    // Each first cut is followed by some twenty second ones.
    let cap = limit.map_or(PER_POINT, |n| (n / 4_000).max(2));
    for reader in [false, true] {
        let mut batch = Batch { reader, cap, order, tally: &mut *tally };
        batch.cut_everywhere(start);
        batch.fail_everywhere(start);
    }
}

/// What has been reported of each letter.
type Done = [bool; LETTERS];

struct Batch<'a> {
    reader: bool,
    cap: u64,
    order: Order,
    tally: &'a mut Tally,
}

impl Batch<'_> {
    /// Cuts the power, or kills the worker, at every step.
    fn cut_everywhere(&mut self, start: &Sim) {
        fail_each(start, Fault::Stop, STEPS, |disk, step| {
            let mut attempt = Attempt::new(1, self.order, [false; LETTERS]);
            attempt.make(disk);
            for left in left_by(disk, self.cap) {
                self.look_and_repeat(&left, attempt.done, step);
            }
            self.look_and_repeat(&disk.killed(), attempt.done, step);
            self.haunt(&disk.killed(), &attempt, step);
        });
    }

    fn look_and_repeat(&mut self, left: &Sim, done: Done, step: u64) {
        self.count(left, done, step);
        if self.reader {
            read_all(left);
            self.count(left, done, step);
        }
        self.repeat(left, done, step);
    }

    /// The repeated deliveries, cut at every step and then repeated to the end.
    fn repeat(&mut self, start: &Sim, done: Done, first: u64) {
        fail_each(start, Fault::Stop, STEPS, |disk, _| {
            let mut attempt = Attempt::new(2, self.order, done);
            attempt.repeat(disk);
            for left in left_by(disk, (self.cap / 8).clamp(2, 16)) {
                self.count(&left, attempt.done, first);
                self.finish(&left, attempt.done, first);
            }
        });
    }

    /// The worker was only told to show its letters when its qmail-lspawn died: it does so at any
    /// moment while another one repeats the deliveries.
    fn haunt(&mut self, left: &Sim, dead: &Attempt, step: u64) {
        for moment in 0..=OURS.len() {
            let disk = left.killed();
            let mut attempt = Attempt::new(2, self.order, dead.done);
            let Ok(earlier) = Earlier::list(&disk) else { return };
            if moment == 0 {
                dead.show_told(&disk);
            }
            attempt.look(&disk, &earlier);
            attempt.each(&disk, |n, disk| {
                if n.saturating_add(1) == moment {
                    dead.show_told(disk);
                }
                if self.reader {
                    read_all(disk);
                }
            });
            dead.show_told(&disk);
            self.count(&disk, attempt.done, step);
            for left in left_by(&disk, 4) {
                self.count(&left, attempt.done, step);
            }
        }
    }

    /// Makes every step fail once; qmail-send hears of it and tries again.
    fn fail_everywhere(&mut self, start: &Sim) {
        for fault in [Fault::Io, Fault::Full] {
            fail_each(start, fault, STEPS, |disk, step| {
                let mut attempt = Attempt::new(1, self.order, [false; LETTERS]);
                attempt.make(disk);
                for left in left_by(disk, self.cap) {
                    self.count(&left, attempt.done, step);
                }
                self.finish(disk, attempt.done, step);
            });
        }
    }

    /// The last attempt, one by one: it must succeed, and last.
    fn finish(&mut self, disk: &Sim, done: Done, step: u64) {
        for (letter, name) in NAMES.iter().enumerate() {
            if done.get(letter) != Some(&true)
                && deliver(disk, OsStr::new(name), true, HEAD, &body(letter)[..]).is_err()
            {
                let refused = violation(Broken::Refused, "a healthy disk refuses the letter");
                self.tally.count(Err(refused), || place(self.reader, step));
            }
        }
        let all = [true; LETTERS];
        self.count(disk, all, step);
        for left in left_by(disk, 2) {
            self.count(&left, all, step);
        }
    }

    /// What is there of the letters; `done` says whose deliveries were reported as done.
    fn count(&mut self, disk: &Sim, done: Done, step: u64) {
        let all = letters(disk);
        let mut found = Ok(());
        for (letter, (name, done)) in NAMES.iter().zip(done).enumerate() {
            let mut there = all.iter().filter(|(stem, _)| stem == name.as_bytes());
            let broken = match (there.next(), there.next()) {
                (None, _) if done => Some((Broken::Lost, "a delivered letter")),
                (Some((_, bytes)), None) if *bytes != [HEAD, &body(letter)].concat() => {
                    Some((Broken::Torn, "a letter that can be seen"))
                }
                (Some(_), Some(_)) => Some((Broken::Doubled, "a letter delivered twice")),
                _ => None,
            };
            if let Some((broken, story)) = broken {
                found = Err(violation(broken, format!("{story}, number {letter}")));
            }
        }
        self.tally.count(found, || place(self.reader, step));
    }
}

fn place(reader: bool, step: u64) -> String {
    let with = if reader { "with" } else { "without" };
    format!("three sharing syncs, {with} a reader, step {step}")
}

/// How far a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Untouched,
    Staged,
    /// Its bytes are durable.
    Synced,
    Shown,
    /// Its name is durable too.
    Kept,
    Ended,
}

/// All deliveries of one run of qmail-lspawn.
struct Attempt {
    number: u32,
    order: Order,
    stands: [Stand; LETTERS],
    done: Done,
}

impl Attempt {
    fn new(number: u32, order: Order, done: Done) -> Self {
        let stands = done.map(|done| if done { Stand::Ended } else { Stand::Untouched });
        Self { number, order, stands, done }
    }

    fn places(&self, letter: usize) -> Places {
        Places::of(OsStr::new(NAMES.get(letter).unwrap_or(&"")), self.number)
    }

    fn make(&mut self, disk: &Sim) {
        self.each(disk, |_, _| ());
    }

    /// The same after an earlier attempt.
    fn repeat(&mut self, disk: &Sim) {
        if let Ok(earlier) = Earlier::list(disk) {
            self.look(disk, &earlier);
            self.make(disk);
        }
    }

    /// Looks for what an earlier attempt has delivered.
    fn look(&mut self, disk: &Sim, earlier: &Earlier) {
        for (letter, name) in NAMES.iter().enumerate() {
            let (Some(stand), Some(done)) =
                (self.stands.get_mut(letter), self.done.get_mut(letter))
            else {
                continue;
            };
            if *stand == Stand::Untouched {
                match earlier.holds(disk, OsStr::new(name)) {
                    Ok(true) => (*stand, *done) = (Stand::Ended, true),
                    Ok(false) => {}
                    Err(_) => *stand = Stand::Ended,
                }
            }
        }
    }

    /// Takes all steps, `between` after each.
    fn each(&mut self, disk: &Sim, mut between: impl FnMut(usize, &Sim)) {
        let steps = match self.order {
            Order::Ours => OURS,
            #[cfg(test)]
            Order::Forgiving => FORGIVING,
            #[cfg(test)]
            Order::ShownFirst => SHOWN_FIRST,
            #[cfg(test)]
            Order::OverEarly => OVER_EARLY,
        };
        for (n, step) in steps.iter().enumerate() {
            match *step {
                Sync => self.sync(disk),
                Stage(letter) | Show(letter) | Over(letter) => self.take(disk, *step, letter),
            }
            if disk.stopped() {
                return;
            }
            between(n, disk);
        }
    }

    fn take(&mut self, disk: &Sim, step: Step, letter: usize) {
        let places = self.places(letter);
        let (Some(stand), Some(done)) = (self.stands.get_mut(letter), self.done.get_mut(letter))
        else {
            return;
        };
        let early = self.order.is_early();
        *stand = match (step, *stand) {
            (Stage(_), Stand::Untouched) => match stage(disk, &places, HEAD, &body(letter)[..]) {
                Ok(_) => Stand::Staged,
                Err(_) => Stand::Ended,
            },
            (Show(_), from) if from == Stand::Synced || early && from == Stand::Staged => {
                match show(disk, &places) {
                    Ok(()) => Stand::Shown,
                    Err(_) => {
                        withdraw(disk, &places);
                        Stand::Ended
                    }
                }
            }
            (Over(_), from) if from == Stand::Kept || early && from == Stand::Shown => {
                *done = true;
                Stand::Ended
            }
            (_, stand) => stand,
        };
    }

    fn sync(&mut self, disk: &Sim) {
        let worked = disk.sync_fs().is_ok();
        if disk.stopped() {
            return;
        }
        for letter in 0..LETTERS {
            let places = self.places(letter);
            let Some(stand) = self.stands.get_mut(letter) else { continue };
            let waits = matches!(*stand, Stand::Staged | Stand::Synced | Stand::Shown);
            *stand = match *stand {
                Stand::Staged if worked => Stand::Synced,
                Stand::Shown if worked => Stand::Kept,
                stand if self.order.forgives() => stand,
                _ if waits && !worked => {
                    withdraw(disk, &places);
                    Stand::Ended
                }
                stand => stand,
            };
        }
    }

    /// Shows what its qmail-lspawn had told its worker to.
    fn show_told(&self, disk: &Sim) {
        for (letter, stand) in self.stands.iter().enumerate() {
            if *stand == Stand::Synced {
                let _too_late = show(disk, &self.places(letter));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::maildir::make;

    fn explored(order: Order) -> String {
        let start = Sim::new();
        make(&start).unwrap();
        let mut tally = Tally::new("batch");
        explore(&start, Some(16_000), order, &mut tally);
        tally.to_string()
    }

    #[test]
    fn deliveries_that_share_their_syncs_lose_tear_and_double_nothing() {
        let told = explored(Order::Ours);
        println!("{told}");
        assert!(
            told.contains(" 0 lost, 0 torn, 0 doubled") && !told.contains("not open"),
            "{told}"
        );
    }

    #[test]
    fn planted_mistakes_are_found() {
        let told = explored(Order::ShownFirst);
        assert!(!told.contains(" 0 torn"), "{told}");
        let told = explored(Order::OverEarly);
        assert!(!told.contains(" 0 lost"), "{told}");
        let told = explored(Order::Forgiving);
        assert!(!told.contains(" 0 torn"), "{told}");
    }
}
