//! Three threads that wait for the disk, so that the loop need not: one for the log's syncs, one for
//! spare segments, one for what else may take long. They get work and give back what came of it; they decide nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use store::disk::kernel::Kernel;
use store::queue::{Done, Helper, Lane, Work, Worker};

/// One thread, seen from the loop.
#[derive(Debug)]
struct Thread {
    work: Sender<Work<OwnedFd>>,
    done: Receiver<Done<OwnedFd>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Threads {
    log: Thread,
    spare: Thread,
    apart: Thread,
}

/// Becomes readable when a thread has done something.
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    /// Makes it silent again; then ask the threads.
    pub(super) fn heard(&self) {
        // Full of bytes or empty: either way all that was rung for is heard of now.
        let _ = sys::fd::read(&self.0, &mut [0; 64]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Threads {
    /// Starts them on the queue's directory. Whatever confines this process must do so before:
    /// threads inherit it.
    pub(super) fn start(dir: &Path) -> io::Result<(Self, Bell)> {
        let (bell, rope) = sys::fd::pipe()?;
        sys::fd::set_nonblocking(&bell, true)?;
        sys::fd::set_nonblocking(&rope, true)?;
        let log = Thread::start("log", Kernel::at(dir)?, rope.try_clone()?)?;
        let spare = Thread::start("spare", Kernel::at(dir)?, rope.try_clone()?)?;
        let apart = Thread::start("apart", Kernel::at(dir)?, rope)?;
        Ok((Self { log, spare, apart }, Bell(bell)))
    }

    fn lane(&self, lane: Lane) -> &Thread {
        match lane {
            Lane::Log => &self.log,
            Lane::Spare => &self.spare,
            Lane::Apart => &self.apart,
        }
    }
}

impl Thread {
    fn start(name: &str, disk: Kernel, rope: OwnedFd) -> io::Result<Self> {
        let (work, todo) = channel::<Work<OwnedFd>>();
        let (said, done) = channel();
        let run = move || {
            let mut worker = Worker::default();
            for work in todo {
                if said.send(worker.run(&disk, work)).is_err() {
                    return;
                }
                // A full pipe rings already.
                let _ = sys::fd::write(&rope, b"x");
            }
        };
        Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(run)?;
        Ok(Self { work, done })
    }
}

impl Helper<OwnedFd> for Threads {
    fn start(&mut self, lane: Lane, work: Work<OwnedFd>) {
        // If the thread is gone, waiting for it says so.
        let _ = self.lane(lane).work.send(work);
    }

    fn next(&mut self, lane: Lane, wait: bool) -> Option<Done<OwnedFd>> {
        let done = &self.lane(lane).done;
        if wait { done.recv().ok() } else { done.try_recv().ok() }
    }
}
