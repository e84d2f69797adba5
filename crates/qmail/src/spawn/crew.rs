//! Processes that make several deliveries one after another, each for one key (a recipient, a
//! host), over a channel of messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use sys::{fd, pass};

use super::Desk;

/// A member's channel, which is watched: before anybody has the other end, since who has it may
/// deliver.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    token: u64,
}

impl Channel {
    /// Watches it.
    ///
    /// # Errors
    /// It cannot be watched.
    pub(crate) fn watched(fd: OwnedFd, desk: &mut Desk) -> io::Result<Self> {
        fd::set_nonblocking(&fd, true)?;
        let token = desk.watch(&fd)?;
        Ok(Self { fd, token })
    }

    /// Hangs up: nobody has got the other end.
    pub(crate) fn unused(self, desk: &Desk) {
        desk.forget(self.fd);
    }
}

/// One of the crew.
#[derive(Debug)]
pub(crate) struct Member<J> {
    pub(crate) key: Vec<u8>,
    channel: OwnedFd,
    /// Jobs it was handed and has not ended, in order.
    pub(crate) jobs: VecDeque<J>,
    /// Deliveries it has made that are not over.
    pub(crate) waiting: u32,
    /// The device it delivers to, once it has said so.
    pub(crate) device: Option<u64>,
    /// It takes further jobs.
    pub(crate) open: bool,
    /// Jobs it was handed in all.
    pub(crate) given: u32,
    /// When it came.
    pub(crate) hired: Duration,
    /// When it was last handed something or said something.
    pub(crate) since: Duration,
}

impl<J> Member<J> {
    /// Nothing is to be done, and nothing waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.waiting == 0
    }

    /// Receives one message; `None` if there is none now, length 0 if the member is gone. What we
    /// have no room for among our descriptors does not come; that is no fault of the member's.
    pub(crate) fn hear(&self, room: &mut [u8]) -> Option<(usize, Vec<OwnedFd>)> {
        match pass::recv_with_or_without(&self.channel, room, 1) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => None,
            heard => Some(heard.unwrap_or_default()),
        }
    }

    /// Sends one message; never waits.
    ///
    /// # Errors
    /// It is gone, or does not read: do without it.
    pub(crate) fn say(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        pass::send(&self.channel, message, fds).map(drop)
    }
}

/// All members by token, and whom there is for a key.
#[derive(Debug)]
pub(crate) struct Crew<J> {
    members: BTreeMap<u64, Member<J>>,
    keys: BTreeMap<Vec<u8>, BTreeSet<u64>>,
}

impl<J> Crew<J> {
    pub(crate) const fn new() -> Self {
        Self { members: BTreeMap::new(), keys: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Member<J>)> {
        self.members.iter().map(|(token, member)| (*token, member))
    }

    pub(crate) fn get(&mut self, token: u64) -> Option<&mut Member<J>> {
        self.members.get_mut(&token)
    }

    /// A new member, which has its first job already. The token of its channel.
    pub(crate) fn hire(&mut self, key: &[u8], channel: Channel, job: J, now: Duration) -> u64 {
        let Channel { fd: channel, token } = channel;
        let (key, jobs) = (key.to_vec(), VecDeque::from([job]));
        self.keys.entry(key.clone()).or_default().insert(token);
        let member = Member {
            key,
            channel,
            jobs,
            waiting: 0,
            device: None,
            open: false,
            given: 1,
            hired: now,
            since: now,
        };
        self.members.insert(token, member);
        token
    }

    /// The first member of the key that `fits`.
    pub(crate) fn find(&self, key: &[u8], fits: impl Fn(&Member<J>) -> bool) -> Option<u64> {
        let tokens = self.keys.get(key)?;
        tokens.iter().copied().find(|token| self.members.get(token).is_some_and(&fits))
    }

    /// Takes a member out and hangs up; what it had is the caller's to look after.
    pub(crate) fn dismiss(&mut self, token: u64, desk: &Desk) -> Option<Member<J>> {
        let member = self.members.remove(&token)?;
        desk.forget(&member.channel);
        if let Some(tokens) = self.keys.get_mut(&member.key) {
            tokens.remove(&token);
            if tokens.is_empty() {
                self.keys.remove(&member.key);
            }
        }
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::pass::Kind;

    #[test]
    fn a_member_is_found_by_its_key_until_it_is_dismissed() {
        let mut desk = Desk::new(9, 120).unwrap();
        let mut crew = Crew::new();
        let (ours, theirs) = pass::pair(Kind::Seqpacket).unwrap();
        let ours = Channel::watched(ours, &mut desk).unwrap();
        let token = crew.hire(b"a@b", ours, 7, Duration::ZERO);
        assert_eq!(crew.find(b"a@b", |member| !member.open), Some(token));
        assert_eq!(crew.find(b"a@b", |member| member.open), None);
        assert_eq!(crew.find(b"a@c", |_| true), None);
        let member = crew.get(token).unwrap();
        assert!(member.hear(&mut [0; 9]).is_none());
        member.say(b"job", &[]).unwrap();
        pass::send(&theirs, b"done", &[]).unwrap();
        assert_eq!(member.hear(&mut [0; 9]).unwrap().0, 4);
        drop(theirs);
        assert_eq!(member.hear(&mut [0; 9]).unwrap().0, 0);
        assert_eq!(crew.dismiss(token, &desk).unwrap().jobs, [7]);
        assert!(crew.find(b"a@b", |_| true).is_none() && crew.len() == 0);
    }

    #[test]
    fn a_channel_that_cannot_be_watched_is_no_channel_before_anybody_is_hired() {
        let mut desk = Desk::new(9, 120).unwrap();
        // No file's bytes are waited for.
        let file = fd::memfd("unwatched", b"").unwrap();
        assert!(Channel::watched(file, &mut desk).is_err());
        let (ours, theirs) = pass::pair(Kind::Seqpacket).unwrap();
        Channel::watched(ours, &mut desk).unwrap().unused(&desk);
        assert_eq!(pass::recv(&theirs, &mut [0; 9], 0).unwrap().0, 0);
    }
}
