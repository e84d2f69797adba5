//! Starting a supervise, and finding one that another svscan left.

use super::VOICE;
use super::pipe::Pipe;
use crate::run;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::Path;
use sys::signal::{self, Signal};
use sys::spawn::{self, Fork};

/// Which of a service's two supervises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The service's own.
    Service,
    /// Its log's.
    Log,
}

impl Part {
    /// What messages put behind the name.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Part::Service => "",
            Part::Log => "/log",
        }
    }
}

/// Starts a supervise; `None` after a warning if there is no process to be had.
pub(super) fn start(name: &OsStr, part: Part, pipe: Option<&Pipe>) -> Option<u32> {
    match spawn::fork() {
        Ok(Fork::Parent(pid)) => Some(pid),
        Ok(Fork::Child) => become_supervise(name, part, pipe),
        Err(error) => {
            VOICE.warning(&[&"unable to fork for ", &name, &part.suffix()], Some(&error));
            None
        }
    }
}

fn become_supervise(name: &OsStr, part: Part, pipe: Option<&Pipe>) -> ! {
    // A group of its own: an interrupt typed at svscan's terminal reaches svscan alone, which then
    // ends services and logs in the right order.
    let _ = sys::process::new_group();
    let placed = match (part, pipe) {
        (Part::Service, Some(pipe)) => sys::fd::place(&pipe.write, 1),
        (Part::Log, Some(pipe)) => sys::fd::place(&pipe.read, 0),
        (Part::Service | Part::Log, None) => Ok(()),
    };
    if let Err(error) = placed {
        give_up(&"unable to set up descriptors for ", name, part, &error);
    }
    let operand = match part {
        Part::Service => name,
        Part::Log => OsStr::new("log"),
    };
    if part == Part::Log
        && let Err(error) = std::env::set_current_dir(name)
    {
        give_up(&"unable to switch to ", name, Part::Service, &error);
    }
    signal::unblock_all();
    signal::default(Signal::Pipe);
    super::descriptors::give_back();
    let argv = ["supervise".into(), operand.into()];
    give_up(&"unable to start supervise ", name, part, &run::become_ours(&argv, None));
}

fn give_up(what: &&'static str, name: &OsStr, part: Part, error: &io::Error) -> ! {
    VOICE.warning(&[what, &name, &part.suffix()], Some(error));
    spawn::exit(111)
}

/// Whether some supervise holds the lock of a directory.
pub(super) fn held(dir: &Path) -> bool {
    let Ok(lock) = sys::file::open_read(dir.join("supervise/lock")) else { return false };
    sys::lock::try_exclusive(lock.as_fd()).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Writes commands to a directory's supervise; false if it does not listen (yet).
pub(super) fn command(dir: &Path, bytes: &[u8]) -> bool {
    sys::file::open_write(dir.join("supervise/control"))
        .and_then(|control| sys::fd::write(&control, bytes))
        .is_ok()
}
