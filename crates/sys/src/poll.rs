//! Waiting for many descriptors at once.

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Something to read, a connection to accept, or the end.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Reading only.
    pub const READ: Self = Self { read: true, write: false };
    /// Writing only.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both.
    pub const BOTH: Self = Self { read: true, write: true };
    /// Nothing but hangups.
    pub const NONE: Self = Self { read: false, write: false };
}

/// What happened on one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number given with `add`.
    pub token: u64,
    /// A read will not wait (data or end).
    pub readable: bool,
    /// A write will not wait.
    pub writable: bool,
    /// The other side is gone, or the descriptor is in error.
    pub hangup: bool,
}

/// Readable when there are events.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many events one `wait` returns at most; the rest come with the next.
const EVENTS: usize = 64;

/// A set of descriptors to wait for (epoll, level-triggered).
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Adds a descriptor; its events will carry `token`.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Adds a descriptor of which only changes are told: that more has come to read, or the hangup
    /// (edge-triggered). How it is now counts as a change.
    pub fn add_changes(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(token), flags)?)
    }

    /// Changes what a descriptor of the set is waited for.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, fd, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Takes a descriptor out; do so before closing it if it has duplicates.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits for events, at most for `limit` (`None`: without end), and puts them into `events`,
    /// which is emptied first. No event: the time is up, or a signal came.
    pub fn wait(&self, events: &mut Vec<Event>, limit: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut room = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; EVENTS];
        let limit = limit.map(timespec);
        match epoll::wait(&self.fd, &mut room[..], limit.as_ref()) {
            Ok(count) => events.extend(room.iter().take(count).map(|&event| said(event))),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Which of a few descriptors are ready (or at their end, or in error), in their order.
/// All `false`: the time is up, or a signal came.
pub fn ready(
    fds: &[BorrowedFd<'_>],
    interest: Interest,
    limit: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let each: Vec<_> = fds.iter().map(|&fd| (fd, interest)).collect();
    ready_each(&each, limit)
}

/// The same, each waited for in its own way.
pub fn ready_each(
    fds: &[(BorrowedFd<'_>, Interest)],
    limit: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let wanted = |interest: Interest| {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, interest.read);
        wanted.set(PollFlags::OUT, interest.write);
        wanted
    };
    let mut list: Vec<PollFd<'_>> =
        fds.iter().map(|&(fd, i)| PollFd::from_borrowed_fd(fd, wanted(i))).collect();
    match rustix::event::poll(&mut list, limit.map(timespec).as_ref()) {
        Ok(_) => Ok(list.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(rustix::io::Errno::INTR) => Ok(vec![false; fds.len()]),
        Err(error) => Err(error.into()),
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags
}

fn said(event: epoll::Event) -> Event {
    let flags = event.flags;
    let hangup = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
    Event {
        token: event.data.u64(),
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        hangup,
    }
}

/// A wait for the kernel; more than a day is cut to a day, so that no sum can overflow.
fn timespec(limit: Duration) -> Timespec {
    let secs = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).min(86_400);
    Timespec { tv_sec: secs, tv_nsec: limit.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;

    #[test]
    fn a_pipe_with_a_byte_is_readable_under_its_token() {
        let (read_end, write_end) = fd::pipe().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&read_end, 7, Interest::READ).unwrap();
        let mut events = Vec::new();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        fd::write_all(&write_end, b"x").unwrap();
        poller.wait(&mut events, None).unwrap();
        assert_eq!(events.len(), 1);
        assert!(events.iter().all(|event| event.token == 7 && event.readable && !event.hangup));
    }

    #[test]
    fn a_closed_writer_is_a_hangup() {
        let (read_end, write_end) = fd::pipe().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&read_end, 1, Interest::READ).unwrap();
        drop(write_end);
        let mut events = Vec::new();
        poller.wait(&mut events, None).unwrap();
        assert!(events.iter().all(|event| event.hangup));
        assert_eq!(ready(&[read_end.as_fd()], Interest::READ, None).unwrap(), [true]);
    }
}
