//! Clients that keep coming: the child that has served one serves its next connection too, and no
//! other client's, ever.
//!
//! A fork, the pages its child touches and its end cost more than a short session does. So a client
//! (one address) whose sessions have lately ended well gets a child with a line to us, which says
//! when it is free; for a second from its start it may be given connections of the same address.

use super::source::Source;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use sys::brood::{Heard, Regular};
use sys::poll::{Interest, Poller};

/// How long after its start a child gets connections: it knows what its clean parent knew then.
const LIFE: Duration = Duration::from_secs(1);
/// Children with a line, at most.
const LIMIT: usize = 100;
/// Addresses that are remembered as regulars'.
const REMEMBERED: usize = 64;

/// A child with a line.
#[derive(Debug)]
struct Child {
    line: Regular,
    /// The number its clean parent knows it by.
    serial: u64,
    from: IpAddr,
    begun: Instant,
}

/// The children that may serve their client again.
#[derive(Debug)]
pub(super) struct Regulars {
    poller: Rc<Poller>,
    by_pid: BTreeMap<u32, Child>,
    /// Those that serve nobody just now, the oldest first.
    free: BTreeSet<(Instant, u32)>,
    /// Whose sessions have ended well lately.
    remembered: VecDeque<IpAddr>,
}

impl Regulars {
    /// Nobody yet.
    pub(super) fn new(poller: Rc<Poller>) -> Self {
        let (by_pid, free, remembered) = Default::default();
        Self { poller, by_pid, free, remembered }
    }

    /// Whether the next child for this address is worth a line.
    pub(super) fn wants(&self, from: IpAddr) -> bool {
        self.by_pid.len() < LIMIT && self.remembered.contains(&from)
    }

    /// A session from there has ended well.
    pub(super) fn remember(&mut self, from: IpAddr) {
        if !self.remembered.contains(&from) {
            self.remembered.truncate(REMEMBERED.saturating_sub(1));
            self.remembered.push_front(from);
        }
    }

    /// A child with a line has been forked.
    pub(super) fn admit(&mut self, pid: u32, serial: u64, from: IpAddr, line: Regular) {
        // Without room in the poller it serves its first connection, and goes.
        if self.poller.add(line.fd(), Source::Regular(pid).number(), Interest::READ).is_ok() {
            self.by_pid.insert(pid, Child { line, serial, from, begun: Instant::now() });
        }
    }

    /// Gives a connection to a free child of its address: the youngest, whose memory is warmest.
    /// The child's pid and serial number.
    pub(super) fn seat(
        &mut self,
        from: IpAddr,
        payload: &[u8],
        connection: &OwnedFd,
    ) -> Option<(u32, u64)> {
        loop {
            let same = |(_, pid): &&(Instant, u32)| {
                self.by_pid.get(pid).is_some_and(|child| child.from == from)
            };
            let (begun, pid) = self.free.iter().rev().find(same).copied()?;
            self.free.remove(&(begun, pid));
            let child = self.by_pid.get(&pid)?;
            if child.line.hand_over(payload, connection.as_fd()).is_ok() {
                return Some((pid, child.serial));
            }
            self.part(pid);
        }
    }

    /// A line has something: the serial number of a child that has become free.
    pub(super) fn hear(&mut self, pid: u32, now: Instant) -> Option<u64> {
        let child = self.by_pid.get(&pid)?;
        let (serial, until) = (child.serial, child.begun.checked_add(LIFE));
        match child.line.heard() {
            Heard::Nothing => return None,
            Heard::Free if until.is_some_and(|until| now < until) => {
                self.free.insert((child.begun, pid));
            }
            Heard::Free => self.part(pid),
            Heard::Gone => {
                self.part(pid);
                return None;
            }
        }
        Some(serial)
    }

    /// Lets a child go.
    pub(super) fn part(&mut self, pid: u32) {
        if let Some(child) = self.by_pid.remove(&pid) {
            self.free.remove(&(child.begun, pid));
            let _ = self.poller.remove(child.line.fd());
        }
    }

    /// Lets all go: what their clean parent knew holds no more, or it is gone.
    pub(super) fn part_with_all(&mut self) {
        while let Some(pid) = self.by_pid.keys().next().copied() {
            self.part(pid);
        }
    }

    /// When the next one has to go that is free.
    pub(super) fn due(&self) -> Option<Instant> {
        self.free.first().and_then(|(begun, _)| begun.checked_add(LIFE))
    }

    /// Lets those go whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, pid)) = self.free.first().copied()
            && self.due().is_none_or(|due| due <= now)
        {
            self.part(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Children of two addresses, their ends of the lines, by pid.
    fn stage() -> (Regulars, BTreeMap<u32, OwnedFd>) {
        let mut regulars = Regulars::new(Rc::new(Poller::new().unwrap()));
        let mut ends = BTreeMap::new();
        for pid in 1..=4 {
            let (line, theirs) = Regular::open().unwrap();
            regulars.admit(pid, u64::from(pid) * 10, ip(pid % 2), line);
            ends.insert(pid, theirs);
        }
        (regulars, ends)
    }

    fn ip(last: u32) -> IpAddr {
        IpAddr::from([192, 0, 2, u8::try_from(last).unwrap()])
    }

    fn becomes_free(regulars: &mut Regulars, end: &OwnedFd, pid: u32) -> Option<u64> {
        sys::pass::send(end, b"free", &[]).unwrap();
        regulars.hear(pid, Instant::now())
    }

    #[test]
    fn a_child_gets_only_connections_of_its_address_and_one_at_a_time() {
        let (mut regulars, ends) = stage();
        let (_, sock) = sys::fd::pipe().unwrap();
        assert_eq!(regulars.seat(ip(1), b"x", &sock), None);
        assert_eq!(becomes_free(&mut regulars, &ends[&1], 1), Some(10));
        assert_eq!(becomes_free(&mut regulars, &ends[&2], 2), Some(20));
        assert_eq!(regulars.seat(ip(1), b"x", &sock), Some((1, 10)));
        assert_eq!(regulars.seat(ip(1), b"x", &sock), None);
        assert_eq!(regulars.seat(ip(0), b"x", &sock), Some((2, 20)));
        assert_eq!(becomes_free(&mut regulars, &ends[&1], 1), Some(10));
        assert_eq!(regulars.seat(ip(1), b"x", &sock), Some((1, 10)));
    }

    #[test]
    fn a_child_that_is_gone_gets_nothing() {
        let (mut regulars, mut ends) = stage();
        let (_, sock) = sys::fd::pipe().unwrap();
        for pid in [1, 3] {
            becomes_free(&mut regulars, &ends[&pid], pid);
        }
        ends.remove(&3);
        assert_eq!(regulars.seat(ip(1), b"x", &sock), Some((1, 10)));
        assert_eq!(regulars.by_pid.len(), 3);
        ends.remove(&2);
        assert_eq!(regulars.hear(2, Instant::now()), None);
        assert_eq!(regulars.by_pid.len(), 2);
    }

    #[test]
    fn a_child_goes_when_its_second_is_over() {
        let (mut regulars, ends) = stage();
        for pid in [1, 2] {
            becomes_free(&mut regulars, &ends[&pid], pid);
        }
        regulars.expire(Instant::now());
        assert_eq!(regulars.by_pid.len(), 4);
        let due = regulars.due().unwrap();
        regulars.expire(due + LIFE);
        assert_eq!((regulars.by_pid.len(), regulars.due()), (2, None));
        sys::pass::send(&ends[&3], b"free", &[]).unwrap();
        assert_eq!(regulars.hear(3, due + LIFE), Some(30));
        regulars.part_with_all();
        assert!(regulars.by_pid.is_empty() && regulars.free.is_empty());
        for end in ends.values() {
            assert_eq!(sys::pass::recv(end, &mut [0; 9], 0).unwrap().0, 0);
        }
    }

    #[test]
    fn addresses_are_remembered_up_to_a_number() {
        let mut regulars = Regulars::new(Rc::new(Poller::new().unwrap()));
        assert!(!regulars.wants(ip(0)));
        for last in 0..=64 {
            regulars.remember(ip(last));
            regulars.remember(ip(last));
        }
        assert!(!regulars.wants(ip(0)) && regulars.wants(ip(1)) && regulars.wants(ip(64)));
        assert_eq!(regulars.remembered.len(), REMEMBERED);
    }
}
