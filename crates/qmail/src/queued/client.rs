//! One connection: what it has said so far and what it is still to hear.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::limits;
use base::wire::queue::{Answer, Origin};
use store::queue::Spill;
use sys::pass::Peer;
use sys::poll::Interest;

use super::moving::Past;
use super::outbox::Outbox;

/// Answers a client may let wait before it is heard again.
const UNSENT: usize = 1 << 20;
/// Descriptors likewise.
const UNSENT_DESCRIPTORS: usize = 64;
/// Bytes of an empty inbox that are kept.
const KEPT: usize = 8 << 10;

/// A letter being handed in.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) origin: Origin,
    pub(super) bytes: Gathered,
    /// All of it has come and its file is being secured: the envelope waits.
    pub(super) envelope: Option<Vec<u8>>,
    /// It comes from another queue.
    pub(super) past: Option<Box<Past>>,
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
    /// Held letters above `sent` and below `boundary`.
    Held { sent: u64, boundary: u64 },
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

/// What must have happened before an answer may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Nothing.
    Now,
    /// The log is written up to this record.
    Written(u64),
    /// The log is on disk up to this record.
    Synced(u64),
}

/// An answer that waits for that; answers stay in order.
#[derive(Debug)]
struct Held {
    until: Until,
    answer: Answer<'static>,
    fd: Option<OwnedFd>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) sock: OwnedFd,
    pub(super) peer: Peer,
    pub(super) inbox: Vec<u8>,
    /// There is something in the inbox that was not looked at, because it was not heard then.
    pub(super) unheard: bool,
    pub(super) out: Outbox,
    held: VecDeque<Held>,
    pub(super) letter: Option<Gathering>,
    /// Its large letter is on its way to the disk; until then it is not heard.
    pub(super) securing: bool,
    pub(super) listing: Option<Listing>,
    pub(super) following: Option<Following>,
    /// It has handed in a letter.
    pub(super) hands_in: bool,
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
            unheard: false,
            out: Outbox::default(),
            held: VecDeque::new(),
            letter: None,
            securing: false,
            listing: None,
            following: None,
            hands_in: false,
            closing: false,
            gone: false,
            since: now,
            interest: Interest::READ,
        }
    }

    /// Keeps an answer until it may go out, behind those that wait already.
    pub(super) fn hold(&mut self, until: Until, answer: Answer<'static>, fd: Option<OwnedFd>) {
        self.held.push_back(Held { until, answer, fd });
    }

    /// Does any answer wait for the log?
    pub(super) fn waits(&self) -> bool {
        !self.held.is_empty()
    }

    /// Does any wait for it to be written farther than this?
    pub(super) fn waits_for_write(&self, written: u64) -> bool {
        self.held.iter().any(|held| matches!(held.until, Until::Written(at) if at > written))
    }

    /// Lets out the answers that may go, now that the log has come so far.
    pub(super) fn release(&mut self, written: u64, synced: u64) {
        while let Some(held) = self.held.pop_front_if(|held| match held.until {
            Until::Now => true,
            Until::Written(at) => at <= written,
            Until::Synced(at) => at <= synced,
        }) {
            match held.fd {
                Some(fd) => self.out.push_with(&held.answer, fd),
                None => self.out.push(&held.answer),
            }
        }
    }

    /// Nothing can be promised any more: every letter it waits for is refused instead.
    pub(super) fn refuse(&mut self, refusal: &Answer<'_>) {
        for held in std::mem::take(&mut self.held) {
            if matches!(held.answer, Answer::Accepted(_) | Answer::Refused(..)) {
                self.out.push(refusal);
            }
        }
    }

    /// What was taken out of its inbox goes.
    pub(super) fn taken(&mut self, len: usize) {
        if len >= self.inbox.len() {
            self.inbox.clear();
            self.inbox.shrink_to(KEPT);
        } else if len > 0 {
            self.inbox.drain(..len);
        }
    }

    /// Bytes of our memory that it occupies by what it said.
    pub(super) fn weight(&self) -> usize {
        let letter = match &self.letter {
            Some(Gathering { bytes: Gathered::Memory(bytes), .. }) => bytes.capacity(),
            Some(Gathering { envelope: Some(envelope), .. }) => envelope.capacity(),
            _ => 0,
        };
        let past = self.letter.as_ref().and_then(|letter| letter.past.as_ref());
        let past = past.map_or(0, |past| past.weight());
        self.inbox.capacity().saturating_add(letter).saturating_add(past)
    }

    /// May it say more now? Not while a list is on its way to it (answers stay in order), while it
    /// does not read its answers, or while its large letter is on its way to the disk.
    pub(super) fn is_heard(&self) -> bool {
        !self.closing
            && !self.securing
            && self.out.waiting() <= UNSENT
            && self.out.descriptors() <= UNSENT_DESCRIPTORS
            && self.listing.is_none()
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
