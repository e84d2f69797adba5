//! The receiving side of SMTP as a machine: [`Session`] is fed an [`Input`] and says which
//! [`Action`]s to take; [`Framing`] makes inputs out of bytes; whoever drives them reads, looks
//! things up, talks to the queue, and writes.

mod framing;
#[cfg(test)]
mod model;
mod session;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::outcome::Outcome;

pub use self::framing::Framing;
pub use self::session::Session;
use super::command::OwnAddresses;
use super::reply::Reply;
use crate::dot::Stray;

/// What a session is told about this host and this client. Nothing here changes while it lasts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `control/smtpgreeting`.
    pub greeting: Vec<u8>,
    /// `control/badmailfrom`.
    pub bad_senders: BadSenders,
    /// `$DATABYTES` or `control/databytes`: the largest body in bytes; 0 is no limit.
    pub databytes: u64,
    /// `$RELAYCLIENT`: this client may send anywhere, and every recipient gets this suffix.
    pub relay: Option<Vec<u8>>,
    /// What `[192.0.2.1]` stands for.
    pub own: OwnAddresses,
}

/// `control/badmailfrom`: senders and `@domain`s whose letters nobody wants. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct BadSenders(Arc<BTreeSet<Vec<u8>>>);

impl BadSenders {
    /// Takes the lines of the file.
    pub fn new<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        Self(Arc::new(lines.map(<[u8]>::to_ascii_lowercase).collect()))
    }

    /// Whether the sender, or `@` and its domain, is listed; case does not matter.
    pub fn list(&self, sender: &[u8]) -> bool {
        let sender = sender.to_ascii_lowercase();
        let domain = sender.iter().rposition(|&c| c == b'@').and_then(|at| sender.get(at..));
        self.0.contains(&sender) || domain.is_some_and(|domain| self.0.contains(domain))
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A command line.
    Line(&'a [u8]),
    /// A command line over the limit has gone by.
    TooLong,
    /// A command line does not end.
    Endless,
    /// The next bytes of the letter, decoded.
    Data(&'a [u8]),
    /// The letter has ended.
    End,
    /// The letter holds a line end that is none.
    Stray(Stray),
    /// The answer to the last [`Action::Ask`], [`Action::Begin`] or [`Action::Commit`].
    Answer(Verdict),
    /// The client was silent, or did not listen, for too long; or the session is too old.
    Deadline,
    /// The same, for a client that was waited for less long because places are short.
    Hurried,
    /// The client is gone.
    Eof,
}

/// What a session waits for: the inputs that make sense besides [`Input::Deadline`],
/// [`Input::Hurried`] and [`Input::Eof`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// [`Input::Line`], [`Input::TooLong`] or [`Input::Endless`].
    Line,
    /// [`Input::Data`], [`Input::End`] or [`Input::Stray`].
    Data,
    /// [`Input::Answer`].
    Answer,
    /// Nothing: it is over.
    Nothing,
}

/// What the machine cannot know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whether a recipient is welcome.
    Recipient(Welcome),
    /// The queue takes a letter.
    Begun,
    /// The queue cannot be started.
    NoQueue,
    /// The letter is on disk.
    Queued {
        /// When, in seconds since the epoch.
        secs: u64,
        /// The process that queued it.
        pid: u32,
    },
    /// The letter is not on disk, or the queue will not begin one.
    Refused(Outcome, Vec<u8>),
}

/// Whether a recipient is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It is.
    Yes,
    /// Its domain is not ours.
    NotOurs,
    /// Its domain is ours, but there is no such mailbox.
    NoMailbox,
    /// It cannot be said now; the client shall come again.
    Unsure,
    /// A control file cannot be read: the session ends.
    NoControls,
}

/// Something only the driver can find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client send to this address, and is there such a mailbox?
    Recipient {
        /// The address, `$RELAYCLIENT` appended.
        address: Vec<u8>,
        /// The client may send anywhere: only the mailbox is in question.
        relay: bool,
    },
}

/// What to do now, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say this (it may wait in a buffer until input is awaited).
    Reply(Reply),
    /// Find this out and come back with [`Input::Answer`].
    Ask(Question),
    /// Begin a letter: start with our `Received` line. Answer with
    /// [`Verdict::Begun`], [`Verdict::NoQueue`] or [`Verdict::Refused`].
    Begin {
        /// The name the client gave with HELO or EHLO, if it did.
        helo: Option<Vec<u8>>,
    },
    /// Pass the bytes of this [`Input::Data`] on to the queue.
    Body,
    /// Make the letter final. Answer with [`Verdict::Queued`] or [`Verdict::Refused`].
    Commit {
        /// Sender and recipients, each ended by a NUL.
        envelope: Vec<u8>,
    },
    /// Forget the letter that was begun.
    Abort,
    /// Write out what is buffered, and end.
    Close(Ending),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With QUIT: exit 0.
    Quit,
    /// Otherwise: exit 1.
    Broken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_senders_are_addresses_or_domains_in_any_case() {
        let lines: [&[u8]; 3] = [b"Spam@Example.org", b"@bad.example", b"plain"];
        let bad = BadSenders::new(lines.into_iter());
        for sender in ["spam@example.ORG", "any@BAD.example", "a@b@bad.example", "PLAIN"] {
            assert!(bad.list(sender.as_bytes()), "{sender}");
        }
        for sender in ["", "ham@example.org", "a@not.bad.example", "a@bad.example.org"] {
            assert!(!bad.list(sender.as_bytes()), "{sender}");
        }
    }
}
