//! Looking at a supervised service from outside.

use base::service::{Facts, LONGEST, Status};
use std::io;
use std::path::Path;
use sys::file;
use sys::process::Held;

/// Bytes read of a status: other supervises write a few more than the 18.
const STATUS: usize = 4096;

/// Why the state of a service cannot be known.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// `supervise/status` cannot be opened.
    Open(io::Error),
    /// It cannot be read.
    Read(io::Error),
    /// It is too short.
    Format,
}

/// What supervise last wrote: all of it, or, where it is another daemontools' supervise, what the 18
/// bytes say.
pub(crate) fn facts(dir: &Path) -> Result<Facts, Trouble> {
    let facts = state(dir);
    if let Some(facts) = &facts
        && keeper(facts).is_some()
    {
        return Ok(facts.clone());
    }
    let status = status(dir)?;
    // Both files are written at every change. Where they differ, the writer was killed in between or
    // another supervise has been here since.
    Ok(facts.filter(|facts| facts.status == status).unwrap_or(Facts::of_status(status)))
}

/// The supervise that wrote this, if it lives.
pub(crate) fn keeper(facts: &Facts) -> Option<Held> {
    Held::of(facts.supervise.as_ref()?).ok()?
}

fn state(dir: &Path) -> Option<Facts> {
    let file = file::open_read(dir.join("supervise/state")).ok()?;
    Facts::parse(&sys::fd::read_to_end(file, LONGEST).ok()?)
}

/// The 18 bytes.
pub(crate) fn status(dir: &Path) -> Result<Status, Trouble> {
    let file = file::open_read(dir.join("supervise/status")).map_err(Trouble::Open)?;
    let mut bytes = [0; STATUS];
    let got = sys::fd::read(&file, &mut bytes).map_err(Trouble::Read)?;
    bytes.get(..got).and_then(Status::decode).ok_or(Trouble::Format)
}

/// Whether a supervise listens; an error if that cannot be told, `NotFound` if none ever has.
pub(crate) fn listens(dir: &Path) -> io::Result<bool> {
    file::has_reader(dir.join("supervise/ok"))
}

/// A FIFO that nobody has open for reading.
pub(crate) fn no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(sys::errno::ENXIO)
}
