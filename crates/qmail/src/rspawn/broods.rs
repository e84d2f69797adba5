//! The clean parents that fork a child for a job: one takes jobs, older ones only finish theirs.
//! What becomes of a job is told by its channel; a refused one's is simply closed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;

use sys::brood::{Brood, Event};

use crate::spawn::Desk;

/// All clean parents of this process.
pub(super) struct Broods {
    program: OsString,
    next_job: u64,
    /// The one that takes jobs.
    current: Option<u64>,
    /// All that are there, by the token of their socket.
    all: BTreeMap<u64, Brood>,
}

impl Broods {
    pub(super) fn new(program: OsString) -> Self {
        Self { program, next_job: 0, current: None, all: BTreeMap::new() }
    }

    /// Hands a job over; a clean parent that is gone is replaced once.
    ///
    /// # Errors
    /// `WouldBlock`: the clean parent is behind. Else the program does not run.
    pub(super) fn take(
        &mut self,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        desk: &mut Desk,
    ) -> io::Result<()> {
        self.next_job = self.next_job.wrapping_add(1);
        match self.attempt(payload, fds, desk) {
            Err(err) if err.kind() != io::ErrorKind::WouldBlock => {
                self.current = None;
                self.attempt(payload, fds, desk)
            }
            taken => taken,
        }
    }

    fn attempt(
        &mut self,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        desk: &mut Desk,
    ) -> io::Result<()> {
        let current = self.current.and_then(|token| self.all.get(&token));
        if let Some(brood) = current {
            return brood.hand_over(self.next_job, payload, fds);
        }
        let brood = Brood::spawn(&self.program, &[], &[], None)?;
        let token = desk.watch(brood.fd())?;
        let handed = brood.hand_over(self.next_job, payload, fds);
        self.all.insert(token, brood);
        self.current = Some(token);
        handed
    }

    /// Hears what clean parents say; false if the token is none of theirs.
    pub(super) fn ready(&mut self, token: u64, desk: &Desk) -> bool {
        let Some(brood) = self.all.get(&token) else { return false };
        loop {
            match brood.next() {
                Ok(None) => return true,
                Ok(Some(Event::Refused { .. } | Event::Retired)) => {
                    self.current.take_if(|current| *current == token);
                }
                Ok(Some(_)) => {}
                Err(_) => break,
            }
        }
        // It is gone. Its children are not, and their channels tell what they do.
        self.current.take_if(|current| *current == token);
        desk.forget(brood.fd());
        self.all.remove(&token);
        true
    }

    /// Hears them all.
    pub(super) fn hear(&mut self, desk: &Desk) {
        let tokens: Vec<u64> = self.all.keys().copied().collect();
        for token in tokens {
            self.ready(token, desk);
        }
    }
}
