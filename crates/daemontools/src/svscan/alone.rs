//! One svscan for each directory: two would fight over its services, and the end of either would
//! be the end of all.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file that a svscan locks in its directory and writes its process id into.
const LOCK: &str = ".svscan.lock";

/// What came of it.
#[derive(Debug)]
pub(super) enum Alone {
    /// Nobody else is here for as long as this is kept.
    Yes(File),
    /// Another svscan holds the directory; its process id, if it said so.
    No(String),
    /// It cannot be told here: a directory that cannot be written to, say.
    Unknown(io::Error),
}

/// Takes a directory. The lock goes with the process, so one that was killed is in nobody's way.
pub(super) fn take(dir: &Path) -> Alone {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = match options.open(dir.join(LOCK)) {
        Ok(file) => file,
        Err(error) => return Alone::Unknown(error),
    };
    match file.try_lock() {
        Ok(()) => {
            // Only who asks in vain reads it.
            let pid = format!("{}\n", std::process::id());
            let _ = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
            Alone::Yes(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid);
            Alone::No(pid.trim_end().to_owned())
        }
        Err(TryLockError::Error(error)) => Alone::Unknown(error),
    }
}
