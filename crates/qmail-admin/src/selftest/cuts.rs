//! The power cut at many places of a recorded run, and what each cut left.

use std::fmt;
use std::path::PathBuf;

use super::blocklog::{BlockLog, Entry};
use super::look::{self, Seen};
use super::rig::Rig;
use super::workload::Event;
use crate::Trouble;
use crate::print::line;

/// What the cuts showed.
#[derive(Default)]
pub(crate) struct Found {
    /// Cuts tried.
    pub states: u32,
    /// Cuts after which the file system could not be mounted.
    pub unmountable: u32,
    /// Cuts after which the programs did not come to rest.
    pub stuck: u32,
    /// Everything seen.
    pub seen: Seen,
}

impl Found {
    /// Whether every promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        let Self { unmountable, stuck, seen, .. } = self;
        *unmountable == 0 && *stuck == 0 && seen.is_clean()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, unmountable, stuck, seen } = self;
        write!(f, "{states} states, {seen}, {stuck} stuck, {unmountable} not mountable")
    }
}

/// How a cut leaves what was written after the last flush.
#[derive(Clone, Copy)]
enum Cut {
    /// All of it is there.
    InOrder,
    /// Each write is there or not, as chance has it.
    Some,
    /// Each piece of each write is.
    Torn,
}

/// A recorded run: every write in order, and what happened when.
pub(crate) struct Record<'r> {
    pub rig: &'r Rig,
    pub log: BlockLog,
    pub events: Vec<Event>,
    /// Where to keep the disk, as the cut left it, of the first cut that broke a promise.
    pub keep: Option<PathBuf>,
}

impl Record<'_> {
    /// A look that finds what was never written would find anything: on the disk as it was before,
    /// every letter must be missing.
    pub(crate) fn prove_the_eye(&self) -> Result<(), Trouble> {
        let (due, _) = look::due(&self.events, u64::MAX);
        self.rig.copy("before", "cut")?;
        let seen = self.rig.mounted("cut", |home| look::look(home, &self.events, u64::MAX))?;
        if seen.lost as usize == due && due > 0 {
            Ok(())
        } else {
            Err(format!("{} of {due} letters missed on an empty disk", seen.lost))
        }
    }

    /// A log that lacks a write would lose what the programs had safely on disk: all its entries
    /// together must lead to the disk as it was at the end.
    pub(crate) fn prove_the_log(&self) -> Result<(), Trouble> {
        self.rig.copy("before", "cut")?;
        let whole = self.rig.at("cut");
        self.log.apply(&self.log.entries, &whole, || true)?;
        match self.log.first_difference(&whole, &self.rig.at("base"))? {
            None => Ok(()),
            Some(at) => {
                Err(format!("the log of writes does not lead to the disk: byte {at} differs"))
            }
        }
    }

    /// Cuts the power about `states` times between the first promise and the last.
    pub(crate) fn cuts(&self, states: u32, seed: u64) -> Result<Found, Trouble> {
        let (first, last) = (self.events.first(), self.events.last());
        let range = first.map_or(0, |e| e.at)..=last.map_or(0, |e| e.at);
        let places: Vec<usize> = (0..self.log.entries.len())
            .filter(|&n| self.log.entries.get(n).is_some_and(|e| range.contains(&e.end)))
            .collect();
        let mut chance = Chance::new(seed);
        let mut picked: Vec<(usize, Cut)> = Vec::new();
        while picked.len() < states as usize && !places.is_empty() {
            let kind = [Cut::InOrder, Cut::Some, Cut::Torn][picked.len() % 3];
            picked.extend(places.get(chance.below(places.len())).map(|&place| (place, kind)));
        }
        picked.sort_unstable_by_key(|(place, _)| *place);
        self.replay(&picked, &mut chance)
    }

    /// Rebuilds the disk write by write, and at each picked place cuts.
    fn replay(&self, picked: &[(usize, Cut)], chance: &mut Chance) -> Result<Found, Trouble> {
        let mut found = Found::default();
        self.rig.copy("before", "flushed")?;
        let flushed = self.rig.at("flushed");
        let mut in_flight: Vec<&Entry> = Vec::new();
        let mut picked = picked.iter().peekable();
        for (n, entry) in self.log.entries.iter().enumerate() {
            in_flight.push(entry);
            if entry.flush {
                self.log.apply(in_flight.drain(..), &flushed, || true)?;
            }
            while let Some((_, cut)) = picked.next_if(|(place, _)| *place == n) {
                self.rig.copy("flushed", "cut")?;
                self.leave(&in_flight, *cut, chance)?;
                self.judge(entry.end, &mut found);
            }
            if picked.peek().is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Writes to the cut disk what of the writes in flight got there.
    fn leave(&self, in_flight: &[&Entry], cut: Cut, chance: &mut Chance) -> Result<(), Trouble> {
        let disk = self.rig.at("cut");
        match cut {
            Cut::InOrder => self.log.apply(in_flight.iter().copied(), &disk, || true),
            Cut::Some => {
                let lucky: Vec<&Entry> =
                    in_flight.iter().copied().filter(|_| chance.below(2) == 0).collect();
                self.log.apply(lucky, &disk, || true)
            }
            Cut::Torn => self.log.apply(in_flight.iter().copied(), &disk, || chance.below(2) == 0),
        }
    }

    /// Mounts the cut disk and looks for everything promised before `at`.
    fn judge(&self, at: u64, found: &mut Found) {
        found.states += 1;
        let keep = self.keep.as_ref().filter(|keep| !keep.exists());
        let kept = keep.map(|_| self.rig.copy("cut", "kept"));
        match self.rig.mounted("cut", |home| look::look(home, &self.events, at)) {
            Ok(seen) => {
                if !seen.is_clean() {
                    // Counted all the same.
                    let _ = line(format_args!("cut at {at}: {seen}; {}", seen.example));
                    if let (Some(keep), Some(Ok(()))) = (keep, kept) {
                        let _ = std::fs::copy(self.rig.at("kept"), keep);
                    }
                }
                found.stuck += u32::from(seen.stuck);
                found.seen.add(&seen);
            }
            Err(why) => {
                let _ = line(format_args!("cut at {at}: {why}"));
                found.unmountable += 1;
            }
        }
    }
}

/// Repeatable chance (xorshift): a state that fails can be found again.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % n.max(1)
    }
}
