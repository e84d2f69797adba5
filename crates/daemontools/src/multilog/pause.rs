//! Trouble while running: say so, wait, try again, for ever; but hear signals meanwhile.

use super::VOICE;
use super::input::{Input, ROOM};
use crate::message::{Piece, TEMPORARY};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use sys::poll::{self, Interest};
use sys::signal::{Signal, Signals};

/// How long a pause is.
const PAUSE: Duration = Duration::from_secs(5);

/// What happens to lines that come during a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// They wait in the pipe, and with them whoever writes them.
    Wait,
    /// They are dropped and counted.
    Drop,
}

/// The input, the signals, and what they have asked for.
#[derive(Debug)]
pub(super) struct Patience {
    signals: Signals,
    /// Where lines come from.
    pub(super) input: Input,
    /// TERM came.
    pub(super) ending: Cell<bool>,
    /// ALRM came.
    pub(super) rotate: Cell<bool>,
    /// Whatever is not in a file still lies in the pipe: to end now loses nothing.
    pub(super) lossless: Cell<bool>,
    /// The input ended while lines were dropped.
    over: Cell<bool>,
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
            input: Input::new(),
            ending: Cell::new(false),
            rotate: Cell::new(false),
            lossless: Cell::new(true),
            over: Cell::new(false),
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
        let mut tries = 0;
        loop {
            match deed() {
                Ok(done) => return done,
                Err(error) => self.complain(what, Some(&error), &mut tries, Meanwhile::Wait),
            }
        }
    }

    /// Says what is wrong and pauses. `tries` counts: what goes on being wrong is said again after
    /// 5, 15, 35 seconds and so on, not every time. A signal ends the pause; TERM ends multilog if
    /// nothing is lost by it, or lines are dropped anyway, and so does then the end of the input.
    pub(super) fn complain(
        &self,
        what: &[Piece<'_>],
        error: Option<&io::Error>,
        tries: &mut u32,
        meanwhile: Meanwhile,
    ) {
        // The pause after the input's end was the last: nobody comes any more who would be kept waiting.
        if meanwhile == Meanwhile::Drop && self.over.get() {
            self.end();
        }
        *tries = tries.saturating_add(1);
        if tries.is_power_of_two() {
            let end: Piece<'_> = match meanwhile {
                Meanwhile::Wait => &", pausing",
                Meanwhile::Drop => &", dropping lines",
            };
            let pieces: Vec<Piece<'_>> = what.iter().copied().chain([end]).collect();
            VOICE.warning(&pieces, error);
        }
        let paused = match meanwhile {
            Meanwhile::Wait => poll::ready(&[self.as_fd()], Interest::READ, Some(PAUSE)).map(drop),
            Meanwhile::Drop => self.pause_and_drop(),
        };
        if paused.is_err() {
            sys::clock::sleep(PAUSE);
        }
        self.hear();
        if self.ending.get() && (self.lossless.get() || meanwhile == Meanwhile::Drop) {
            self.end();
        }
    }

    /// Ends multilog with what is at hand not written, and tells how much else was not.
    fn end(&self) -> ! {
        let lost = self.input.lost();
        if lost > 0 {
            let text = format!("out of disk space, at least {lost} lines lost");
            VOICE.warning(&[&text], None);
        }
        std::process::exit(TEMPORARY)
    }

    /// A pause in which nobody who writes to us has to wait.
    fn pause_and_drop(&self) -> io::Result<()> {
        self.lossless.set(false);
        // What is in memory makes nobody wait, and would make the pipe look as if more had come.
        self.input.let_go()?;
        let until = sys::clock::monotonic().saturating_add(PAUSE);
        let mut room = vec![0; ROOM];
        let mut more = true;
        loop {
            let left = until.saturating_sub(sys::clock::monotonic());
            let fds = [self.as_fd(), sys::fd::stdin()];
            let fds = if more { fds.as_slice() } else { &fds[..1] };
            let ready = poll::ready(fds, Interest::READ, Some(left))?;
            if ready.first() == Some(&true) || left.is_zero() {
                return Ok(());
            }
            if ready.get(1) == Some(&true) {
                more = self.input.drop_some(&mut room)?;
                self.over.set(!more);
            }
        }
    }
}
