//! A process seen from outside: which one it is, whether it still lives, its session.

use crate::poll::{self, Interest};
use crate::signal::Signal;
use base::service::Identity;
use rustix::process::{Pid, PidfdFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A process held by descriptor: the number cannot come to mean another one. The descriptor is
/// readable when the process has ended.
#[derive(Debug)]
pub struct Held(OwnedFd);

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Held {
    /// Takes hold of a process; `ESRCH` if there is none of that number.
    pub fn open(pid: u32) -> io::Result<Held> {
        Ok(Held(rustix::process::pidfd_open(number(pid)?, PidfdFlags::empty())?))
    }

    /// Takes hold of just this process; `None` if it has ended, even if nobody has waited for it yet,
    /// or its number is another's or nobody's.
    pub fn of(whom: &Identity) -> io::Result<Option<Held>> {
        let held = match Held::open(whom.pid) {
            Ok(held) => held,
            Err(_) if gone(whom.pid) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The descriptor first, the question after: the number cannot change hands in between.
        match identity(whom.pid) {
            Ok(now) => Ok((now == *whom && !held.ended()).then_some(held)),
            Err(_) if gone(whom.pid) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        let ready = poll::ready(&[self.as_fd()], Interest::READ, Some(Duration::ZERO));
        ready.is_ok_and(|ready| ready.contains(&true))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal.number())
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::process::pidfd_send_signal(&self.0, signal)?)
    }
}

fn number(pid: u32) -> io::Result<Pid> {
    let raw = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(Pid::from_raw(raw).ok_or(io::ErrorKind::InvalidInput)?)
}

/// Which process has a number now.
pub fn identity(pid: u32) -> io::Result<Identity> {
    Ok(Identity { pid, started: started(pid)?, boot: boot()? })
}

/// No process has this number.
fn gone(pid: u32) -> bool {
    started(pid).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// From now on no other process of the same user may trace this one, read its memory or take its
/// descriptors (`PR_SET_DUMPABLE`, ptrace(2), pidfd_getfd(2)); root still may. It holds for forked
/// children too, and ends with the next exec.
pub fn keep_to_itself() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// From now on a descendant whose parent ends becomes a child of this process, not of process 1:
/// whoever starts programs that put themselves into the background can still find them.
pub fn adopt_orphans() -> io::Result<()> {
    // The kernel asks whether there is a number, not which.
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// When a process was started, in clock ticks since boot: with its number, its identity until the
/// next boot (proc(5), `/proc/PID/stat` field 22).
pub fn started(pid: u32) -> io::Result<u64> {
    let stat = read_some(&format!("/proc/{pid}/stat"))?;
    parse_started(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The name of this boot: a number the kernel draws each time it starts.
pub fn boot() -> io::Result<String> {
    Ok(read_some("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn read_some(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Field 22; the name, field 2, is in brackets and may hold anything.
fn parse_started(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Makes this process the leader of a new session, without a terminal.
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Puts this process into a group of its own.
pub fn new_group() -> io::Result<()> {
    Ok(rustix::process::setpgid(None, None)?)
}

/// From now on what this process and its children mount is theirs alone: nobody else sees it, and
/// nobody's copy of all mounts (a container, a sandbox) keeps it mounted. Only root may; only before
/// there are threads.
///
/// # Errors
/// What the kernel says.
pub fn own_mounts() -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_NEWNS)?;
    let alone = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(None::<&str>, "/", None::<&str>, alone, None::<&str>)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_a_name_with_brackets_and_spaces() {
        let mut stat = String::from("12 (a) b) S");
        for field in 4..=30 {
            stat.push_str(&format!(" {}", field * 100));
        }
        assert_eq!(parse_started(&stat), Some(2200));
        assert_eq!(parse_started("12 (a"), None);
    }

    #[test]
    fn this_process_has_a_start_and_a_boot() {
        let pid = std::process::id();
        assert_eq!(started(pid).unwrap(), started(pid).unwrap());
        assert!(boot().unwrap().len() > 30);
        assert!(Held::open(pid).is_ok());
        assert!(Held::open(0).is_err());
    }

    #[test]
    fn this_process_is_itself_and_no_other() {
        let me = identity(std::process::id()).unwrap();
        assert!(Held::of(&me).unwrap().is_some_and(|me| !me.ended()));
        let other = Identity { started: me.started + 1, ..me.clone() };
        assert!(Held::of(&other).unwrap().is_none());
        assert!(Held::of(&Identity { pid: i32::MAX as u32, ..me }).unwrap().is_none());
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let child_is = identity(child.id()).unwrap();
        assert!(Held::of(&child_is).unwrap().is_some());
        child.kill().unwrap();
        let ended = (0..12_000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            Held::of(&child_is).unwrap().is_none()
        });
        assert!(ended && started(child.id()).is_ok(), "nobody has waited for it yet");
        child.wait().unwrap();
    }
}
