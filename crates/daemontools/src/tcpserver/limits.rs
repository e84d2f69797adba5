//! Limits of connections: numbers, or files that hold one and may change while we run.

use crate::ucspi::number;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;

/// What is read of a file.
const FILE: usize = 4_096;

/// One limit of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Number(u64),
    /// A word with a slash; without the file the limit is `default`.
    File {
        path: OsString,
        default: u64,
    },
}

impl Limit {
    /// What a word means.
    pub(super) fn of(word: &OsStr, default: u64) -> Self {
        if word.as_bytes().contains(&b'/') {
            Self::File { path: word.to_os_string(), default }
        } else {
            Self::Number(number(word))
        }
    }

    /// The number now. `InvalidData` if the file does not begin with a line of digits.
    fn read(&self) -> Result<u64, (&OsStr, io::Error)> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::File { path, default } => match line(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(*default),
                number => number.map_err(|error| (path.as_os_str(), error)),
            },
        }
    }

    const fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }
}

/// The number in a file's first line.
fn line(path: &OsStr) -> io::Result<u64> {
    let text = sys::fd::read_to_end(sys::file::open_read(path)?, FILE)?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    base::number::limit(line).ok_or(ErrorKind::InvalidData.into())
}

/// Every limit of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// `-c`: served at once.
    pub(super) total: Limit,
    /// `-m`: connections from one address; 0 is no limit.
    pub(super) address: Limit,
    /// `-M`: connections from one network; 0 is no limit.
    pub(super) network: Limit,
}

/// What they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) total: u64,
    pub(super) address: u64,
    pub(super) network: u64,
}

impl Limits {
    /// What they are now; the error names the file that is wrong.
    pub(super) fn read(&self) -> Result<Numbers, (&OsStr, io::Error)> {
        Ok(Numbers {
            total: self.total.read()?,
            address: self.address.read()?,
            network: self.network.read()?,
        })
    }

    /// Whether they may change.
    pub(super) fn are_files(&self) -> bool {
        self.total.is_file() || self.address.is_file() || self.network.is_file()
    }

    /// Whether networks may have a limit.
    pub(super) fn count_networks(&self) -> bool {
        self.network != Limit::Number(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_word_with_a_slash_is_a_file_and_without_the_file_nothing_is_limited() {
        let dir = Yard::new("tcpserver-limits");
        let file = dir.join("concurrency");
        let limit = Limit::of(file.as_os_str(), 7);
        let read = || limit.read().map_err(|(_, error)| error.kind());
        assert_eq!(read(), Ok(7));
        for (text, want) in [("12\n", Ok(12)), (" 3 \nx\n", Ok(3)), ("0", Ok(0))] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(), want);
        }
        for text in ["", "\n5\n", "-1\n", "12a\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(), Err(ErrorKind::InvalidData), "{text}");
        }
        assert_eq!(Limit::of(OsStr::new("12a"), 7).read().unwrap(), 12);
    }
}
