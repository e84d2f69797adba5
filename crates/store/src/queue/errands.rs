//! What the log has done for it while it goes on: spare segments are made and dropped, large
//! letters secured and removed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::log::{Log, Segment, path};
use super::trouble::Trouble;
use super::work::{Done, Job, Lane, Work};
use crate::disk::Disk;

/// A piece of the other work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errand {
    Secure { tag: u64 },
    Remove,
    Drop { slot: u64 },
}

/// A spare segment's file that could not be removed. It is used no more; the next start finds it.
#[derive(Debug)]
pub struct Left {
    /// Its name in the queue's directory.
    pub file: PathBuf,
    /// What the disk said.
    pub error: io::Error,
}

/// A large letter's bytes are durable, or not.
#[derive(Debug)]
pub struct Secured {
    /// As given to [`super::Queue::secure`].
    pub tag: u64,
    /// What the disk said.
    pub outcome: io::Result<()>,
}

impl<D: Disk> Log<D> {
    /// Gives a piece of other work away.
    pub(super) fn send(&mut self, errand: Errand, job: Job<D::File>) {
        self.hands.start(&self.disk, Lane::Apart, Work(job));
        self.errands.push_back(errand);
    }

    /// Has a spare segment made.
    pub(super) fn begin_making(&mut self) {
        let (slot, size) = (self.unused_slot(), self.config.segment);
        self.hands.start(&self.disk, Lane::Spare, Work(Job::Make { slot, size }));
        self.making = Some(slot);
    }

    /// Hears of the spare segment that is being made, waiting for it if told to; false if none is
    /// done.
    ///
    /// # Errors
    /// [`Trouble`]; `Full` costs nothing.
    pub(super) fn end_making(&mut self, wait: bool) -> Result<bool, Trouble> {
        let Some(slot) = self.making else { return Ok(false) };
        let outcome = match self.hands.next(&self.disk, Lane::Spare, wait) {
            Some(done) => done.0,
            None if wait => Err(io::Error::other("who makes segments is gone")),
            None => return Ok(false),
        };
        self.making = None;
        self.made(slot, outcome)?;
        Ok(true)
    }

    /// Hears of the next piece of other work; false if none is done.
    fn return_errand(&mut self) -> bool {
        let Some(&errand) = self.errands.front() else { return false };
        let Some(Done(outcome)) = self.hands.next(&self.disk, Lane::Apart, false) else {
            return false;
        };
        self.errands.pop_front();
        match errand {
            Errand::Secure { tag } => {
                self.secured.push(Secured { tag, outcome: outcome.map(|_| ()) });
            }
            Errand::Remove => {}
            Errand::Drop { slot } => self.dropped(slot, outcome),
        }
        true
    }

    /// Nothing that was written is in doubt if a spare file stays; but whether it still has its
    /// name is, so neither is used again.
    fn dropped(&mut self, slot: u64, outcome: io::Result<Option<D::File>>) {
        match outcome {
            Ok(_) => self.leaving.retain(|leaving| *leaving != slot),
            Err(error) => self.left.push(Left { file: path(slot), error }),
        }
    }

    fn made(&mut self, slot: u64, outcome: io::Result<Option<D::File>>) -> Result<(), Trouble> {
        match outcome.map_err(Trouble::from) {
            Ok(file) => {
                let size = self.config.segment;
                self.free.extend(file.map(|file| {
                    let file = Arc::new(file);
                    Segment { slot, number: 0, first: 0, salt: 0, file, size }
                }));
                Ok(())
            }
            Err(Trouble::Broken(error)) => self.or_broken(Err(error)),
            Err(full) => Err(full),
        }
    }

    /// Hears of everything that is done.
    ///
    /// # Errors
    /// [`Trouble`]; after `Full` ask again.
    pub(super) fn poll(&mut self) -> Result<(), Trouble> {
        while self.land(false)? {}
        while self.return_errand() {}
        while self.end_making(false)? {}
        Ok(())
    }

    /// The large letters of which news has come since this was asked last.
    pub(super) fn take_secured(&mut self) -> Vec<Secured> {
        std::mem::take(&mut self.secured)
    }

    /// The spare files that could not be removed since this was asked last.
    pub(super) fn take_left(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.left)
    }
}
