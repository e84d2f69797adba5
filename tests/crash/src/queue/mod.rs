//! The queue: every power cut, every failed write, and recovery cut short again.

mod check;
mod history;
mod script;
mod scripts;

use store::disk::sim::{Fault, Sim};
use store::queue::Queue;

use crate::cuts::cuts;
use crate::report::Tally;
use check::{check, check_on};
use history::History;
use script::{CONFIG, Ledger, Op, play};
use scripts::SCRIPTS;

/// States tried at one point if there is no limit.
const PER_POINT: u64 = 4_096;
/// States tried at one point of a script drawn by lot.
const PER_DRAWN_POINT: u64 = 24;
/// States tried at each step of a start after a power cut.
const PER_CUT_POINT: u64 = 4;
/// States tried at each step of a start after the program was killed.
const PER_KILLED_POINT: u64 = 12;
/// Long lives if there is no limit.
const LIVES: u64 = 10;
/// In one of so many states recovery itself is cut short at each of its steps.
const AGAIN: u64 = 16;

/// Explores all scripts, each on an empty disk and on one with a past, then lives drawn by lot
/// until about `limit` states have been seen.
pub(crate) fn explore(limit: Option<u64>) -> Tally {
    explore_on(&Sim::new(), limit)
}

/// The same on disks like `blank`.
fn explore_on(blank: &Sim, limit: Option<u64>) -> Tally {
    let mut tally = Tally::new("queue");
    let past = with_past(blank);
    let starts = [("empty disk", blank), ("disk with a past", &past)];
    let points: u64 = starts.iter().map(|(_, disk)| points(disk)).sum();
    let cap = limit.map_or(PER_POINT, |n| n / 2 / points.max(1));
    for (start, disk) in starts {
        for (name, script) in SCRIPTS {
            let (place, before) = (format!("{name} on {start}"), &Ledger::default());
            Exploration { place, disk, before, script, cap, tally: &mut tally }.run();
        }
    }
    let mut seed = 0;
    while limit.map_or(seed < LIVES, |limit| tally.states() < limit) {
        seed += 1;
        live(blank, seed, limit, &mut tally);
    }
    tally
}

/// One long life.
fn live(blank: &Sim, seed: u64, limit: Option<u64>, tally: &mut Tally) {
    let mut history = History::new(blank, seed);
    let mut age = 0;
    while let Some(script) = history.script() {
        age += 1;
        let (disk, before, cap) = (&history.disk, &history.ledger, PER_DRAWN_POINT);
        let place = format!("life {seed}, script {age}");
        Exploration { place, disk, before, script: &script, cap, tally: &mut *tally }.run();
        let steps = steps(disk, before, &script);
        if !history.live_through(&script, steps) || limit.is_some_and(|n| tally.states() >= n) {
            return;
        }
    }
}

/// A disk that was used before.
fn with_past(blank: &Sim) -> Sim {
    let sim = blank.clone();
    for (_, script) in SCRIPTS {
        let mut past = Ledger::default();
        play(&sim, script, &mut past);
        clear(&sim);
    }
    sim.power_cut(|_| true)
}

/// Finishes every letter.
fn clear(sim: &Sim) {
    let Ok((mut queue, _)) = Queue::open(sim, CONFIG) else { return };
    let ids: Vec<u64> = queue.index().iter().map(|(id, _)| id).collect();
    for id in ids {
        let _ = queue.finish(id);
    }
    let _ = queue.commit();
}

/// How many points of failure all scripts have on a disk.
fn points(disk: &Sim) -> u64 {
    SCRIPTS.iter().map(|(_, script)| steps(disk, &Ledger::default(), script) * 3).sum()
}

fn steps(disk: &Sim, before: &Ledger, script: &[Op]) -> u64 {
    let sim = disk.clone();
    play(&sim, script, &mut before.clone());
    sim.steps().saturating_sub(disk.steps())
}

/// One script from one start.
struct Exploration<'a> {
    place: String,
    disk: &'a Sim,
    before: &'a Ledger,
    script: &'a [Op],
    cap: u64,
    tally: &'a mut Tally,
}

impl Exploration<'_> {
    fn run(&mut self) {
        let first = self.disk.steps();
        for step in 0..=steps(self.disk, self.before, self.script) {
            for fault in [Fault::Stop, Fault::Io, Fault::Full] {
                let sim = self.disk.clone();
                sim.fail_at(first.saturating_add(step), fault);
                let mut ledger = self.before.clone();
                play(&sim, self.script, &mut ledger);
                self.point(&sim, &ledger, &format!("{fault:?} at step {step}"));
            }
        }
    }

    /// Everything the disk may hold after what happened.
    fn point(&mut self, sim: &Sim, ledger: &Ledger, what: &str) {
        let place = format!("{}, {what}", self.place);
        let killed = sim.killed();
        self.tally.count(check_on(&killed, ledger), || format!("{place}, killed"));
        // The program died first, was started again, and then, or while it started, the power went.
        self.again(&killed, ledger, &format!("{place}, killed"), PER_KILLED_POINT);
        drop(Queue::open(&killed, CONFIG));
        self.tally.count(check_on(&killed.power_cut(|_| false), ledger), || {
            format!("{place}, killed, started, power cut")
        });
        for cut in cuts(sim.unsynced(), self.cap) {
            let state = sim.power_cut(|n| cut.get(n) == Some(&true));
            let number = self.tally.states();
            self.tally.count(check(&state, ledger), || format!("{place}, kept {}", told(&cut)));
            if number.is_multiple_of(AGAIN) {
                self.again(&state, ledger, &place, PER_CUT_POINT);
            }
        }
    }

    /// Recovery is cut short at each of its steps, too, each time with at most so many cuts.
    fn again(&mut self, state: &Sim, ledger: &Ledger, place: &str, cap: u64) {
        let whole = state.clone();
        drop(Queue::open(&whole, CONFIG));
        for step in state.steps()..whole.steps() {
            let sim = state.clone();
            sim.fail_at(step, Fault::Stop);
            drop(Queue::open(&sim, CONFIG));
            for cut in cuts(sim.unsynced(), cap) {
                let state = sim.power_cut(|n| cut.get(n) == Some(&true));
                self.tally.count(check_on(&state, ledger), || {
                    format!("{place}, recovery cut at step {step}, kept {}", told(&cut))
                });
            }
        }
    }
}

fn told(cut: &[bool]) -> String {
    cut.iter().map(|kept| if *kept { '1' } else { '0' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_power_cut_breaks_a_promise() {
        let tally = explore(Some(4_000));
        assert!(tally.states() > 4_000);
        assert_eq!(tally.violations(), 0, "{tally}");
    }

    #[test]
    fn a_disk_whose_syncs_do_nothing_is_found_out() {
        let tally = explore_on(&Sim::lying(), Some(2_000));
        assert!(tally.violations() > 100, "{tally}");
    }

    #[test]
    fn a_disk_that_forgets_names_is_found_out() {
        let tally = explore_on(&Sim::forgetting_names(), Some(2_000));
        assert!(tally.violations() > 10, "{tally}");
    }
}
