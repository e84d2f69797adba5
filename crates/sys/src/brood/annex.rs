//! A clean parent beside another: for jobs that need what the other has given up.

use super::FDS;
use super::parent::{Serve, serve};
use crate::pass::{self, Kind};
use crate::spawn::{self, Fork};
use crate::{fd, signal};
use rustix::net::Shutdown;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A process forked before its parent was fenced, which forks a child for each job. It ends when
/// everybody is gone who may hand jobs over. Its own end, and its children's, are not its parent's
/// business: whoever hands a job over waits for it.
#[derive(Debug)]
pub struct Annex {
    sock: OwnedFd,
}

impl Annex {
    /// Forks it. There `child` runs for each job, as with [`serve`], and `not` is closed: who is at
    /// its other end waits for our end of it. For programs with one thread.
    pub fn open(
        not: BorrowedFd<'_>,
        max_children: usize,
        child: impl FnMut(&[u8], Vec<OwnedFd>) -> i32,
    ) -> io::Result<Self> {
        let (sock, theirs) = pass::pair(Kind::Seqpacket)?;
        match spawn::fork()? {
            Fork::Child => {
                drop(sock);
                let limits = Serve { max_children, retire_after: u64::MAX };
                // SAFETY: the descriptor's owner is in a frame that this process never returns to.
                unsafe { nix::libc::close(not.as_raw_fd()) };
                let served = serve(theirs, limits, child);
                spawn::exit(if served.is_ok() { 0 } else { 111 })
            }
            Fork::Parent(_) => {
                // Nobody hears its answers; it is not to wait for somebody who does.
                rustix::net::shutdown(&sock, Shutdown::Read)?;
                Ok(Self { sock })
            }
        }
    }

    /// Hands a job over with at most three descriptors and waits until its child has ended.
    ///
    /// # Errors
    /// There is nobody to take it, or it is too long.
    pub fn run(&self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if payload.len() > base::limits::HANDOVER || fds.len() >= FDS {
            return Err(ErrorKind::InvalidInput.into());
        }
        let (end, held) = fd::pipe()?;
        let fds: Vec<BorrowedFd<'_>> = fds.iter().copied().chain([held.as_fd()]).collect();
        pass::send(&self.sock, &[&[0; 8], payload].concat(), &fds)?;
        drop(held);
        // The child holds the pipe's other end, whether it knows or not.
        fd::read(&end, &mut [0]).map(drop)
    }
}

/// Ends this child as if it had crashed: its clean parent makes way for a fresh one, which is fenced
/// anew and has a living annex.
pub fn make_way() -> ! {
    signal::default(signal::Signal::Term);
    let _ = signal::kill(std::process::id(), signal::Signal::Term);
    spawn::exit(111)
}
