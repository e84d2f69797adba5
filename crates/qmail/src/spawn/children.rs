//! Deliveries that are children of ours, each with a pipe for its output.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use sys::fd;
use sys::spawn::{self, Status};

use super::{Desk, PIECE};

/// A child under way.
#[derive(Debug)]
struct Running {
    output: Vec<u8>,
    /// Its output; `None` at its end.
    pipe: Option<OwnedFd>,
    ending: Option<Status>,
}

/// The children that make deliveries.
#[derive(Debug)]
pub(crate) struct Children {
    /// Bytes of one delivery's output that are kept.
    most: usize,
    slots: BTreeMap<u32, u32>,
    running: BTreeMap<u32, Running>,
    pipes: BTreeMap<u64, u32>,
    /// Room for what is read at a time.
    piece: Vec<u8>,
}

impl Children {
    /// None; of each one's output `most` bytes are kept, and one more so that it can be seen that
    /// there was more.
    pub(crate) fn new(most: usize) -> Self {
        let (slots, running, pipes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { most, slots, running, pipes, piece: vec![0; PIECE] }
    }

    /// A child makes the delivery of this slot; `pipe` is the end of its output.
    pub(crate) fn add(&mut self, pid: u32, slot: u32, pipe: OwnedFd, desk: &mut Desk) {
        self.slots.insert(pid, slot);
        let token = desk.watch(&pipe);
        // Without room to watch it nothing of its output is kept, and its end is heard all the same.
        let pipe = token.as_ref().is_ok().then_some(pipe);
        self.pipes.extend(token.map(|token| (token, slot)));
        self.running.insert(slot, Running { output: Vec::new(), pipe, ending: None });
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

    /// The deliveries whose child and whose output have both ended.
    pub(crate) fn ended(&mut self) -> Vec<(u32, Status, Vec<u8>)> {
        let over = |running: &Running| running.ending.filter(|_| running.pipe.is_none());
        let ended = self.running.extract_if(.., |_, running| over(running).is_some());
        ended.filter_map(|(slot, r)| Some((slot, over(&r)?, r.output))).collect()
    }
}
