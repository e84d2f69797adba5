//! Deliveries that are children of ours, each with a pipe for its output.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use sys::signal::{self, Signal};
use sys::spawn::{self, Status};
use sys::{clock, fd};

use super::{Desk, PIECE};

/// How long a delivery that was killed may take to be gone.
const GRACE: Duration = Duration::from_secs(10);
/// How long the output of a delivery that has ended is waited for: somebody it left in the
/// background may hold it, for ever.
const HELD: Duration = Duration::from_secs(10);
/// Outputs that are read on, and thrown away, for whom they were left to: who writes to a pipe
/// that nobody reads is killed.
const LEFT: usize = 64;
/// Bytes of one that are read on.
const LEFT_BYTES: usize = 1 << 20;

/// A child under way.
#[derive(Debug)]
struct Running {
    output: Vec<u8>,
    /// Its output; `None` at its end.
    pipe: Option<OwnedFd>,
    /// How it ended, and when.
    ending: Option<(Status, Duration)>,
    pid: u32,
    since: Duration,
    /// It took too long, and was killed.
    late: bool,
}

/// What becomes of a child as time goes by.
enum Looked {
    /// There is to be looked again in this time, if at all.
    Again(Option<Duration>),
    /// It is over, and somebody else holds its output.
    Left,
    /// The kernel does not let go of it.
    Stuck,
}

impl Running {
    /// Does what its age asks for.
    fn hurry(&mut self, now: Duration, patience: Option<Duration>) -> Looked {
        if let Some((_, ended)) = self.ending {
            let left = ended.saturating_add(HELD).saturating_sub(now);
            return match self.pipe {
                None => Looked::Again(None),
                Some(_) if left.is_zero() => Looked::Left,
                Some(_) => Looked::Again(Some(left)),
            };
        }
        let Some(patience) = patience else { return Looked::Again(None) };
        let age = now.saturating_sub(self.since);
        if age < patience {
            return Looked::Again(Some(patience.saturating_sub(age)));
        }
        if !self.late {
            self.late = true;
            let group = signal::kill_group(self.pid, Signal::Kill);
            let _it_may_be_gone = group.or_else(|_| signal::kill(self.pid, Signal::Kill));
        }
        let left = patience.saturating_add(GRACE).saturating_sub(age);
        if !left.is_zero() {
            return Looked::Again(Some(left));
        }
        self.ending = Some((Status::Killed(Signal::Kill.number().to_le_bytes()[0]), now));
        Looked::Stuck
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
    /// Outputs of deliveries that are over, by the tokens they are watched by, and how many bytes
    /// have come since.
    left: BTreeMap<u64, (OwnedFd, usize)>,
    /// How long one may take.
    patience: Option<Duration>,
    /// When one of them, or its output, may have taken too long.
    look: Option<Duration>,
    /// Room for what is read at a time.
    piece: Vec<u8>,
}

impl Children {
    /// None; of each one's output `most` bytes are kept, and one more so that it can be seen that
    /// there was more.
    pub(crate) fn new(most: usize) -> Self {
        let (slots, running, pipes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (left, patience, look) = (BTreeMap::new(), None, None);
        Self { most, slots, running, pipes, left, patience, look, piece: vec![0; PIECE] }
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
        if let Some((pipe, read)) = self.left.get_mut(&token) {
            let n = fd::read(&*pipe, &mut self.piece).unwrap_or(0);
            *read = read.saturating_add(n);
            if n == 0 || *read > LEFT_BYTES {
                desk.forget(&*pipe);
                self.left.remove(&token);
            }
            return true;
        }
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
        let now = clock::monotonic();
        while let Ok(Some((pid, status))) = spawn::reap() {
            sys::log::bury(pid, status);
            let slot = self.slots.remove(&pid);
            if let Some(running) = slot.and_then(|slot| self.running.get_mut(&slot)) {
                running.ending = Some((status, now));
                let due = running.pipe.as_ref().map(|_| now.saturating_add(HELD));
                self.look = self.look.into_iter().chain(due).min();
            }
        }
    }

    /// Ends the deliveries that have taken too long, and the waiting for outputs that others hold;
    /// how long until there is to be looked again.
    pub(crate) fn hurry(&mut self, now: Duration, desk: &Desk) -> Option<Duration> {
        if let Some(left) = self.look?.checked_sub(now).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        let (mut next, mut over) = (None, Vec::new());
        for (slot, running) in &mut self.running {
            match running.hurry(now, self.patience) {
                Looked::Again(left) => next = next.into_iter().chain(left).min(),
                Looked::Left | Looked::Stuck => over.push(*slot),
            }
        }
        over.into_iter().for_each(|slot| self.leave(slot, desk));
        self.look = next.map(|left: Duration| now.saturating_add(left));
        next
    }

    /// Waits no more for the output of this slot's delivery.
    fn leave(&mut self, slot: u32, desk: &Desk) {
        // Its number may be another's by the time it is heard of.
        self.slots.retain(|_, of| *of != slot);
        let token = self.pipes.extract_if(.., |_, of| *of == slot).next().map(|(token, _)| token);
        let pipe = self.running.get_mut(&slot).and_then(|running| running.pipe.take());
        self.left.extend(token.zip(pipe.map(|pipe| (pipe, 0))));
        if self.left.len() > LEFT
            && let Some((_, (oldest, _))) = self.left.pop_first()
        {
            desk.forget(oldest);
        }
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
        ended.filter_map(|(slot, r)| Some((slot, over(&r)?.0, r.output))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_output_of_an_ended_delivery_is_not_waited_for_and_is_read_on() {
        let mut desk = Desk::new(3, 10).unwrap();
        let mut children = Children::new(100);
        let (pipe, held) = fd::pipe().unwrap();
        children.add(1, 7, pipe, &mut desk);
        let token = *children.pipes.keys().next().unwrap();
        fd::write_all(&held, b"done\n").unwrap();
        assert!(children.ready(token, &mut desk));
        let now = clock::monotonic();
        children.running.get_mut(&7).unwrap().ending = Some((Status::Exited(0), now));
        children.look = Some(now.saturating_add(HELD));
        assert_eq!(children.hurry(now, &desk), Some(HELD));
        assert!(children.ended().is_empty());
        assert_eq!(children.hurry(now.saturating_add(HELD), &desk), None);
        assert_eq!(children.ended(), [(7, Status::Exited(0), b"done\n".to_vec())]);
        fd::write_all(&held, b"more").unwrap();
        assert!(children.ready(token, &mut desk) && children.left.len() == 1);
        drop(held);
        assert!(children.ready(token, &mut desk) && children.left.is_empty());
        assert!(!children.ready(token, &mut desk));
    }

    #[test]
    fn of_many_that_hold_outputs_the_oldest_is_let_go() {
        let mut desk = Desk::new(3, 10).unwrap();
        let mut children = Children::new(100);
        let now = clock::monotonic();
        let held: Vec<_> = (0..=LEFT)
            .map(|slot| {
                let (pipe, held) = fd::pipe().unwrap();
                let slot = u32::try_from(slot).unwrap();
                children.add(1, slot, pipe, &mut desk);
                let running = children.running.get_mut(&slot).unwrap();
                running.ending = Some((Status::Exited(0), now));
                children.look = Some(now);
                children.hurry(now.saturating_add(HELD), &desk);
                assert_eq!(children.ended().len(), 1);
                held
            })
            .collect();
        assert_eq!(children.left.len(), LEFT);
        signal::ignore(Signal::Pipe);
        assert!(fd::write(&held[0], b"x").is_err() && fd::write(&held[1], b"x").is_ok());
    }
}
