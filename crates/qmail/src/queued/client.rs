//! One connection: what it has said so far and what it is still to hear.

use std::os::fd::OwnedFd;
use std::time::Duration;

use base::limits;
use base::wire::queue::Origin;
use store::queue::Spill;
use sys::pass::Peer;
use sys::poll::Interest;

use super::outbox::Outbox;

/// Answers a client may let wait before it is heard again.
const UNSENT: usize = 1 << 20;

/// A letter being handed in.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) origin: Origin,
    pub(super) bytes: Gathered,
}

/// The bytes of that letter so far.
#[derive(Debug)]
pub(super) enum Gathered {
    Memory(Vec<u8>),
    File(Spill<OwnedFd>),
    /// It will be refused with this text; the rest is read and dropped.
    Refused(&'static [u8]),
}

/// A list that is being sent to a client, as fast as the client takes it; an `End` comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Letters above `sent` and below `boundary`.
    Letters { sent: u64, boundary: u64 },
    /// The failure paragraphs of a letter, from this recipient on.
    Paragraphs { id: u64, from: u32 },
}

/// Letters that a client wants to hear of for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Following {
    /// Up to here they were sent.
    pub(super) sent: u64,
    /// Those below are old, and after them comes an `End`.
    pub(super) boundary: u64,
    /// That `End` was sent.
    pub(super) ended: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) sock: OwnedFd,
    pub(super) peer: Peer,
    pub(super) inbox: Vec<u8>,
    pub(super) out: Outbox,
    /// Answers that wait for this turn's write or sync.
    pub(super) held: Outbox,
    /// How many of those say that a letter is on disk.
    pub(super) promises: u32,
    pub(super) letter: Option<Gathering>,
    pub(super) listing: Option<Listing>,
    pub(super) following: Option<Following>,
    /// To be closed once all answers are sent.
    pub(super) closing: bool,
    /// It has hung up; what it said before is still being read.
    pub(super) gone: bool,
    /// Since when its letter has been coming, or it has been idle.
    pub(super) since: Duration,
    pub(super) interest: Interest,
}

impl Client {
    pub(super) fn new(sock: OwnedFd, peer: Peer, now: Duration) -> Self {
        Self {
            sock,
            peer,
            inbox: Vec::new(),
            out: Outbox::default(),
            held: Outbox::default(),
            promises: 0,
            letter: None,
            listing: None,
            following: None,
            closing: false,
            gone: false,
            since: now,
            interest: Interest::READ,
        }
    }

    /// Bytes of our memory that it occupies by what it said.
    pub(super) fn weight(&self) -> usize {
        let letter = match &self.letter {
            Some(Gathering { bytes: Gathered::Memory(bytes), .. }) => bytes.capacity(),
            _ => 0,
        };
        self.inbox.capacity().saturating_add(letter)
    }

    /// May it say more now? Not while a list is on its way to it (answers stay in order), nor
    /// while it does not read its answers.
    pub(super) fn is_heard(&self) -> bool {
        !self.closing && self.out.waiting() <= UNSENT && self.listing.is_none()
    }

    /// Is a list on its way to it?
    pub(super) fn is_streaming(&self) -> bool {
        self.listing.is_some() || self.following.is_some()
    }

    /// What to wait for.
    pub(super) fn wants(&self) -> Interest {
        Interest { read: self.is_heard(), write: !self.out.is_empty() }
    }

    /// The longest frame it may send now: an envelope only after a letter has begun.
    pub(super) fn frame_limit(&self) -> usize {
        if self.letter.is_some() { limits::LOGGED_ENVELOPE } else { limits::CHUNK }
    }

    /// Is it over its time? A follower may be silent for ever, and so may qmail-send's others.
    pub(super) fn is_late(&self, now: Duration, ours: bool) -> bool {
        let waits = self.letter.is_some() || !ours;
        waits
            && !self.is_streaming()
            && now.saturating_sub(self.since).as_secs() > limits::QUEUED_SECONDS
    }
}
