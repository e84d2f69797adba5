//! Trouble while running: say so, wait, try again, for ever; but hear signals meanwhile.

use super::VOICE;
use crate::message::{Piece, TEMPORARY};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use sys::poll::{self, Interest};
use sys::signal::{Signal, Signals};

/// How long a pause is.
const PAUSE: Duration = Duration::from_secs(5);

/// The signals, and what they have asked for.
#[derive(Debug)]
pub(super) struct Patience {
    signals: Signals,
    /// TERM came.
    pub(super) ending: Cell<bool>,
    /// ALRM came.
    pub(super) rotate: Cell<bool>,
    /// Whatever is not on the disk still lies in the pipe: to end now loses nothing.
    pub(super) lossless: Cell<bool>,
}

impl AsFd for Patience {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Patience {
    /// Catches TERM and ALRM.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Patience {
            signals: Signals::catch(&[Signal::Term, Signal::Alrm])?,
            ending: Cell::new(false),
            rotate: Cell::new(false),
            lossless: Cell::new(false),
        })
    }

    /// Notes the signals that came.
    pub(super) fn hear(&self) {
        while let Ok(Some(signal)) = self.signals.next() {
            if signal == Signal::Alrm {
                self.rotate.set(true);
            } else {
                self.ending.set(true);
            }
        }
    }

    /// Does something until it works.
    pub(super) fn insist<T>(
        &self,
        what: &[Piece<'_>],
        mut deed: impl FnMut() -> io::Result<T>,
    ) -> T {
        loop {
            match deed() {
                Ok(done) => return done,
                Err(error) => self.complain(what, Some(&error)),
            }
        }
    }

    /// Says what is wrong and pauses. A signal ends the pause; TERM ends multilog if everything
    /// not written is still in the pipe, where the next multilog finds it.
    pub(super) fn complain(&self, what: &[Piece<'_>], error: Option<&io::Error>) {
        let pieces: Vec<Piece<'_>> =
            what.iter().copied().chain([&", pausing" as Piece<'_>]).collect();
        VOICE.warning(&pieces, error);
        if poll::ready(&[self.signals.as_fd()], Interest::READ, Some(PAUSE)).is_err() {
            sys::clock::sleep(PAUSE);
        }
        self.hear();
        if self.ending.get() && self.lossless.get() {
            std::process::exit(TEMPORARY);
        }
    }
}
