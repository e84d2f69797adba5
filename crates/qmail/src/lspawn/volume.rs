//! Which deliveries wait for which sync of one file system; decides, and does nothing.
//!
//! A delivery rides two syncs. What was written before the first began is durable after it: only
//! then may readers see it. What they could see before the second began is there for good after
//! it: only then is the delivery over, and the queue may forget the letter.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long after a sync the next one begins if less than [`MANY`] wait for it or some are just being
/// shown: it covers what comes meanwhile, too. A sync makes everybody wait who writes to the disk.
const GATHER: Duration = Duration::from_millis(25);
/// So many are worth a sync at once.
const MANY: usize = 400;
/// How long a sync may take before nobody waits for this file system's syncs any more.
const SLOW: Duration = Duration::from_secs(10);

/// What is to be done, most of it with a list of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sync the file system.
    Sync,
    /// Let readers see them.
    Show(Vec<u32>),
    /// They are over.
    Over(Vec<u32>),
    /// A sync failed: take them back.
    Withdraw(Vec<u32>),
    /// Let each be synced by itself.
    Alone(Vec<u32>),
}

#[derive(Debug)]
enum State {
    /// No sync is under way.
    Free,
    /// One is, of what was written and shown before it began.
    Syncing { since: Duration, staged: Vec<u32>, shown: Vec<u32> },
    /// One is that does not end.
    Stuck,
}

/// One file system.
#[derive(Debug)]
pub(super) struct Volume {
    state: State,
    /// Written, not covered by a sync.
    staged: Vec<u32>,
    /// Shown, not covered by a sync.
    shown: Vec<u32>,
    /// Being shown just now, and whether a sync has failed meanwhile.
    showing: BTreeMap<u32, bool>,
    /// When the last sync ended.
    rested: Option<Duration>,
    /// Only jobs handed out after this one may rely on the syncs: an error in writing an earlier
    /// one's file may have been told already, or before anybody listened.
    covers: u64,
}

impl Volume {
    /// Syncs tell of errors since job `covers` was handed out.
    pub(super) fn new(covers: u64) -> Self {
        let (staged, shown, rested) = (Vec::new(), Vec::new(), None);
        Self { state: State::Free, staged, shown, showing: BTreeMap::new(), rested, covers }
    }

    /// Nothing waits here.
    pub(super) fn is_idle(&self) -> bool {
        let free = matches!(self.state, State::Free);
        free && self.staged.is_empty() && self.shown.is_empty() && self.showing.is_empty()
    }

    /// A file of job number `job` is written.
    pub(super) fn staged(&mut self, slot: u32, job: u64) -> Option<Step> {
        if job <= self.covers || matches!(self.state, State::Stuck) {
            return Some(Step::Alone(vec![slot]));
        }
        self.staged.push(slot);
        None
    }

    /// A file that was to be shown is, or failed to be.
    pub(super) fn shown(&mut self, slot: u32, worked: bool) -> Option<Step> {
        let failed = self.showing.remove(&slot);
        if !worked {
            return None;
        }
        match failed {
            Some(false) => {
                self.shown.push(slot);
                None
            }
            // Its name may have been what could not be written, and the next sync would not tell.
            Some(true) => Some(Step::Withdraw(vec![slot])),
            // It was to be shown when another did the syncs.
            None => Some(Step::Alone(vec![slot])),
        }
    }

    /// All that waits for a sync, or for the end of one.
    pub(super) fn into_waiting(self) -> Vec<u32> {
        let (mut all, mut shown) = (self.staged, self.shown);
        if let State::Syncing { staged, shown, .. } = self.state {
            all.extend(staged);
            all.extend(shown);
        }
        all.append(&mut shown);
        all
    }

    /// Nobody waits for a written or shown file any more.
    pub(super) fn lost(&mut self, slot: u32) {
        let mut lists = vec![&mut self.staged, &mut self.shown];
        if let State::Syncing { staged, shown, .. } = &mut self.state {
            lists.extend([staged, shown]);
        }
        lists.into_iter().for_each(|list| list.retain(|of| *of != slot));
    }

    /// The sync has ended; `job` is the number of the latest job handed out.
    ///
    /// A failed one is bad news for all that waits, also for what it was too late for: the error
    /// may have been in writing that, and the kernel tells of it only once.
    pub(super) fn synced(&mut self, worked: bool, job: u64, now: Duration) -> Vec<Step> {
        self.rested = Some(now);
        let (mut staged, mut shown) = match std::mem::replace(&mut self.state, State::Free) {
            State::Syncing { staged, shown, .. } => (staged, shown),
            State::Free | State::Stuck => (Vec::new(), Vec::new()),
        };
        if worked {
            self.showing.extend(staged.iter().map(|slot| (*slot, false)));
            return some([Step::Over(shown), Step::Show(staged)]);
        }
        self.covers = job;
        self.showing.values_mut().for_each(|failed| *failed = true);
        staged.append(&mut shown);
        staged.append(&mut self.staged);
        staged.append(&mut self.shown);
        some([Step::Withdraw(staged)])
    }

    /// What to do now, and after how long to ask again. With `few` deliveries under way each is
    /// synced by itself.
    pub(super) fn turn(&mut self, few: bool, now: Duration) -> (Option<Step>, Option<Duration>) {
        match &mut self.state {
            State::Stuck => (self.alone(), None),
            State::Syncing { since, staged, shown } => {
                let left = since.saturating_add(SLOW).saturating_sub(now);
                if !left.is_zero() {
                    return (None, Some(left));
                }
                self.staged.append(staged);
                self.shown.append(shown);
                self.state = State::Stuck;
                (self.alone(), None)
            }
            State::Free if few => (self.alone(), None),
            State::Free if self.staged.is_empty() && self.shown.is_empty() => (None, None),
            State::Free => {
                let rest = self.rest(now);
                if !rest.is_zero() {
                    return (None, Some(rest));
                }
                let (staged, shown) =
                    (std::mem::take(&mut self.staged), std::mem::take(&mut self.shown));
                self.state = State::Syncing { since: now, staged, shown };
                (Some(Step::Sync), Some(SLOW))
            }
        }
    }

    /// How long the next sync waits for more.
    fn rest(&self, now: Duration) -> Duration {
        let waiting = self.staged.len().saturating_add(self.shown.len());
        match self.rested {
            Some(rested) if waiting < MANY || !self.showing.is_empty() => {
                rested.saturating_add(GATHER).saturating_sub(now)
            }
            _ => Duration::ZERO,
        }
    }

    fn alone(&mut self) -> Option<Step> {
        let mut all = std::mem::take(&mut self.staged);
        all.append(&mut self.shown);
        Some(Step::Alone(all)).filter(|step| !step.is_empty())
    }
}

impl Step {
    fn is_empty(&self) -> bool {
        match self {
            Self::Sync => false,
            Self::Show(s) | Self::Over(s) | Self::Withdraw(s) | Self::Alone(s) => s.is_empty(),
        }
    }
}

fn some(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    steps.into_iter().filter(|step| !step.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_delivery_is_seen_after_one_sync_and_over_after_two() {
        let mut volume = Volume::new(0);
        assert_eq!(volume.staged(1, 1), None);
        assert_eq!(volume.turn(false, MS).0, Some(Step::Sync));
        // Written while the sync runs: not covered by it.
        volume.staged(2, 2);
        assert_eq!(volume.turn(false, MS).0, None);
        assert_eq!(volume.synced(true, 2, MS * 5), [Step::Show(vec![1])]);
        let (step, again) = volume.turn(false, MS * 6);
        assert_eq!((step, again), (None, Some(MS * 24)));
        volume.shown(1, true);
        assert_eq!(volume.turn(false, MS * 6), (None, Some(MS * 24)), "more may come");
        assert_eq!(volume.turn(false, MS * 30).0, Some(Step::Sync));
        let steps = volume.synced(true, 2, MS * 33);
        assert_eq!(steps, [Step::Over(vec![1]), Step::Show(vec![2])]);
        // One that will not show itself is not waited for long.
        volume.staged(3, 3);
        assert_eq!(volume.turn(false, MS * 58).0, Some(Step::Sync));
    }

    #[test]
    fn many_do_not_wait_for_more() {
        let mut volume = Volume::new(0);
        volume.staged(1, 1);
        volume.turn(false, MS);
        volume.synced(true, 1, MS * 2);
        volume.shown(1, true);
        (2..MANY as u32).for_each(|slot| _ = volume.staged(slot, 2));
        assert_eq!(volume.turn(false, MS * 3), (None, Some(MS * 24)));
        volume.staged(MANY as u32, 2);
        assert_eq!(volume.turn(false, MS * 3).0, Some(Step::Sync));
    }

    #[test]
    fn a_failed_sync_takes_back_all_that_waits_and_what_was_being_written_syncs_itself() {
        let mut volume = Volume::new(0);
        volume.staged(1, 1);
        volume.turn(false, MS);
        volume.synced(true, 1, MS);
        volume.shown(1, true);
        volume.staged(2, 2);
        volume.turn(false, MS * 26);
        volume.staged(3, 3);
        assert_eq!(volume.synced(false, 4, MS), [Step::Withdraw(vec![2, 1, 3])]);
        assert_eq!(volume.staged(4, 4), Some(Step::Alone(vec![4])));
        assert_eq!(volume.staged(5, 5), None);
    }

    #[test]
    fn a_few_are_synced_one_by_one_and_so_is_everybody_while_a_sync_hangs() {
        let mut volume = Volume::new(0);
        volume.staged(1, 1);
        assert_eq!(volume.turn(true, MS).0, Some(Step::Alone(vec![1])));
        volume.staged(2, 2);
        volume.turn(false, MS);
        assert_eq!(volume.turn(false, MS * 2).0, None);
        let stuck = volume.turn(false, SLOW + MS);
        assert_eq!(stuck.0, Some(Step::Alone(vec![2])));
        assert_eq!(volume.staged(3, 3), Some(Step::Alone(vec![3])));
        assert!(volume.synced(true, 3, SLOW + MS * 2).is_empty());
        assert_eq!(volume.staged(4, 4), None);
    }

    #[test]
    fn a_file_whose_worker_is_gone_is_never_shown() {
        let mut volume = Volume::new(0);
        volume.staged(1, 1);
        volume.staged(2, 1);
        volume.turn(false, MS);
        volume.lost(1);
        assert_eq!(volume.synced(true, 1, MS), [Step::Show(vec![2])]);
        assert!(!volume.is_idle());
        volume.shown(2, false);
        assert!(volume.is_idle());
    }

    #[test]
    fn what_is_being_shown_while_a_sync_fails_is_taken_back() {
        let mut volume = Volume::new(0);
        volume.staged(1, 1);
        volume.turn(false, MS);
        assert_eq!(volume.synced(true, 1, MS), [Step::Show(vec![1])]);
        volume.staged(2, 2);
        assert_eq!(volume.turn(false, MS * 40).0, Some(Step::Sync));
        assert_eq!(volume.synced(false, 2, MS * 41), [Step::Withdraw(vec![2])]);
        assert_eq!(volume.shown(1, true), Some(Step::Withdraw(vec![1])));
        assert!(volume.is_idle());
        assert_eq!(volume.shown(3, true), Some(Step::Alone(vec![3])), "another volume's");
    }

    #[test]
    fn a_delivery_that_has_ended_otherwise_is_not_ended_by_a_sync() {
        for late in [true, false] {
            let mut volume = Volume::new(0);
            volume.staged(1, 1);
            volume.turn(false, MS);
            volume.synced(true, 1, MS);
            volume.shown(1, true);
            if late {
                assert_eq!(volume.turn(false, MS * 40).0, Some(Step::Sync));
            }
            volume.lost(1);
            volume.turn(false, MS * 40);
            assert!(volume.synced(true, 1, MS * 41).is_empty());
        }
    }
}
