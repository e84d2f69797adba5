//! What a disk's refusal means to the queue.

use std::fmt;
use std::io;

/// Why a record could not be taken.
#[derive(Debug)]
pub enum Trouble {
    /// There is no room on the disk for another segment, or no descriptor for its file. Nothing is
    /// lost; try again later.
    Full(io::Error),
    /// A write or a sync failed. Nothing may be acknowledged any more; only a new start helps.
    Broken(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(e) => write!(f, "no room for another segment of the log: {e}"),
            Self::Broken(e) => write!(f, "unable to write or sync the log: {e}"),
        }
    }
}

impl std::error::Error for Trouble {}

/// Is this the disk's way of saying that it is full, or the kernel's that it opens no more files?
/// Either passes, and nothing that was written is in doubt.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
        || sys::errno::is_no_descriptor(error)
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full(error) } else { Self::Broken(error) }
    }
}
