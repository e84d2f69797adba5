//! The letter on its way out.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;

/// A letter and how far it has been read.
#[derive(Debug)]
pub(super) struct Letter {
    file: File,
    /// Where reading goes on; a pipe has no such place.
    at: Option<u64>,
    /// Its size in bytes, if that is known before it is read.
    size: Option<u64>,
}

impl Letter {
    /// The whole file, whoever has read in it before.
    pub(super) fn from_start(file: File) -> Self {
        let size = size(&file);
        Self { file, at: size.map(|_| 0), size }
    }

    /// What is still unread.
    pub(super) fn from_here(file: File) -> Self {
        let size = size(&file);
        Self { file, at: None, size }
    }

    /// Its size in bytes, if that is known before it is read.
    pub(super) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// How many bytes are still unread, if that is certain.
    pub(super) const fn length(&self) -> Option<u64> {
        match (self.size, self.at) {
            (Some(size), Some(at)) => Some(size.saturating_sub(at)),
            _ => None,
        }
    }

    /// The next bytes; 0 at the end.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        // A file that is handed over does not grow.
        if self.at.is_some() && self.at == self.size {
            return Ok(0);
        }
        loop {
            let read = match self.at {
                Some(at) => self.file.read_at(room, at),
                None => self.file.read(room),
            };
            match read {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.at = self.at.map(|at| at.saturating_add(n as u64));
                    return Ok(n);
                }
                Err(err) => return Err(err),
            }
        }
    }
}

/// The size of a file; nothing else has one.
fn size(file: &File) -> Option<u64> {
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file);
    meta.map(|meta| meta.len())
}
