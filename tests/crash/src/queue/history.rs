//! Long lives: scripts drawn by lot, each beginning on what a crash left of the one before.

use store::disk::sim::{Fault, Sim};
use store::queue::Queue;

use super::script::{CONFIG, Ledger, Line, Name, Op, Sure, play};
use crate::cuts::Lot;

/// Things to do in one script.
const LENGTH: u64 = 24;
/// Letters that are in the queue at a time, about.
const AT_ONCE: usize = 3;
/// Sizes of letters: in the log, just so, and in a file.
const SIZES: [usize; 6] = [1, 300, 900, 1_300, 1_400, 2_200];
/// The last name; then the life is over.
const LAST: Name = 250;

/// A queue with a past.
#[derive(Debug)]
pub(super) struct History {
    pub(super) disk: Sim,
    pub(super) ledger: Ledger,
    lot: Lot,
    next: Name,
}

impl History {
    /// A new life; `seed` tells it from others.
    pub(super) fn new(blank: &Sim, seed: u64) -> Self {
        let lot = Lot(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { disk: blank.clone(), ledger: Ledger::default(), lot, next: 1 }
    }

    /// The next script; `None` when all names are used up.
    pub(super) fn script(&mut self) -> Option<Vec<Op>> {
        let mut live: Vec<Name> =
            self.ledger.0.iter().filter(|l| is_live(l)).map(|l| l.name).collect();
        let mut script = Vec::new();
        for _ in 0..LENGTH {
            if self.next >= LAST {
                return None;
            }
            script.push(self.op(&mut live));
        }
        script.push(Op::Commit);
        Some(script)
    }

    fn op(&mut self, live: &mut Vec<Name>) -> Op {
        let pick = |lot: &mut Lot, live: &[Name]| {
            let n = usize::try_from(lot.draw()).unwrap_or(0).checked_rem(live.len());
            n.and_then(|n| live.get(n)).copied()
        };
        let drawn = self.lot.draw() % 28;
        let one = pick(&mut self.lot, live);
        match (drawn, one) {
            (0..=1, _) => Op::Tend,
            (2, _) => Op::Flush,
            (3..=6, _) => Op::Commit,
            (7, Some(name)) => Op::Done(name),
            (8, Some(name)) => Op::Failed(name),
            (9, Some(old)) => {
                live.retain(|name| *name != old);
                Op::Bounce(self.name(live), old)
            }
            (10..=11, Some(name)) => {
                live.retain(|other| *other != name);
                Op::Finish(name)
            }
            (24, Some(name)) => Op::Hold(name),
            (25, Some(name)) => Op::Release(name),
            (26, _) if live.len() <= AT_ONCE => Op::Adopt(self.name(live), 700),
            (12, _) => Op::NoRoom,
            (13, _) => Op::Room,
            (14..=15, _) => Op::Begin,
            (16..=17, _) => Op::Run,
            (18..=19, _) => Op::Land,
            (_, Some(name)) if live.len() > AT_ONCE => {
                live.retain(|other| *other != name);
                Op::Finish(name)
            }
            _ => {
                let size = usize::try_from(self.lot.draw()).unwrap_or(0) % SIZES.len();
                Op::Offer(self.name(live), SIZES.get(size).copied().unwrap_or(1))
            }
        }
    }

    fn name(&mut self, live: &mut Vec<Name>) -> Name {
        let name = self.next;
        self.next = name.saturating_add(1);
        live.push(name);
        name
    }

    /// Plays a script, cut off somewhere by lot, and goes on from what is left. False if that
    /// cannot be opened; the exploration has told of it.
    pub(super) fn live_through(&mut self, script: &[Op], steps: u64) -> bool {
        let sim = self.disk.clone();
        let step = self.lot.draw() % steps.max(1);
        sim.fail_at(sim.steps().saturating_add(step), Fault::Stop);
        let mut ledger = self.ledger.clone();
        play(&sim, script, &mut ledger);
        self.disk = match self.lot.draw() % 4 {
            0 => sim.killed(),
            1 => sim.power_cut(|_| false),
            _ => sim.power_cut(|_| self.lot.draw() & 1 == 1),
        };
        self.settle(ledger)
    }

    /// After a crash all doubt is gone: what is there stays, what is away stays away.
    fn settle(&mut self, ledger: Ledger) -> bool {
        let Ok((queue, _)) = Queue::open(&self.disk, CONFIG) else { return false };
        self.ledger = ledger;
        for line in &mut self.ledger.0 {
            let progress: Option<Vec<_>> = queue
                .index()
                .get(line.id)
                .filter(|_| is_mine(line))
                .map(|k| k.progress().collect());
            match progress {
                None if line.queued == Sure::Yes => line.finished = Sure::Yes,
                // Nobody was told its number.
                None => (line.queued, line.finished, line.id) = (Sure::No, Sure::Yes, 0),
                Some(progress) => {
                    use base::wire::queue::Progress;
                    let sure = |is: bool| if is { Sure::Yes } else { Sure::No };
                    (line.queued, line.finished) = (Sure::Yes, Sure::No);
                    line.done = sure(progress.first() == Some(&Progress::Done));
                    line.failed = sure(progress.get(1) == Some(&Progress::Failed));
                    line.held = vec![(0, queue.index().mark(line.id).is_some())];
                }
            }
        }
        true
    }
}

/// Could the letter with this line's number be this line's? Not if it is known to be away: a
/// number that nobody was told may be given again.
fn is_mine(line: &Line) -> bool {
    line.queued != Sure::No && line.finished != Sure::Yes
}

fn is_live(line: &Line) -> bool {
    line.queued == Sure::Yes && line.finished == Sure::No
}
