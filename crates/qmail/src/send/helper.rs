//! qmail-lspawn, qmail-rspawn or qmail-clean at the other end of two pipes.

use std::io;
use std::os::fd::OwnedFd;

use base::wire::Malformed;
use sys::poll::{Interest, Poller};

use super::pipe::{Inlet, Outlet};

/// A helper's two pipes; gone once one of them broke.
#[derive(Debug)]
pub(super) struct Helper {
    token: u64,
    ends: Option<(Outlet, Inlet)>,
}

impl Helper {
    pub(super) fn new(
        (commands, inlet): (OwnedFd, Inlet),
        token: u64,
        poller: &Poller,
    ) -> io::Result<Self> {
        inlet.nonblocking()?;
        let outlet = Outlet::new(commands)?;
        poller.add(&inlet, token, Interest::READ)?;
        poller.add(&outlet, token.saturating_add(1), Interest::NONE)?;
        Ok(Self { token, ends: Some((outlet, inlet)) })
    }

    /// Reads once and has `read` take what is there.
    ///
    /// # Errors
    /// The helper is gone, or talks nonsense; what it said before is read.
    pub(super) fn hear(
        &mut self,
        read: impl FnOnce(&mut Inlet) -> Result<(), Malformed>,
    ) -> io::Result<()> {
        let Some((_, inlet)) = &mut self.ends else { return Ok(()) };
        let more = inlet.fill();
        read(inlet).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        if more? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Sends commands; to one that is gone, none.
    ///
    /// # Errors
    /// The helper is gone.
    pub(super) fn tell(&mut self, commands: &[u8], poller: &Poller) -> io::Result<()> {
        let Some((outlet, _)) = &mut self.ends else { return Ok(()) };
        outlet.push(commands)?;
        outlet.arm(poller, self.token.saturating_add(1), Interest::NONE)
    }

    /// Whether they were open: both ends of a helper that dies are heard of at once.
    pub(super) fn close(&mut self, poller: &Poller) -> bool {
        let Some((outlet, inlet)) = self.ends.take() else { return false };
        let _ = poller.remove(&outlet);
        let _ = poller.remove(&inlet);
        true
    }
}
