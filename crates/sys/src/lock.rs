//! `flock`: one holder at a time, released by the kernel when the holder dies.

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use std::io;
use std::os::fd::AsFd;

/// Waits for the lock on an open file and takes it.
pub fn exclusive(fd: impl AsFd) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(&fd, FlockOperation::LockExclusive))?)
}

/// Takes the lock, or says `WouldBlock` if another process holds it.
pub fn try_exclusive(fd: impl AsFd) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(&fd, FlockOperation::NonBlockingLockExclusive))?)
}
