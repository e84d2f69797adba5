//! A delivery into a Maildir: every power cut, every failed step, and the repeated delivery cut
//! short again.
//!
//! A letter's record leaves the queue only after its delivery has said that it is done; whatever
//! happens before, the delivery is repeated. Then the letter is there once: not lost, not torn, not
//! doubled, even if a reader came in between.

mod batch;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use store::disk::sim::{Fault, Sim};
use store::disk::{Access, Disk, read_exact};
use store::maildir::{Leave, Name, deliver, make, settle};

use crate::report::{Broken, Tally, Violation, violation};
use crate::steps::{fail_each, left_by};

/// States tried at one point if there is no limit.
const PER_POINT: u64 = 512;
/// More steps than any delivery takes.
const STEPS: u64 = 64;

pub(crate) const HEAD: &[u8] = b"Return-Path: <s@x>\nDelivered-To: joe@loc\n";
/// The letter that is delivered.
const NAME: &str = "12.M34Q7R0.h,S=1,W=1";
/// The letter that has been there for long.
const OLD: &str = "old";

/// Explores deliveries of a letter of less than a sector and of one of several, with and without a
/// reader; about `limit` states.
pub(crate) fn explore(limit: Option<u64>) -> Tally {
    explore_on(&Sim::new(), limit)
}

fn explore_on(blank: &Sim, limit: Option<u64>) -> Tally {
    let mut tally = Tally::new("maildir");
    let start = blank.clone();
    let made =
        make(&start).is_ok() && deliver(&start, OsStr::new(OLD), false, HEAD, &b""[..]).is_ok();
    if !made {
        tally.count(Err(violation(Broken::Refused, "no Maildir")), String::new);
    }
    let bodies = [b"Subject: x\n\nhello\n".to_vec(), b"Subject: long\n\n0123456789\n".repeat(60)];
    for body in &bodies {
        for reader in [false, true] {
            // Each first cut is followed by a dozen second ones.
            let cap = limit.map_or(PER_POINT, |n| n / 400);
            let mut exploration = Exploration { body, reader, cap, tally: &mut tally };
            exploration.cut_everywhere(&start);
            exploration.fail_everywhere(&start);
        }
    }
    batch::explore(&start, limit, batch::Order::Ours, &mut tally);
    tally
}

/// One letter's.
struct Exploration<'a> {
    body: &'a [u8],
    /// A reader takes up what is new before the delivery is repeated.
    reader: bool,
    cap: u64,
    tally: &'a mut Tally,
}

impl Exploration<'_> {
    /// Cuts the power at every step; the delivery is then repeated.
    fn cut_everywhere(&mut self, start: &Sim) {
        fail_each(start, Fault::Stop, STEPS, |disk, step| {
            let done = self.attempt(disk, false);
            let killed = disk.killed();
            for left in left_by(disk, self.cap).into_iter().chain([killed]) {
                self.count(&left, done, step);
                if self.reader {
                    read_all(&left);
                    self.count(&left, done, step);
                }
                if !done {
                    self.repeat(&left, step);
                }
            }
        });
    }

    /// The repeated delivery, cut at every step and then repeated to the end.
    fn repeat(&mut self, start: &Sim, first: u64) {
        fail_each(start, Fault::Stop, STEPS, |disk, _| {
            let done = self.attempt(disk, true);
            for left in left_by(disk, self.cap.min(64)) {
                self.count(&left, done, first);
                if !done {
                    self.finish(&left, true, first);
                }
            }
        });
    }

    /// Makes every step fail once; qmail-send hears of it and tries again.
    fn fail_everywhere(&mut self, start: &Sim) {
        for fault in [Fault::Io, Fault::Full] {
            fail_each(start, fault, STEPS, |disk, step| {
                let done = self.attempt(disk, false);
                for left in left_by(disk, self.cap) {
                    self.count(&left, done, step);
                }
                if !done {
                    self.finish(disk, false, step);
                }
            });
        }
    }

    /// The last attempt: it must succeed, and last.
    fn finish(&mut self, disk: &Sim, perhaps: bool, step: u64) {
        if !self.attempt(disk, perhaps) {
            let refused = violation(Broken::Refused, "a healthy disk refuses the letter");
            self.tally.count(Err(refused), || place(self.body, self.reader, step));
        }
        self.count(disk, true, step);
        for left in left_by(disk, 4) {
            self.count(&left, true, step);
        }
    }

    fn attempt(&self, disk: &Sim, perhaps: bool) -> bool {
        deliver(disk, OsStr::new(NAME), perhaps, HEAD, self.body).is_ok()
    }

    fn count(&mut self, disk: &Sim, done: bool, step: u64) {
        let found = self.check(disk, done);
        self.tally.count(found, || place(self.body, self.reader, step));
    }

    /// What is there of the letter; `done` says that its delivery was reported as done.
    fn check(&self, disk: &Sim, done: bool) -> Result<(), Violation> {
        let there: Vec<_> = letters(disk).into_iter().filter(|l| l.0 == NAME.as_bytes()).collect();
        match &there[..] {
            [] if done => Err(violation(Broken::Lost, "a delivered letter")),
            [] => Ok(()),
            [(_, bytes)] if *bytes == [HEAD, self.body].concat() => Ok(()),
            [_] => Err(violation(Broken::Torn, "a letter that can be seen")),
            _ => Err(violation(Broken::Doubled, "a letter delivered twice")),
        }
    }
}

fn place(body: &[u8], reader: bool, step: u64) -> String {
    let with = if reader { "with" } else { "without" };
    format!("{} bytes, {with} a reader, step {step}", body.len())
}

/// Every letter in new and cur: stem and bytes. One file with a name in each is one letter, its
/// move to cur cut short: the next session finishes it.
pub(crate) fn letters(disk: &Sim) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut letters = Vec::new();
    let mut seen = Vec::new();
    for dir in ["new", "cur"] {
        // A disk that lies may have lost the directory too.
        for name in disk.list(Path::new(dir)).unwrap_or_default() {
            let (stem, path) =
                (Name::parse(name.as_bytes()).stem.to_vec(), Path::new(dir).join(&name));
            let file = disk.open(&path, Access::Read).ok().map(|file| (stem.clone(), file));
            if !file.as_ref().is_some_and(|file| seen.contains(file)) {
                letters.push((stem, text(disk, &path)));
            }
            seen.extend(file);
        }
    }
    letters
}

fn text(disk: &Sim, name: &Path) -> Vec<u8> {
    let read = disk.open(name, Access::Read).and_then(|file| {
        let len = usize::try_from(disk.len(&file)?).unwrap_or(usize::MAX);
        read_exact(disk, &file, 0, len)
    });
    read.unwrap_or_default()
}

/// A reader takes up everything that is new and deletes the old letter.
fn read_all(disk: &Sim) {
    let names = disk.list(Path::new("new")).unwrap_or_default();
    let files = names.iter().map(|name| Path::new("new").join(name));
    let leaf = |file: PathBuf| Leave { delete: file.ends_with(OLD), file };
    settle(disk, &files.map(leaf).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crash_loses_tears_or_doubles_a_delivery() {
        let tally = explore(Some(4_000));
        println!("{tally}");
        assert_eq!(tally.violations(), 0, "{tally}");
        assert!(tally.states() > 2_000, "{tally}");
    }

    #[test]
    fn a_disk_whose_syncs_do_nothing_is_found_out() {
        let tally = explore_on(&Sim::lying(), Some(4_000)).to_string();
        assert!(!tally.contains(" 0 lost") && !tally.contains(" 0 torn"), "{tally}");
    }
}
