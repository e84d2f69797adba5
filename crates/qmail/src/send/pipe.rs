//! The ends of pipes and sockets in a loop that never waits for one of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base::wire::Malformed;
use base::wire::frame::{self, Frame};
use sys::fd;
use sys::poll::{Interest, Poller};

/// Bytes read at once: a turn of the loop is never longer than what these hold.
const PIECE: usize = 128 << 10;

/// Bytes on their way out.
#[derive(Debug)]
pub(super) struct Outlet {
    fd: OwnedFd,
    pending: Vec<u8>,
    armed: bool,
}

impl Outlet {
    /// Makes `fd` non-blocking.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        fd::set_nonblocking(&fd, true)?;
        Ok(Self { fd, pending: Vec::new(), armed: false })
    }

    /// Adds bytes and writes what can be written now.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes what can be written now.
    ///
    /// # Errors
    /// As [`Outlet::push`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let result = loop {
            let Some(rest) = self.pending.get(sent..).filter(|rest| !rest.is_empty()) else {
                break Ok(());
            };
            match fd::write(&self.fd, rest) {
                Ok(n) => sent = sent.saturating_add(n),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(err) => break Err(err),
            }
        };
        if sent == self.pending.len() {
            self.pending.clear();
        } else {
            self.pending.drain(..sent);
        }
        result
    }

    /// Has the poller wait for room exactly while something is pending, beside `always`.
    pub(super) fn arm(&mut self, poller: &Poller, token: u64, always: Interest) -> io::Result<()> {
        let wanted = !self.pending.is_empty();
        if wanted != self.armed {
            self.armed = wanted;
            poller.change(&self.fd, token, Interest { write: wanted, ..always })?;
        }
        Ok(())
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Bytes that came in and are not yet understood.
#[derive(Debug)]
pub(super) struct Inlet {
    fd: OwnedFd,
    /// What came, and behind it room that is not cleared again for every read.
    buf: Vec<u8>,
    len: usize,
}

impl Inlet {
    /// Leaves `fd` as it is.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, buf: Vec::new(), len: 0 }
    }

    /// From now on [`Inlet::fill`] does not wait.
    pub(super) fn nonblocking(&self) -> io::Result<()> {
        fd::set_nonblocking(&self.fd, true)
    }

    /// Reads once; false at the end.
    ///
    /// # Errors
    /// The other side is gone.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.buf.len() < self.len.saturating_add(PIECE / 2) {
            self.buf.resize(self.len.saturating_add(PIECE), 0);
        }
        let result = fd::read(&self.fd, self.buf.get_mut(self.len..).unwrap_or_default());
        self.len = self.len.saturating_add(result.as_ref().map_or(0, |n| *n));
        match result {
            Ok(n) => Ok(n > 0),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(err) => Err(err),
        }
    }

    /// Takes the first whole frame and gives it to `read`; `None` if there is none yet.
    ///
    /// # Errors
    /// A frame of over `max` bytes, or `read`'s.
    pub(super) fn frame<T>(
        &mut self,
        max: usize,
        read: impl FnOnce(Frame<'_>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let mut frames = Frames { buf: self.heard(), max };
        let Some(frame) = frames.next()? else { return Ok(None) };
        let value = read(frame)?;
        let left = frames.buf.len();
        self.keep(left);
        Ok(Some(value))
    }

    /// Gives every whole frame to `read`.
    ///
    /// # Errors
    /// As [`Inlet::frame`].
    pub(super) fn frames(
        &mut self,
        max: usize,
        mut read: impl FnMut(Frame<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut frames = Frames { buf: self.heard(), max };
        while let Some(frame) = frames.next()? {
            read(frame)?;
        }
        let left = frames.buf.len();
        self.keep(left);
        Ok(())
    }

    /// Takes every byte.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        let heard = self.heard().to_vec();
        self.keep(0);
        heard
    }

    fn heard(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// Only the last `left` bytes are still to be understood. Room that one big entry took is
    /// given back.
    fn keep(&mut self, left: usize) {
        let used = self.len.saturating_sub(left);
        if used > 0 && left > 0 {
            self.buf.copy_within(used..self.len, 0);
        }
        self.len = left;
        if self.buf.len() > 4 * PIECE && left < PIECE {
            self.buf.truncate(PIECE);
            self.buf.shrink_to_fit();
        }
    }
}

impl AsFd for Inlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The whole frames at the front of a buffer.
struct Frames<'a> {
    buf: &'a [u8],
    max: usize,
}

impl<'a> Frames<'a> {
    fn next(&mut self) -> Result<Option<Frame<'a>>, Malformed> {
        let found = frame::take(self.buf, self.max)?;
        Ok(found.map(|(frame, used)| {
            self.buf = self.buf.get(used..).unwrap_or_default();
            frame
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_a_pipe_that_is_too_small_for_them() {
        let (read, write) = fd::pipe().unwrap();
        let (mut inlet, mut outlet) = (Inlet::new(read), Outlet::new(write).unwrap());
        inlet.nonblocking().unwrap();
        let mut sent = Vec::new();
        for tag in b'a'..=b'z' {
            frame::put(&mut sent, tag, |body| body.extend([tag; 20_000]));
        }
        outlet.push(&sent).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 26 {
            assert!(inlet.fill().unwrap());
            inlet
                .frames(20_000, |frame| {
                    assert!(frame.body.iter().all(|&byte| byte == frame.tag));
                    seen.push(frame.tag);
                    Ok(())
                })
                .unwrap();
            outlet.flush().unwrap();
        }
        assert!(seen.into_iter().eq(b'a'..=b'z'));
        drop(outlet);
        assert!(!inlet.fill().unwrap());
    }

    #[test]
    fn an_announced_frame_that_is_too_long_is_refused_before_it_came() {
        let (read, write) = fd::pipe().unwrap();
        let mut inlet = Inlet::new(read);
        Outlet::new(write).unwrap().push(&[b'x', 255, 255, 0, 0]).unwrap();
        inlet.fill().unwrap();
        assert!(inlet.frame(100, |_| Ok(())).is_err());
    }
}
