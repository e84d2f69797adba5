//! The supervise of one directory, the service's own or its log's: starting it, watching it,
//! talking to it.

use super::child::{self, Part};
use super::keeper::Keeper;
use super::pipe::Pipe;
use crate::look;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::clock::monotonic;
use sys::process::Held;
use sys::signal::Signal;
use sys::spawn::Status;

/// How often we look whether another svscan's supervise has ended, if nothing will tell us,
const CHECK: Duration = Duration::from_secs(1);
/// and if its end will.
const CHECK_ANYWAY: Duration = Duration::from_secs(30);

/// A supervise, or the place where one should be.
#[derive(Debug)]
pub(super) struct Post {
    part: Part,
    /// Its directory, whatever its name in ours is by now.
    place: PathBuf,
    keeper: Keeper,
    /// Another svscan's supervise: readable when it has ended.
    held: Option<Held>,
}

impl Post {
    pub(super) fn new(part: Part, service: &Path) -> Self {
        let place = match part {
            Part::Service => service.to_owned(),
            Part::Log => service.join("log"),
        };
        Post { part, place, keeper: Keeper::NEW, held: None }
    }

    /// Starts one if none runs and one may be started.
    pub(super) fn keep(&mut self, name: &OsStr, pipe: Option<&Pipe>) {
        let now = monotonic();
        if self.keeper.start_at().is_none_or(|at| now < at) {
            return;
        }
        if child::held(&self.place) {
            self.leave_to_others(now);
            return;
        }
        match child::start(name, self.part, pipe) {
            Some(pid) => self.keeper.started(pid, now),
            None => self.keeper.failed(now),
        }
    }

    /// Somebody else's supervise is there: takes hold of it, to hear of its end.
    fn leave_to_others(&mut self, now: Duration) {
        self.held = look::facts(&self.place).ok().and_then(|facts| look::keeper(&facts));
        let pause = if self.held.is_some() { CHECK_ANYWAY } else { CHECK };
        self.keeper.held(now.saturating_add(pause));
    }

    /// A child ended; true if it was ours.
    pub(super) fn ended(&mut self, pid: u32, status: Status, now: Duration) -> bool {
        self.keeper.ended(pid, status, now)
    }

    /// What becomes readable when somebody else's supervise ends.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(AsFd::as_fd)
    }

    /// Somebody else's supervise has ended, or it is time to look whether it has.
    pub(super) fn look(&mut self, ended: bool) {
        let now = monotonic();
        if self.keeper.look_at().is_none_or(|at| now < at && !ended) {
            return;
        }
        self.held = None;
        if child::held(&self.place) {
            // Its child, on its way to become the service, may share its lock for a moment.
            self.leave_to_others(now);
        } else {
            self.keeper = Keeper::NEW;
        }
    }

    /// Whether one lives; asks those that are not our children.
    pub(super) fn alive(&mut self) -> bool {
        let ended = self.held.as_ref().is_some_and(Held::ended);
        self.look(ended);
        self.keeper.alive()
    }

    pub(super) fn keeper(&self) -> Keeper {
        self.keeper
    }

    /// No more waiting.
    pub(super) fn hurry(&mut self) {
        self.keeper.hurry();
    }

    /// Writes commands to it; false if it does not listen (yet). One whose FIFO is gone, because its
    /// directory is, still hears TERM, which means `dx`.
    pub(super) fn command(&self, bytes: &[u8]) -> bool {
        let Keeper::Ours { pid, started, .. } = self.keeper else {
            return child::command(&self.place, bytes);
        };
        // Where it is, whatever has become of the name.
        let here = PathBuf::from(format!("/proc/{pid}/cwd"));
        let here = if here.exists() { &here } else { &self.place };
        if child::command(here, bytes) {
            return true;
        }
        // One just started has not made its FIFO yet.
        let late = monotonic().saturating_sub(started) > CHECK;
        let gone = late && !here.join("supervise/control").exists();
        gone && bytes == b"dx" && sys::signal::kill(pid, Signal::Term).is_ok()
    }
}
