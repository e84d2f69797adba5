//! Where deliveries are counted and reported, and what is watched.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use base::limits;
use base::wire::spawn::Report;
use sys::fd;
use sys::poll::{Interest, Poller};

use super::Verdict;

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// It waits for the disk only.
    Made,
}

/// The deliveries under way, the reports on their way to qmail-send, and the descriptors that are
/// waited for.
#[derive(Debug)]
pub(crate) struct Desk {
    poller: Poller,
    next: u64,
    slots: BTreeMap<u32, Stage>,
    running: u32,
    /// How many may run.
    ceiling: u32,
    reports: Vec<u8>,
}

impl Desk {
    /// Nothing under way, and never more than `ceiling` at a time; tokens are given out from
    /// `first` on.
    pub(super) fn new(first: u64, ceiling: u32) -> io::Result<Self> {
        let (slots, reports) = (BTreeMap::new(), Vec::new());
        Ok(Self { poller: Poller::new()?, next: first, slots, running: 0, ceiling, reports })
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Watches a descriptor for something to read; the token of its events.
    pub(crate) fn watch(&mut self, fd: impl AsFd) -> io::Result<u64> {
        let token = self.next;
        self.poller.add(fd, token, Interest::READ)?;
        self.next = token.wrapping_add(1);
        Ok(token)
    }

    /// Watches it no more. To be called before it is closed, since children may hold copies.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        let _never_watched = self.poller.remove(fd);
    }

    /// How many deliveries are under way, made or not.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn knows(&self, slot: u32) -> bool {
        self.slots.contains_key(&slot)
    }

    /// Whether there may be one more.
    pub(super) fn has_room(&self) -> bool {
        let most = self.ceiling.saturating_add(limits::SETTLING) as usize;
        self.running < self.ceiling && self.slots.len() < most
    }

    pub(super) fn begun(&mut self, slot: u32) {
        self.slots.insert(slot, Stage::Running);
        self.running = self.running.saturating_add(1);
    }

    /// Says how many deliveries there may be at a time.
    pub(super) fn tell_ceiling(&mut self) {
        Report::Ceiling(self.ceiling).encode(&mut self.reports);
    }

    /// The delivery waits for the disk only.
    pub(crate) fn made(&mut self, slot: u32) {
        if let Some(stage @ Stage::Running) = self.slots.get_mut(&slot) {
            *stage = Stage::Made;
            self.running = self.running.saturating_sub(1);
            Report::Made(slot).encode(&mut self.reports);
        }
    }

    /// The delivery has ended. Only the first end of a delivery counts.
    pub(crate) fn ended(&mut self, slot: u32, verdict: Verdict) {
        match self.slots.remove(&slot) {
            None => return,
            Some(Stage::Running) => self.running = self.running.saturating_sub(1),
            Some(Stage::Made) => {}
        }
        self.refused(slot, verdict);
    }

    /// It has not even begun.
    pub(super) fn refused(&mut self, slot: u32, (outcome, text): Verdict) {
        Report::Ended { slot, outcome: Some(outcome), text: &text }.encode(&mut self.reports);
    }

    /// Writes all reports at once.
    pub(super) fn flush(&mut self, to: BorrowedFd<'_>) -> io::Result<()> {
        if !self.reports.is_empty() {
            fd::write_all(to, &self.reports)?;
            self.reports.clear();
            self.reports.shrink_to(super::PIECE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::outcome::Outcome;

    #[test]
    fn a_delivery_that_is_made_makes_room_and_ends_once() {
        let mut desk = Desk::new(3, 120).unwrap();
        (0..120).for_each(|slot| desk.begun(slot));
        assert!(!desk.has_room() && desk.knows(5));
        desk.made(5);
        desk.made(5);
        assert!(desk.has_room() && desk.knows(5));
        let before = desk.reports.len();
        desk.ended(5, (Outcome::Done, Vec::new()));
        let once = desk.reports.len();
        desk.ended(5, (Outcome::Done, Vec::new()));
        assert!(once > before && desk.reports.len() == once);
        assert_eq!((desk.running, desk.len()), (119, 119));
    }
}
