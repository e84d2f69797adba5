//! Everybody → queued: letters in, their lives noted, their bytes out. The socket is
//! `queue/queued` in the home; who may ask what is decided by the peer's uid.

mod answer;
mod request;

pub use answer::{Answer, Entry, Progress, progress_block};
pub use request::{Note, Origin, Request};

use super::Malformed;
use crate::{limits, text0};

/// The largest body of a frame sent to queued: an envelope.
pub const MAX_REQUEST: usize = limits::ENVELOPE + 64;
/// The largest body of a frame sent by queued: a letter's entry.
pub const MAX_ANSWER: usize = 3 * limits::ENVELOPE;

/// What a letter is held for: it is in the queue, and nobody delivers it. On its way in from
/// another queue or out to one a letter is in two queues at once; held here, it is one machine's
/// at any time. A mark is also the letter's name for who moves it: an import or export that was
/// interrupted finds by it what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// No letter's number is so high.
const HELD: u64 = 1 << 63;
const EXPORTED: u64 = 1 << 62;

impl Mark {
    /// Came from another queue; of `name` 62 bits count.
    pub const fn imported(name: u64) -> Self {
        Self(name & !EXPORTED | HELD)
    }

    /// Goes to another queue; of `name` 62 bits count.
    pub const fn exported(name: u64) -> Self {
        Self(name | EXPORTED | HELD)
    }

    /// Whether it goes to another queue.
    pub const fn is_export(self) -> bool {
        self.0 & EXPORTED != 0
    }

    /// As a number, never 0; what [`Mark::of`] takes.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The mark that this number is, if it is one; no letter's number is.
    pub const fn of(word: u64) -> Option<Self> {
        if word & HELD == 0 { None } else { Some(Self(word)) }
    }
}

/// Sender and recipients as they pass to queued: text0, `sender\0recip\0…`, addresses unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a>(&'a [u8]);

impl<'a> Envelope<'a> {
    /// Takes a text0 block with a sender (which may be empty) and any number of recipients.
    ///
    /// # Errors
    /// [`Malformed`] if there is no sender, the block is cut short, or an address or the whole is
    /// over its limit.
    pub fn new(block: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = text0::fields(block).ok_or(Malformed)?;
        let fits = block.len() <= limits::ENVELOPE && fields.clone().next().is_some();
        (fits && fields.all(|f| f.len() <= limits::ADDRESS)).then_some(Self(block)).ok_or(Malformed)
    }

    /// The envelope sender; empty for a bounce.
    pub fn sender(&self) -> &'a [u8] {
        text0::fields(self.0).and_then(|mut f| f.next()).unwrap_or_default()
    }

    /// The recipients, in order.
    pub fn recipients(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        text0::fields(self.0).into_iter().flatten().skip(1)
    }

    /// The block itself.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests;
