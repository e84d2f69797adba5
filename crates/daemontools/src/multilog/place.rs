//! A log's directory: trying until something works there, and making room when its disk is full.

use super::VOICE;
use super::old;
use super::pause::{Meanwhile, Patience};
use super::script::Keep;
use crate::message::Piece;
use base::time::Moment;
use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::time::Duration;
use sys::dir::Dir;

/// That old logs go because the disk is full is told so often at most.
const TELL: Duration = Duration::from_secs(60);

/// A log's directory and how it is kept.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: Dir,
    pub(super) keep: Keep,
    /// When the oldest finished log was finished, as of the last look.
    pub(super) oldest: Cell<Option<Moment>>,
    /// When it was last told that something had to go, in time since boot.
    told: Cell<Option<Duration>>,
}

impl Place {
    /// A directory just opened.
    pub(super) fn new(dir: Dir, keep: Keep) -> Place {
        Place { dir, keep, oldest: Cell::new(None), told: Cell::new(None) }
    }

    /// Its name, as it was given.
    pub(super) fn name(&self) -> &OsStr {
        &self.keep.dir
    }

    /// Does something; if the disk is full, again after each old log that can go.
    pub(super) fn attempt<T>(&self, mut deed: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match deed() {
                Err(error) if is_full(&error) && self.make_room() => {}
                done => return done,
            }
        }
    }

    /// Does something until it works.
    pub(super) fn insist<T>(
        &self,
        calm: &Patience,
        what: &[Piece<'_>],
        mut deed: impl FnMut() -> io::Result<T>,
    ) -> T {
        let mut tries = 0;
        loop {
            match self.attempt(&mut deed) {
                Ok(done) => return done,
                Err(error) => self.complain(calm, what, &error, &mut tries),
            }
        }
    }

    /// Says what is wrong and pauses. In a directory that was removed nothing will ever work: then
    /// the next multilog may make a new one.
    pub(super) fn complain(
        &self,
        calm: &Patience,
        what: &[Piece<'_>],
        error: &io::Error,
        tries: &mut u32,
    ) {
        if error.kind() == ErrorKind::NotFound && !self.is_there() {
            std::process::exit(self.told_removed());
        }
        let drops = self.keep.lossy && is_full(error);
        let meanwhile = if drops { Meanwhile::Drop } else { Meanwhile::Wait };
        calm.complain(what, Some(error), tries, meanwhile);
    }

    /// Says that the directory was removed; the exit code.
    pub(super) fn told_removed(&self) -> i32 {
        VOICE.fatal(&[&"directory ", &self.name(), &" was removed"], None)
    }

    /// Whether the directory still has a name.
    pub(super) fn is_there(&self) -> bool {
        self.dir.stat(".").is_ok_and(|stat| stat.links > 0)
    }

    /// Removes the oldest log, if more are there than are to stay.
    fn make_room(&self) -> bool {
        let Ok(logs) = old::list(&self.dir) else { return false };
        let floor = usize::try_from(self.keep.floor).unwrap_or(usize::MAX);
        let may_go = logs.len().saturating_sub(floor);
        let gone = logs.iter().take(may_go).find(|log| self.dir.remove(log).is_ok());
        if let Some(log) = gone {
            self.tell(&[&"out of disk space, removing ", &self.name(), &"/", log], None);
        }
        gone.is_some()
    }

    /// Makes room if less of it is there than a file that is to be made may need.
    pub(super) fn make_room_for(&self, bytes: u64) {
        while self.dir.free().is_ok_and(|free| free < bytes) && self.make_room() {}
    }

    /// A warning about old logs, not more often than once a minute.
    pub(super) fn tell(&self, what: &[Piece<'_>], error: Option<&io::Error>) {
        let now = sys::clock::monotonic();
        if self.told.get().is_none_or(|told| now.saturating_sub(told) >= TELL) {
            self.told.set(Some(now));
            VOICE.warning(what, error);
        }
    }
}

/// No room on the disk, or none for this account.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
