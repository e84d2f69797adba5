//! Signals, read like data: blocked, and taken from a descriptor when the loop has time.

use nix::sys::signal::{self as sig, SigHandler, SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The signals our programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGALRM: to send, run the queue; to multilog, rotate.
    Alrm,
    /// SIGCHLD: a child changed state.
    Chld,
    /// SIGCONT.
    Cont,
    /// SIGHUP: to send, read locals and virtualdomains again.
    Hup,
    /// SIGINT.
    Int,
    /// SIGKILL; can be sent, not caught.
    Kill,
    /// SIGPIPE.
    Pipe,
    /// SIGPROF.
    Prof,
    /// SIGQUIT.
    Quit,
    /// SIGSTOP; can be sent, not caught.
    Stop,
    /// SIGTERM: finish and exit.
    Term,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGVTALRM.
    Vtalrm,
    /// SIGWINCH.
    Winch,
    /// SIGXCPU.
    Xcpu,
    /// SIGXFSZ.
    Xfsz,
}

/// Each signal and the kernel's name for it.
const TABLE: [(Signal, sig::Signal); 17] = [
    (Signal::Alrm, sig::Signal::SIGALRM),
    (Signal::Chld, sig::Signal::SIGCHLD),
    (Signal::Cont, sig::Signal::SIGCONT),
    (Signal::Hup, sig::Signal::SIGHUP),
    (Signal::Int, sig::Signal::SIGINT),
    (Signal::Kill, sig::Signal::SIGKILL),
    (Signal::Pipe, sig::Signal::SIGPIPE),
    (Signal::Prof, sig::Signal::SIGPROF),
    (Signal::Quit, sig::Signal::SIGQUIT),
    (Signal::Stop, sig::Signal::SIGSTOP),
    (Signal::Term, sig::Signal::SIGTERM),
    (Signal::Usr1, sig::Signal::SIGUSR1),
    (Signal::Usr2, sig::Signal::SIGUSR2),
    (Signal::Vtalrm, sig::Signal::SIGVTALRM),
    (Signal::Winch, sig::Signal::SIGWINCH),
    (Signal::Xcpu, sig::Signal::SIGXCPU),
    (Signal::Xfsz, sig::Signal::SIGXFSZ),
];

impl Signal {
    /// The kernel's number.
    pub fn number(self) -> i32 {
        self.kernel() as i32
    }

    /// The signal with a number; `None` for one we do not use.
    pub fn from_number(number: i32) -> Option<Self> {
        TABLE.iter().find(|(_, kernel)| *kernel as i32 == number).map(|(ours, _)| *ours)
    }

    fn kernel(self) -> sig::Signal {
        match self {
            Self::Alrm => sig::Signal::SIGALRM,
            Self::Chld => sig::Signal::SIGCHLD,
            Self::Cont => sig::Signal::SIGCONT,
            Self::Hup => sig::Signal::SIGHUP,
            Self::Int => sig::Signal::SIGINT,
            Self::Kill => sig::Signal::SIGKILL,
            Self::Pipe => sig::Signal::SIGPIPE,
            Self::Prof => sig::Signal::SIGPROF,
            Self::Quit => sig::Signal::SIGQUIT,
            Self::Stop => sig::Signal::SIGSTOP,
            Self::Term => sig::Signal::SIGTERM,
            Self::Usr1 => sig::Signal::SIGUSR1,
            Self::Usr2 => sig::Signal::SIGUSR2,
            Self::Vtalrm => sig::Signal::SIGVTALRM,
            Self::Winch => sig::Signal::SIGWINCH,
            Self::Xcpu => sig::Signal::SIGXCPU,
            Self::Xfsz => sig::Signal::SIGXFSZ,
        }
    }
}

/// From now on the signal has no effect; an exec keeps it so.
pub fn ignore(signal: Signal) {
    set(signal, SigHandler::SigIgn);
}

/// From now on the signal does what the system does by itself.
pub fn default(signal: Signal) {
    set(signal, SigHandler::SigDfl);
}

/// Sets a handler that is no code; SIGKILL and SIGSTOP have none, which is no error worth telling.
fn set(signal: Signal, handler: SigHandler) {
    // SAFETY: SigIgn and SigDfl run no code of ours inside a signal.
    let _ = unsafe { sig::signal(signal.kernel(), handler) };
}

/// Sends a signal to one process. Pid 0 and numbers no process can have are `InvalidInput`:
/// they would mean a group.
pub fn kill(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(sig::kill(Pid::from_raw(pid), signal.kernel())?)
}

/// Sends a signal to every process of the group that `leader` has made. For a child of ours that was
/// not waited for: its number is then no other's. Numbers as for [`kill`], and 1: that would mean
/// everybody.
pub fn kill_group(leader: u32, signal: Signal) -> io::Result<()> {
    let leader = i32::try_from(leader).ok().filter(|leader| *leader > 1);
    let leader = leader.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(sig::killpg(Pid::from_raw(leader), signal.kernel())?)
}

/// Sends a signal to every process but this one. Only for process 1, of a machine or a container:
/// whose end is everybody's; for anybody else it is `InvalidInput`.
pub fn kill_everybody(signal: Signal) -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sig::kill(Pid::from_raw(-1), signal.kernel())?)
}

/// Signals that wait in a descriptor until they are read.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks these signals and opens the descriptor they arrive at (non-blocking; an exec closes
    /// it). Do so before any other thread exists. A child inherits the blocking:
    /// [`crate::spawn::Command`] undoes it, whoever forks calls [`unblock_all`].
    pub fn catch(signals: &[Signal]) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in signals {
            mask.add(signal.kernel());
        }
        sig::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { fd: SignalFd::with_flags(&mask, flags)? })
    }

    /// The next signal that came, if one did. Equal signals may come as one.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        loop {
            let Some(said) = self.fd.read_signal()? else { return Ok(None) };
            let number = i32::try_from(said.ssi_signo).unwrap_or(0);
            if let Some(signal) = Signal::from_number(number) {
                return Ok(Some(signal));
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Blocks nothing any more: for a forked child, before it execs or works on.
pub fn unblock_all() {
    let _ = sig::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_match_agree() {
        for (ours, kernel) in TABLE {
            assert_eq!(ours.kernel(), kernel);
            assert_eq!(Signal::from_number(ours.number()), Some(ours));
        }
    }

    #[test]
    fn only_process_1_may_kill_everybody() {
        let error = kill_everybody(Signal::Cont).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_kill_never_goes_to_a_group() {
        for pid in [0, u32::MAX, 1 << 31] {
            assert_eq!(kill(pid, Signal::Cont).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            let group = kill_group(pid | 1, Signal::Cont);
            assert_eq!(group.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
