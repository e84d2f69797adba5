//! Reading the input so that being killed loses no line: bytes in a pipe are looked at first and
//! taken out only when they are in `current`. Killed in between, multilog's successor writes a few
//! lines a second time; none is missing.

use super::line::newline;
use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use sys::poll::{self, Interest, Poller};
use sys::{fd, tee};

/// Bytes looked at in one go.
pub(super) const ROOM: usize = 64 << 10;
/// A look that shows so many finds the pipe full, or nearly.
const FULL: usize = ROOM / 4 * 3;
/// After so many of them the pipe is made larger: whoever writes into it can then go on while we
/// write what we saw.
const PATIENCE: u32 = 16;
/// How large.
const LARGE: usize = 1 << 20;
/// A line that has no end yet is left in the pipe while it is shorter than this. What is longer has
/// its first bytes in `current` already (`line::HEAD`).
const KEPT: usize = 4 * super::line::HEAD;

/// The input on descriptor 0.
#[derive(Debug)]
pub(super) struct Input {
    /// `None` if the input is no pipe.
    mirror: Option<Mirror>,
    /// Bytes at the front of the pipe that we have in memory.
    owed: Cell<usize>,
    /// Bytes at the front of the pipe that were handed on and stay there until their line ends.
    ahead: Cell<usize>,
    /// Tells that more has come behind those; made when it is first needed, `None` if it cannot be.
    growth: OnceCell<Option<Poller>>,
    /// Nobody has the pipe open for writing any more, or had once: no line's end is waited for.
    ended: Cell<bool>,
    /// Looks that found it full.
    full: Cell<u32>,
    /// Lines thrown away.
    lost: Cell<u64>,
    /// The last byte thrown away was no newline.
    torn: Cell<bool>,
}

/// A pipe of our own, into which the other is copied, and where what was copied is thrown.
#[derive(Debug)]
struct Mirror {
    read: OwnedFd,
    write: OwnedFd,
    null: Option<File>,
}

impl Mirror {
    /// Whether more can be written behind the first `count` bytes of the input. A pipe is full when
    /// its slots are, however few bytes lie in each; ours has no more slots than the other.
    fn sees_room(&self, count: usize) -> io::Result<bool> {
        let seen = tee::tee(fd::stdin(), &self.write, count)?;
        let room = poll::ready(&[self.write.as_fd()], Interest::WRITE, Some(Duration::ZERO))?;
        fd::read_full(&self.read, &mut vec![0; seen])?;
        Ok(room == [true])
    }
}

impl Input {
    /// Prepares to read.
    pub(super) fn new() -> Self {
        let null = || File::options().write(true).open("/dev/null").ok();
        let mirror = fd::pipe().ok().filter(|(_, write)| {
            // Less capacity is no trouble: then the other pipe is seen piece by piece.
            tee::match_capacity(write, fd::stdin()).is_ok() || is_pipe()
        });
        Input {
            mirror: mirror.map(|(read, write)| Mirror { read, write, null: null() }),
            owed: Cell::new(0),
            ahead: Cell::new(0),
            growth: OnceCell::new(),
            ended: Cell::new(false),
            full: Cell::new(0),
            lost: Cell::new(0),
            torn: Cell::new(false),
        }
    }

    /// Whether bytes stay in the pipe until `take_out`.
    pub(super) fn peeks(&self) -> bool {
        self.mirror.is_some()
    }

    /// Reads, or looks. How many bytes are in `buf`, perhaps none; `None` at the end of input.
    pub(super) fn look(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(mirror @ Mirror { read, write, .. }) = &self.mirror else {
            let got = fd::read(fd::stdin(), buf)?;
            return Ok((got > 0).then_some(got));
        };
        let seen = match tee::tee(fd::stdin(), write, buf.len()) {
            Ok(0) => return Ok(None),
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Nothing is there, so nothing of it is known.
                self.ahead.set(0);
                return Ok(Some(0));
            }
            Err(error) => return Err(error),
        };
        let seen = buf.get_mut(..seen).unwrap_or_default();
        fd::read_full(read, seen)?;
        self.watch(seen.len());
        let ahead = self.ahead.take().min(seen.len());
        let news = seen.get(ahead..).unwrap_or_default();
        // A line still incomplete is not even handed on, unless it is all there is. Then it is, and
        // yet stays in the pipe.
        let last = news.iter().rposition(|&byte| byte == b'\n');
        let fresh = last.map_or(news.len(), |last| last.saturating_add(1));
        let handed = ahead.saturating_add(fresh);
        let may_wait = last.is_none() && handed < KEPT && !self.ended.get();
        if may_wait && self.growth().is_some() && mirror.sees_room(handed)? {
            self.ahead.set(handed);
        } else {
            self.owed.set(handed);
        }
        if ahead > 0 {
            seen.copy_within(ahead..handed, 0);
        }
        Ok(Some(fresh))
    }

    /// What is readable when a look will show something, or the end.
    pub(super) fn news(&self) -> BorrowedFd<'_> {
        match self.growth.get() {
            Some(Some(growth)) if self.ahead.get() > 0 => growth.as_fd(),
            _ => fd::stdin(),
        }
    }

    /// `news` was readable: the next time it is of something else. If it was the end, what is left
    /// has no more to wait for.
    pub(super) fn hear(&self) -> io::Result<()> {
        let Some(Some(growth)) = self.growth.get() else { return Ok(()) };
        if self.ahead.get() > 0 {
            let mut events = Vec::new();
            growth.wait(&mut events, Some(Duration::ZERO))?;
            self.ended.set(self.ended.get() || events.iter().any(|event| event.hangup));
        }
        Ok(())
    }

    /// Whether a line without end yet is in the pipe and was handed on.
    pub(super) fn holds(&self) -> bool {
        self.ahead.get() > 0
    }

    fn growth(&self) -> Option<&Poller> {
        let make = || {
            let poller = Poller::new().ok()?;
            poller.add_changes(fd::stdin(), 0).ok().map(|()| poller)
        };
        self.growth.get_or_init(make).as_ref()
    }

    /// Takes also what was handed on of a line without end yet: its rest is read otherwise.
    pub(super) fn let_go(&self) -> io::Result<()> {
        self.owed.set(self.owed.get().saturating_add(self.ahead.take()));
        self.take_out()
    }

    /// Takes what was looked at out of the pipe: it is safe.
    pub(super) fn take_out(&self) -> io::Result<()> {
        let mut owed = self.owed.take();
        while owed > 0 {
            match self.throw(owed)? {
                0 => break,
                thrown => owed = owed.saturating_sub(thrown),
            }
        }
        Ok(())
    }

    /// Throws away what waits and counts the lines; false at the end of input. What was looked at
    /// has been taken out before. Waits if nothing is there.
    pub(super) fn drop_some(&self, room: &mut [u8]) -> io::Result<bool> {
        let got = fd::read(fd::stdin(), room)?;
        let dropped = room.get(..got).unwrap_or_default();
        if let Some((last, others)) = dropped.split_last() {
            // Lines are counted where they begin.
            let first = u64::from(!self.torn.replace(*last != b'\n'));
            let more = others.iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.lost.set(self.lost.get().saturating_add(first).saturating_add(more));
        }
        Ok(got > 0)
    }

    /// How many lines were dropped that no log tells of yet.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// A log tells of so many of them.
    pub(super) fn told(&self, lost: u64) {
        self.lost.set(self.lost.get().saturating_sub(lost));
    }

    /// What is left of `bytes` without the end of a line whose beginning was dropped.
    pub(super) fn mended<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.torn.get() {
            return bytes;
        }
        let Some(at) = newline(bytes) else { return &[] };
        self.torn.set(false);
        bytes.get(at.saturating_add(1)..).unwrap_or_default()
    }

    /// Takes bytes out of the pipe, uncopied if the kernel can do that.
    fn throw(&self, max: usize) -> io::Result<usize> {
        if let Some(null) = self.mirror.as_ref().and_then(|mirror| mirror.null.as_ref()) {
            match tee::skip(fd::stdin(), null, max) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                thrown => return thrown,
            }
        }
        let mut room = [0; 4096];
        let max = max.min(room.len());
        fd::read(fd::stdin(), room.get_mut(..max).unwrap_or_default())
    }

    /// Makes the pipe larger if it was full again and again. That it cannot be is no trouble.
    fn watch(&self, seen: usize) {
        if seen >= FULL && self.full.get() < PATIENCE {
            self.full.set(self.full.get().saturating_add(1));
            if self.full.get() == PATIENCE {
                let _ = tee::enlarge(fd::stdin(), LARGE);
            }
        }
    }
}

/// Whether descriptor 0 is a pipe at all.
fn is_pipe() -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata("/dev/fd/0").is_ok_and(|meta| meta.file_type().is_fifo())
}
