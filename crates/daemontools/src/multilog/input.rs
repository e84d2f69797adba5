//! Reading the input so that being killed loses no line: bytes in a pipe are looked at first and
//! taken out only when they are in `current`. Killed in between, multilog's successor writes a few
//! lines a second time; none is missing.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use sys::{fd, tee};

/// Bytes looked at in one go.
const ROOM: usize = 64 << 10;

/// The input on descriptor 0.
#[derive(Debug)]
pub(super) struct Input {
    /// Our own pipe, into which the other is copied; `None` if the input is no pipe.
    mirror: Option<(OwnedFd, OwnedFd)>,
    buf: Vec<u8>,
    /// Bytes in `buf`.
    filled: usize,
}

impl Input {
    /// Prepares to read.
    pub(super) fn new() -> Self {
        let mirror = fd::pipe().ok().filter(|(_, write)| {
            // Less capacity is no trouble: then the other pipe is seen piece by piece.
            tee::match_capacity(write, fd::stdin()).is_ok() || is_pipe()
        });
        Input { mirror, buf: vec![0; ROOM], filled: 0 }
    }

    /// Whether bytes stay in the pipe until `consume`.
    pub(super) fn peeks(&self) -> bool {
        self.mirror.is_some()
    }

    /// Reads, or looks; false at the end of input. What is there is `bytes`, perhaps nothing.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        self.filled = 0;
        let Some((read, write)) = &self.mirror else {
            self.filled = fd::read(fd::stdin(), &mut self.buf)?;
            return Ok(self.filled > 0);
        };
        let seen = match tee::tee(fd::stdin(), write, ROOM) {
            Ok(0) => return Ok(false),
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        while self.filled < seen {
            let room = self.buf.get_mut(self.filled..seen).unwrap_or_default();
            self.filled = self.filled.saturating_add(fd::read(read, room)?);
        }
        // A line still incomplete stays where it is, unless it is all there is: then waiting for
        // the rest would be waiting for what is there already.
        let seen = self.buf.get(..seen).unwrap_or_default();
        if let Some(last) = seen.iter().rposition(|&byte| byte == b'\n') {
            self.filled = last.saturating_add(1);
        }
        Ok(true)
    }

    /// What was read and is to be dealt with.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buf.get(..self.filled).unwrap_or_default()
    }

    /// Takes `bytes` out of the pipe: they are safe.
    pub(super) fn consume(&mut self) -> io::Result<()> {
        while self.peeks() && self.filled > 0 {
            let room = self.buf.get_mut(..self.filled).unwrap_or_default();
            match fd::read(fd::stdin(), room)? {
                0 => break,
                taken => self.filled = self.filled.saturating_sub(taken),
            }
        }
        self.filled = 0;
        Ok(())
    }
}

/// Whether descriptor 0 is a pipe at all.
fn is_pipe() -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata("/dev/fd/0").is_ok_and(|meta| meta.file_type().is_fifo())
}
