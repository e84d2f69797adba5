//! What waits for the disk, apart from who decides it.
//!
//! The queue judges what is to be written and synced; the waiting is [`Work`], done in one of three
//! lanes, each strictly in order: by a [`Helper`] (queued has a thread for each lane), or by the
//! queue itself when it is asked to wait or told to [`carry_out`](super::Queue::carry_out) the
//! next piece, so that `tests/crash` can cut the power between any two steps.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sys::at::ZEROS;

use super::{big, log};
use crate::disk::{Disk, remove};

/// The order in which work is done: each lane for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Syncs of the log; nothing else may keep them waiting.
    Log,
    /// Spare segments. If none is ready the log waits for this, so nothing else may keep it waiting.
    Spare,
    /// Everything else that may take long: large letters, files to be removed.
    Apart,
}

/// A piece of work for the disk.
#[derive(Debug)]
pub struct Work<F>(pub(super) Job<F>);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job<F> {
    /// Make what was written to a segment durable.
    Sync(Arc<F>),
    /// The same, and then begin another segment with this block.
    Turn { old: Option<Arc<F>>, new: Arc<F>, block: Vec<u8> },
    /// Make a spare segment.
    Make { slot: u64, size: u64 },
    /// Make a large letter's bytes durable, and its name if it is `whole`.
    Secure { file: Arc<F>, whole: bool },
    /// Remove large letters' files.
    Remove(Vec<u64>),
    /// Remove a spare segment's file; whoever closes it last waits until its room is free.
    Drop { slot: u64, file: Arc<F> },
}

/// What came of a piece of work.
#[derive(Debug)]
pub struct Done<F>(pub(super) io::Result<Option<F>>);

/// Does one lane's work, in order.
#[derive(Debug, Default)]
pub struct Worker {
    /// A write or sync of the log failed: what was to follow it must not happen.
    failed: bool,
}

impl Worker {
    /// Does a piece of work.
    pub fn run<D: Disk>(&mut self, disk: &D, work: Work<D::File>) -> Done<D::File> {
        if self.failed {
            return Done(Err(io::Error::other("an earlier write or sync failed")));
        }
        let fatal = matches!(work.0, Job::Sync(_) | Job::Turn { .. });
        let outcome = run(disk, work.0);
        self.failed = fatal && outcome.is_err();
        Done(outcome)
    }
}

fn run<D: Disk>(disk: &D, job: Job<D::File>) -> io::Result<Option<D::File>> {
    match job {
        Job::Sync(file) => disk.sync(&file)?,
        Job::Turn { old, new, block } => {
            if let Some(old) = old {
                disk.sync(&old)?;
            }
            disk.write_at(&new, &block, 0)?;
            disk.sync(&new)?;
        }
        Job::Make { slot, size } => return make(disk, slot, size).map(Some),
        Job::Secure { file, whole } => {
            disk.sync(&file)?;
            if whole {
                disk.sync_dir(Path::new("big"))?;
                disk.sync_made()?;
            }
        }
        Job::Remove(names) => {
            for name in names {
                // If this fails, the next start removes it.
                let _ = disk.unlink(&big::path(name));
            }
        }
        Job::Drop { slot, file } => {
            disk.unlink(&log::path(slot))?;
            drop(file);
        }
    }
    Ok(None)
}

/// Makes a file of zeros, all of it on disk, so that later writes change no metadata.
fn make<D: Disk>(disk: &D, slot: u64, size: u64) -> io::Result<D::File> {
    let name: PathBuf = log::path(slot);
    remove(disk, &name)?;
    let file = disk.create(&name)?;
    let filled = fill(disk, &file, size).and_then(|()| disk.sync_dir(Path::new("log")));
    let outcome = filled.and_then(|()| disk.sync_made());
    if let Err(error) = outcome {
        // Half a file would keep the disk full.
        let _ = disk.unlink(&name);
        return Err(error);
    }
    Ok(file)
}

/// Writes `size` bytes of zeros and syncs them, piece by piece: the log's own syncs would wait behind
/// all of it.
fn fill<D: Disk>(disk: &D, file: &D::File, size: u64) -> io::Result<()> {
    for at in (0..size).step_by(ZEROS) {
        let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        disk.write_zeros(file, left.min(ZEROS), at)?;
        disk.sync(file)?;
    }
    Ok(())
}

/// Who does the work while the queue goes on.
pub trait Helper<F>: fmt::Debug + Send {
    /// Takes a piece of work. The pieces of a lane are done in order by one [`Worker`].
    fn start(&mut self, lane: Lane, work: Work<F>);

    /// What came of the next piece of a lane, in order; waits for it if told to. `None`: none is
    /// done yet, or (having waited) the helper is gone.
    fn next(&mut self, lane: Lane, wait: bool) -> Option<Done<F>>;
}

/// The queue's own hands.
#[derive(Debug)]
struct Line<F> {
    worker: Worker,
    todo: VecDeque<Work<F>>,
    done: VecDeque<Done<F>>,
}

/// Who does the work.
#[derive(Debug)]
pub(super) enum Hands<F> {
    /// Ourselves: the log's when we must wait for it, all else at once.
    Ours(Box<OurHands<F>>),
    Helper(Box<dyn Helper<F>>),
}

/// All lanes.
#[derive(Debug)]
pub(super) struct OurHands<F> {
    log: Line<F>,
    spare: Line<F>,
    apart: Line<F>,
}

impl<F> Line<F> {
    fn new() -> Self {
        Self { worker: Worker::default(), todo: VecDeque::new(), done: VecDeque::new() }
    }

    fn carry_out<D: Disk<File = F>>(&mut self, disk: &D) -> bool {
        let Some(work) = self.todo.pop_front() else { return false };
        let done = self.worker.run(disk, work);
        self.done.push_back(done);
        true
    }
}

impl<F> Hands<F> {
    pub(super) fn ours() -> Self {
        Self::Ours(Box::new(OurHands { log: Line::new(), spare: Line::new(), apart: Line::new() }))
    }

    pub(super) fn start<D: Disk<File = F>>(&mut self, disk: &D, lane: Lane, work: Work<F>) {
        match self {
            Self::Helper(helper) => helper.start(lane, work),
            Self::Ours(ours) => {
                let line = ours.line(lane);
                line.todo.push_back(work);
                if lane != Lane::Log {
                    line.carry_out(disk);
                }
            }
        }
    }

    pub(super) fn next<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        lane: Lane,
        wait: bool,
    ) -> Option<Done<F>> {
        match self {
            Self::Helper(helper) => helper.next(lane, wait),
            Self::Ours(ours) => {
                let line = ours.line(lane);
                if line.done.is_empty() && wait {
                    line.carry_out(disk);
                }
                line.done.pop_front()
            }
        }
    }

    /// Does the next piece of the log's work, if it is ours to do.
    pub(super) fn carry_out<D: Disk<File = F>>(&mut self, disk: &D) -> bool {
        match self {
            Self::Helper(_) => false,
            Self::Ours(ours) => ours.log.carry_out(disk),
        }
    }
}

impl<F> OurHands<F> {
    fn line(&mut self, lane: Lane) -> &mut Line<F> {
        match lane {
            Lane::Log => &mut self.log,
            Lane::Spare => &mut self.spare,
            Lane::Apart => &mut self.apart,
        }
    }
}
