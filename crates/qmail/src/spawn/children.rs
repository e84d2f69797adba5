//! Deliveries that are children of ours, each with a pipe for its output.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use sys::signal::{self, Signal};
use sys::spawn::{self, Status};
use sys::{clock, fd};

use super::{Desk, PIECE};

/// How long a delivery that was killed may take to be gone, with whatever holds its output.
const GRACE: Duration = Duration::from_secs(10);

/// A child under way.
#[derive(Debug)]
struct Running {
    output: Vec<u8>,
    /// Its output; `None` at its end.
    pipe: Option<OwnedFd>,
    ending: Option<Status>,
    pid: u32,
    since: Duration,
    /// It took too long, and was killed.
    late: bool,
}

impl Running {
    /// Does what its age asks for; when there is to be looked again, in this time.
    fn hurry(&mut self, age: Duration, patience: Duration, desk: &Desk) -> Option<Duration> {
        if age < patience {
            return Some(patience.saturating_sub(age));
        }
        if !self.late && self.ending.is_none() {
            self.late = true;
            let group = signal::kill_group(self.pid, Signal::Kill);
            let _it_may_be_gone = group.or_else(|_| signal::kill(self.pid, Signal::Kill));
        }
        let left = patience.saturating_add(GRACE).saturating_sub(age);
        if self.late && !left.is_zero() {
            return Some(left);
        }
        // Somebody it left behind holds its output, or the kernel holds it: neither is waited for.
        if let Some(pipe) = self.pipe.take() {
            desk.forget(pipe);
        }
        self.ending.get_or_insert(Status::Killed(Signal::Kill.number().to_le_bytes()[0]));
        None
    }
}

/// The children that make deliveries.
#[derive(Debug)]
pub(crate) struct Children {
    /// Bytes of one delivery's output that are kept.
    most: usize,
    slots: BTreeMap<u32, u32>,
    running: BTreeMap<u32, Running>,
    pipes: BTreeMap<u64, u32>,
    /// How long one may take.
    patience: Option<Duration>,
    /// When one of them may have taken too long.
    look: Option<Duration>,
    /// Room for what is read at a time.
    piece: Vec<u8>,
}

impl Children {
    /// None; of each one's output `most` bytes are kept, and one more so that it can be seen that
    /// there was more.
    pub(crate) fn new(most: usize) -> Self {
        let (slots, running, pipes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (patience, look) = (None, None);
        Self { most, slots, running, pipes, patience, look, piece: vec![0; PIECE] }
    }

    /// None of them may take longer than this. Each is to lead a process group of its own.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// A child makes the delivery of this slot; `pipe` is the end of its output.
    pub(crate) fn add(&mut self, pid: u32, slot: u32, pipe: OwnedFd, desk: &mut Desk) {
        self.slots.insert(pid, slot);
        let token = desk.watch(&pipe);
        // Without room to watch it nothing of its output is kept, and its end is heard all the same.
        let pipe = token.as_ref().is_ok().then_some(pipe);
        self.pipes.extend(token.map(|token| (token, slot)));
        let since = clock::monotonic();
        let (output, ending, late) = (Vec::new(), None, false);
        self.running.insert(slot, Running { output, pipe, ending, pid, since, late });
        let due = self.patience.map(|patience| since.saturating_add(patience));
        self.look = self.look.into_iter().chain(due).min();
    }

    /// The delivery of this slot is not told by its child's end any more.
    pub(crate) fn disown(&mut self, slot: u32, desk: &mut Desk) {
        self.pipes.retain(|_, of| *of != slot);
        if let Some(Running { pipe: Some(pipe), .. }) = self.running.remove(&slot) {
            desk.forget(&pipe);
        }
        self.slots.retain(|_, of| *of != slot);
    }

    /// Reads some of a child's output. What is over the bound is read too, so that the delivery can
    /// go on, and dropped. False if the token is none of ours.
    pub(crate) fn ready(&mut self, token: u64, desk: &mut Desk) -> bool {
        let Some(slot) = self.pipes.get(&token) else { return false };
        let Some(running) = self.running.get_mut(slot) else { return true };
        let Some(pipe) = &running.pipe else { return true };
        let n = fd::read(pipe, &mut self.piece).unwrap_or(0);
        if n == 0 {
            desk.forget(pipe);
            running.pipe = None;
            self.pipes.remove(&token);
        }
        let room = self.most.saturating_add(1).saturating_sub(running.output.len());
        running.output.extend(self.piece.iter().take(n.min(room)));
        true
    }

    /// Takes notice of every child that has ended; does not wait.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = spawn::reap() {
            sys::log::bury(pid, status);
            let slot = self.slots.remove(&pid);
            if let Some(running) = slot.and_then(|slot| self.running.get_mut(&slot)) {
                running.ending = Some(status);
            }
        }
    }

    /// Ends the deliveries that have taken too long; how long until there is to be looked again.
    pub(crate) fn hurry(&mut self, now: Duration, desk: &Desk) -> Option<Duration> {
        let patience = self.patience?;
        if let Some(left) = self.look?.checked_sub(now).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        let mut next = None;
        for (slot, running) in &mut self.running {
            let left = running.hurry(now.saturating_sub(running.since), patience, desk);
            if left.is_none() {
                // Its number may be another's by the time it is heard of.
                self.slots.retain(|_, of| of != slot);
                self.pipes.retain(|_, of| of != slot);
            }
            next = next.into_iter().chain(left).min();
        }
        self.look = next.map(|left: Duration| now.saturating_add(left));
        next
    }

    /// The deliveries that were ended because they took too long.
    pub(crate) fn late(&mut self) -> Vec<u32> {
        let over = |running: &Running| running.late && running.ending.is_some();
        let gone = |running: &Running| over(running) && running.pipe.is_none();
        self.running.extract_if(.., |_, running| gone(running)).map(|(slot, _)| slot).collect()
    }

    /// The deliveries whose child and whose output have both ended in time.
    pub(crate) fn ended(&mut self) -> Vec<(u32, Status, Vec<u8>)> {
        let over =
            |running: &Running| running.ending.filter(|_| running.pipe.is_none() && !running.late);
        let ended = self.running.extract_if(.., |_, running| over(running).is_some());
        ended.filter_map(|(slot, r)| Some((slot, over(&r)?, r.output))).collect()
    }
}
