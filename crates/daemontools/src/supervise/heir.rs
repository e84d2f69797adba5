//! Finding the service an earlier supervise left running, so that no second copy is started.
//!
//! Before a service's process execs it writes `supervise/service`: its pid, when it was started
//! and in which boot. While it does so it shares our lock; so a supervise that has the lock finds
//! in the record every service that may still run.

use std::fmt;
use std::io::{self, ErrorKind};
use sys::file;
use sys::process::{self, Held};

const RECORD: &str = "supervise/service";
const RECORD_NEW: &str = "supervise/service.new";
/// Bytes read of a record.
const LONGEST: usize = 256;

/// One process among all there ever were on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    pid: u32,
    /// Clock ticks from boot to its start.
    started: u64,
    boot: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} {} {}", self.pid, self.started, self.boot)
    }
}

impl Identity {
    fn of(pid: u32) -> io::Result<Self> {
        Ok(Identity { pid, started: process::started(pid)?, boot: process::boot()? })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let identity = Identity {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
            boot: words.next()?.to_owned(),
        };
        words.next().is_none().then_some(identity)
    }
}

/// Records this process as the service; for the child, before it execs.
pub(super) fn record() -> io::Result<()> {
    let identity = Identity::of(std::process::id())?;
    let new = file::open_trunc(RECORD_NEW)?;
    sys::fd::write_all(&new, identity.to_string().as_bytes())?;
    std::fs::rename(RECORD_NEW, RECORD)
}

/// The recorded service if it still lives. Call with the lock held. An error: whether it lives
/// cannot be told, so nothing may be started.
pub(super) fn find() -> io::Result<Option<(u32, Held)>> {
    let bytes = match file::open_read(RECORD) {
        Ok(record) => sys::fd::read_to_end(record, LONGEST)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let Some(recorded) = Identity::parse(&text) else { return Ok(None) };
    let held = match Held::open(recorded.pid) {
        Ok(held) => held,
        Err(_) if gone(recorded.pid) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The descriptor first, the question after: the number cannot change hands in between.
    match Identity::of(recorded.pid) {
        Ok(now) if now == recorded => Ok(Some((recorded.pid, held))),
        Ok(_) => Ok(None),
        Err(_) if gone(recorded.pid) => Ok(None),
        Err(error) => Err(error),
    }
}

/// No process has this number.
fn gone(pid: u32) -> bool {
    process::started(pid).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_torn_one_is_none() {
        let identity = Identity { pid: 12, started: 3456, boot: "a-b".into() };
        let line = identity.to_string();
        assert_eq!(Identity::parse(&line), Some(identity));
        for cut in 0..line.len() {
            assert_eq!(Identity::parse(&line[..cut]), None);
        }
    }

    #[test]
    fn this_process_is_itself_and_no_other() {
        let me = Identity::of(std::process::id()).unwrap();
        assert_eq!(Identity::of(std::process::id()).unwrap(), me);
        assert!(!gone(me.pid));
        assert!(gone(u32::MAX));
    }
}
