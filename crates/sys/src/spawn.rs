//! Starting programs and learning how they ended.

mod command;
mod search;
mod swift;

pub use command::{Command, Source};
pub use search::{exec, exec_search, exec_search_as, find};
pub use swift::{Change, Launcher};

use nix::libc;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::io;

/// Which of the two one is after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The old process, and the new one's pid.
    Parent(u32),
    /// The new process.
    Child,
}

/// Forks. Only for programs with one thread: the child may then do whatever it likes. Blocked
/// signals stay blocked in the child ([`crate::signal::unblock_all`]).
pub fn fork() -> io::Result<Fork> {
    // SAFETY: our programs have one thread, so the child's memory is in no half-done state; tests
    // that have more only make system calls in the child.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(pid(child))),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Ends this process at once: no destructors, no buffers flushed. For forked children.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit touches no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Exited(u8),
    /// By a signal, with this number.
    Killed(u8),
}

impl Status {
    /// The raw wait status: code × 256, or the signal's number (without the core bit).
    pub fn raw(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code) << 8,
            Self::Killed(number) => number.into(),
        }
    }

    /// The status a raw number stands for.
    pub fn from_raw(raw: i32) -> Self {
        let [low, high, ..] = raw.to_le_bytes();
        if low & 0x7f == 0 { Self::Exited(high) } else { Self::Killed(low & 0x7f) }
    }

    /// The exit code, if it ended by itself.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Killed(_) => None,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with exit code {code}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// Waits for one child to end.
pub fn wait(child: u32) -> io::Result<Status> {
    let child = i32::try_from(child).ok().filter(|pid| *pid > 0);
    let child = Pid::from_raw(child.ok_or(io::ErrorKind::InvalidInput)?);
    loop {
        match waitpid(child, None) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(said) => {
                if let Some((_, status)) = ended(said) {
                    return Ok(status);
                }
            }
        }
    }
}

/// A child that has ended, if there is one; does not wait. No children at all is `None` too.
pub fn reap() -> io::Result<Option<(u32, Status)>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(None),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(said) => {
                if let Some(end) = ended(said) {
                    return Ok(Some(end));
                }
            }
        }
    }
}

/// The end in a wait status; `None` for a child that stopped or goes on.
fn ended(said: WaitStatus) -> Option<(u32, Status)> {
    match said {
        // The kernel keeps eight bits of the code.
        WaitStatus::Exited(child, code) => {
            Some((pid(child), Status::Exited(code.to_le_bytes()[0])))
        }
        WaitStatus::Signaled(child, signal, _) => {
            Some((pid(child), Status::Killed((signal as i32).to_le_bytes()[0])))
        }
        _ => None,
    }
}

fn pid(pid: Pid) -> u32 {
    u32::try_from(pid.as_raw()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_status_is_code_times_256_or_the_signal() {
        assert_eq!(Status::Exited(100).raw(), 25600);
        assert_eq!(Status::Killed(9).raw(), 9);
        for raw in [0, 256, 28416, 9, 15] {
            assert_eq!(Status::from_raw(raw).raw(), raw);
        }
    }
}
