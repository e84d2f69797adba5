//! Why queued will not start: what is missing, where, and what to do about it.

use std::fmt;
use std::io;

/// The log is not what it must be, or cannot be read.
#[derive(Debug)]
pub enum Alarm {
    /// The disk says no.
    Disk {
        /// What was being done to what.
        doing: String,
        /// What the disk said.
        error: io::Error,
    },
    /// Records that were on disk are not there any more.
    Hole {
        /// The segment's file.
        file: String,
        /// Where the first missing record should begin.
        offset: usize,
        /// Its sequence.
        missing: u64,
        /// The sequence that is known to follow.
        known: u64,
    },
    /// A segment of the log is not there at all.
    Missing {
        /// Its number.
        number: u64,
        /// The newest segment that was found.
        newest: u64,
    },
    /// Two files say they are the same segment.
    Twice {
        /// Their names.
        files: [String; 2],
        /// The segment's number.
        number: u64,
    },
    /// A segment begins before the one in front of it ends: one of them is of another time.
    Overlap {
        /// Their names, the earlier segment first.
        files: [String; 2],
        /// The record that the later one begins with.
        sequence: u64,
    },
    /// A segment's header is damaged and records that matter follow it.
    Header {
        /// The segment's file.
        file: String,
    },
    /// A segment's file is shorter than its header says.
    Short {
        /// The segment's file.
        file: String,
        /// Bytes it should have.
        size: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A later version of the program wrote this.
    Newer {
        /// The segment's file.
        file: String,
        /// The version of its format; 0 if it is a kind of record.
        version: u32,
    },
    /// The file with the bytes of a large letter is missing or has another length.
    Big {
        /// The letter.
        id: u64,
        /// The file's name below `queue/big`.
        name: u64,
        /// Bytes it should have.
        size: u64,
        /// Bytes it has.
        found: Option<u64>,
    },
}

const MEND: &str = "restore the file from where it went, or copy queue/ away and run \
                    `qmail-queued --salvage` to go on without what is lost";

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { doing, error } => write!(f, "unable to {doing}: {error}"),
            Self::Hole { file, offset, missing, known } => write!(
                f,
                "queue/log/{file}: record {missing} is missing or damaged at offset {offset}, \
                 though it was on disk before record {known}; letters are missing here: {MEND}"
            ),
            Self::Missing { number, newest } => write!(
                f,
                "queue/log: segment {number} of the log is missing (the newest is {newest}); \
                 letters are missing here: {MEND}"
            ),
            Self::Twice { files: [a, b], number } => write!(
                f,
                "queue/log/{a} and queue/log/{b} both say they are segment {number}: one is a \
                 copy; move the older one away"
            ),
            Self::Overlap { files: [a, b], sequence } => write!(
                f,
                "queue/log/{b} begins with record {sequence}, though queue/log/{a}, which comes \
                 before it, goes further: one is of another time, as a file that was put back may \
                 be; move away the one that does not belong here"
            ),
            Self::Header { file } => write!(
                f,
                "queue/log/{file}: offset 0: the header is damaged and the segment is in use: {MEND}"
            ),
            Self::Short { file, size, found } => write!(
                f,
                "queue/log/{file} has {found} bytes instead of {size}; letters may be missing: {MEND}"
            ),
            Self::Newer { file, version } => write!(
                f,
                "queue/log/{file} was written by a later version (format {version}): start that \
                 version"
            ),
            Self::Big { id, name, size, found: None } => write!(
                f,
                "queue/big/{name} is missing; it held the {size} bytes of letter {id}: {MEND}"
            ),
            Self::Big { id, name, size, found: Some(found) } => write!(
                f,
                "queue/big/{name} (letter {id}) has {found} bytes instead of {size}: {MEND}"
            ),
        }
    }
}

impl std::error::Error for Alarm {}

/// Says what was being done when the disk said no.
pub(super) fn doing<T>(doing: &str, outcome: io::Result<T>) -> Result<T, Alarm> {
    outcome.map_err(|error| Alarm::Disk { doing: doing.to_owned(), error })
}
