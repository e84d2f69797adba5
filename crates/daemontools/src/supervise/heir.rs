//! Finding the service an earlier supervise left running, so that no second copy is started.
//!
//! Before a service's process execs it writes `supervise/service`: its pid, when it was started
//! and in which boot; a `./finish` does the same, and says that it is one. While it does so it
//! shares our lock; so a supervise that has the lock finds in the record everything that may still
//! run.

use base::service::Identity;
use std::io::{self, ErrorKind};
use sys::file;
use sys::process::{self, Held};

const RECORD: &str = "supervise/service";
const RECORD_NEW: &str = "supervise/service.new";
/// Bytes read of a record.
const LONGEST: usize = 256;

/// What a recorded process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `./run`.
    Run,
    /// `./finish`.
    Finish,
}

/// What an earlier supervise left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) pid: u32,
    pub(super) part: Part,
    pub(super) held: Held,
}

fn line(identity: &Identity, part: Part) -> String {
    match part {
        Part::Run => format!("{identity}\n"),
        Part::Finish => format!("{identity} finish\n"),
    }
}

fn parse(line: &str) -> Option<(Identity, Part)> {
    match Identity::parse(line.strip_suffix('\n')?)? {
        (identity, None) => Some((identity, Part::Run)),
        (identity, Some("finish")) => Some((identity, Part::Finish)),
        (_, Some(_)) => None,
    }
}

/// Records this process; for the child, before it execs.
pub(super) fn record(part: Part) -> io::Result<()> {
    let identity = process::identity(std::process::id())?;
    let new = file::open_trunc(RECORD_NEW)?;
    sys::fd::write_all(&new, line(&identity, part).as_bytes())?;
    std::fs::rename(RECORD_NEW, RECORD)
}

/// What is recorded, if it still lives. Call with the lock held. An error: whether it lives cannot
/// be told, so nothing may be started.
pub(super) fn find() -> io::Result<Option<Left>> {
    let bytes = match file::open_read(RECORD) {
        Ok(record) => sys::fd::read_to_end(record, LONGEST)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let Some((recorded, part)) = parse(&text) else { return Ok(None) };
    let held = Held::of(&recorded)?;
    Ok(held.map(|held| Left { pid: recorded.pid, part, held }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_torn_one_is_none() {
        let identity = Identity { pid: 12, started: 3456, boot: "a-b".into() };
        for part in [Part::Run, Part::Finish] {
            let line = line(&identity, part);
            assert_eq!(parse(&line), Some((identity.clone(), part)));
            for cut in 0..line.len() {
                assert_eq!(parse(&line[..cut]), None);
            }
        }
        assert_eq!(parse("1 2 b start\n"), None);
    }
}
