//! Speaking to queued: one blocking connection, every wait with an end.
//!
//! A letter is [`begin`](QueueClient::begin), any number of [`chunk`](QueueClient::chunk)s, then
//! [`commit`](QueueClient::commit), which returns the letter's number once it is on disk. queued
//! itself writes the `Received` line on top. qmail-send uses the same connection differently:
//! [`ask`](QueueClient::ask) anything and take answers with [`next`](QueueClient::next).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use base::outcome::Outcome;
use base::wire::queue::{Answer, Entry, Envelope, Origin, Request};

use crate::home::Home;

/// Why a letter was not queued: in the words of spec `qmail-overview.md` §6.2, without the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `Later` or `Never`.
    pub outcome: Outcome,
    /// Such as `qq write error or disk full (#4.3.0)`; at most [`base::limits::QUEUE_TEXT`] bytes.
    pub text: Vec<u8>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Refusal {}

impl From<io::Error> for Refusal {
    /// queued cannot be reached or has gone away: `qq trouble creating files in queue (#4.3.0)`.
    fn from(_: io::Error) -> Self {
        let text = b"qq trouble creating files in queue (#4.3.0)".to_vec();
        Self { outcome: Outcome::Later, text }
    }
}

/// A connection to queued.
#[derive(Debug)]
pub struct QueueClient {
    socket: OwnedFd,
}

impl QueueClient {
    /// Connects to the queued of a home; waits at most 10 seconds.
    ///
    /// # Errors
    /// queued is not running, or does not answer in time.
    pub fn connect(home: &Home) -> io::Result<Self> {
        Self::connect_at(&home.path("queue/queued"))
    }

    /// Connects to the socket `queue/queued` of a home; waits at most 10 seconds.
    ///
    /// # Errors
    /// queued is not running, or does not answer in time.
    pub fn connect_at(_socket: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Says that a letter begins.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn begin(&mut self, _origin: Origin) -> Result<(), Refusal> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Hands over the next bytes of the letter, any number of them.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn chunk(&mut self, _bytes: &[u8]) -> Result<(), Refusal> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Hands over the envelope and waits until the letter is on disk; its number.
    ///
    /// # Errors
    /// queued refused, or the connection was lost: then the letter may be queued or not.
    pub fn commit(&mut self, _envelope: &Envelope<'_>) -> Result<u64, Refusal> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// The bytes of a letter, as a descriptor at its beginning, and how many they are.
    ///
    /// # Errors
    /// There is no such letter (`NotFound`), or the connection is lost.
    pub fn open(&mut self, _letter: u64) -> io::Result<(OwnedFd, u64)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Forgets a letter all of whose recipients are settled.
    ///
    /// # Errors
    /// queued refused, or the connection is lost.
    pub fn finish(&mut self, _letter: u64) -> Result<(), Refusal> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Every failure paragraph of a letter, in the order they were noted.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn paragraphs(&mut self, _letter: u64) -> io::Result<Vec<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Shows every letter in the queue to `each`, oldest first.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn list(&mut self, _each: impl FnMut(&Entry<'_>)) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a request and waits for nothing but room (at most 10 seconds): for `Follow`, `Note`.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn ask(&mut self, _request: &Request<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The next answer, waiting at most `patience` for it; `None` if it is not all here by then.
    /// With a patience of zero this takes what has come, so call it until it says `None` before
    /// waiting in a poll for [`AsFd::as_fd`].
    ///
    /// # Errors
    /// The connection is lost (`UnexpectedEof`) or queued talks nonsense (`InvalidData`).
    pub fn next(&mut self, _patience: Duration) -> io::Result<Option<Answer<'_>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsFd for QueueClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
