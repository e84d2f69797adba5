//! Everybody → queued: letters in, their lives noted, their bytes out. The socket is
//! `queue/queued` in the home; who may ask what is decided by the peer's uid.

use alloc::vec::Vec;

use super::frame::{self, Frame};
use super::{Malformed, Reader, put_u32, put_u64};
use crate::outcome::Outcome;
use crate::time::Moment;
use crate::{limits, text0};

/// The largest body of a frame sent to queued: an envelope.
pub const MAX_REQUEST: usize = limits::ENVELOPE + 64;
/// The largest body of a frame sent by queued: a letter's entry.
pub const MAX_ANSWER: usize = 3 * limits::ENVELOPE;

/// Where a letter says it comes from; queued believes it only of the uid that role runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A local user: `invoked by uid N` (or `by alias`).
    Local,
    /// A network program, uid qmaild: `invoked from network`. Said by anybody else (his own
    /// `sendmail -bs`) it is as [`Origin::Local`].
    Network,
    /// qmail-send's own bounce, uid qmails: `invoked for bounce`. It settles the letter that
    /// bounced: the two are committed as one, so neither a crash nor a retry doubles the bounce.
    Bounce {
        /// The letter that this bounce finishes.
        finishes: u64,
    },
    /// A letter of another queue, for qmails and root: it brings its own `Received` line and its
    /// past. Notes on letter 0 that come before its envelope say how far its recipients are. It is
    /// held until [`Request::Hold`] lets it go.
    Import {
        /// When it was queued there.
        birth: Moment,
        /// Who queued it.
        uid: u32,
        /// Which process queued it.
        pid: u32,
        /// What it is held for.
        mark: Mark,
    },
}

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

/// What qmail-send notes about one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// Delivered.
    Done,
    /// Not now; the next attempt is due at this moment.
    Deferred(Moment),
    /// Never; the paragraph that will stand in the bounce (qmail-bounce(5)).
    Failed(&'a [u8]),
}

/// A message to queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `i`: a letter begins. Any uid (as far as its [`Origin`] is believed).
    Begin(Origin),
    /// `l`: the next bytes of the letter, at most [`limits::CHUNK`].
    Chunk(&'a [u8]),
    /// `e`: the envelope, and commit. Answered by `Accepted` once on disk, or `Refused`. After
    /// the answer the connection may begin another letter.
    Envelope(Envelope<'a>),
    /// `f`: qmail-send wants every letter, old ones first, then new ones as they come.
    Follow,
    /// `n`: something happened to a recipient. Answered by `Ack(serial)` once written.
    Note {
        /// Chosen by the sender, echoed in the acknowledgement.
        serial: u64,
        /// The letter; 0 is the one that is being imported, which is not acknowledged.
        letter: u64,
        /// Which recipient, from 0.
        index: u32,
        /// What happened.
        note: Note<'a>,
    },
    /// `b`: the failure paragraphs of a letter: `Paragraph` each, then `End`.
    Paragraphs(u64),
    /// `o`: the letter's bytes, as a descriptor.
    Open(u64),
    /// `h`: the letter's bytes: in the answer if they are few, else as for [`Request::Open`].
    Fetch(u64),
    /// `x`: every recipient is settled: forget the letter. Answered by `Accepted(id)`.
    Finish(u64),
    /// `q`: list every letter that is not held (`Entry` each), then `End`; for qmail-qread.
    List,
    /// `m`: list every letter that is held (`Held`, then `Entry` each), then `End`.
    Held,
    /// `w`: hold a letter, or let it go. Answered by `Accepted` once that is on disk. Refused while
    /// qmail-send follows the queue: it may be delivering the letter; letting go never is.
    Hold {
        /// The letter.
        letter: u64,
        /// What for; `None` lets it go.
        mark: Option<Mark>,
    },
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

impl<'a> Request<'a> {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Begin(origin) => frame::put(out, b'i', |b| match origin {
                Origin::Local => b.push(b'l'),
                Origin::Network => b.push(b'n'),
                Origin::Bounce { finishes } => {
                    b.push(b'b');
                    put_u64(b, finishes);
                }
                Origin::Import { birth, uid, pid, mark } => {
                    b.push(b'm');
                    put_u64(b, birth.micros());
                    put_u32(b, uid);
                    put_u32(b, pid);
                    put_u64(b, mark.0);
                }
            }),
            Self::Chunk(bytes) => frame::put(out, b'l', |b| b.extend_from_slice(bytes)),
            Self::Envelope(e) => frame::put(out, b'e', |b| b.extend_from_slice(e.0)),
            Self::Follow => frame::put(out, b'f', |_| ()),
            Self::Note { serial, letter, index, note } => frame::put(out, b'n', |b| {
                put_u64(b, serial);
                put_u64(b, letter);
                put_u32(b, index);
                match note {
                    Note::Done => b.push(b'K'),
                    Note::Deferred(at) => {
                        b.push(b'Z');
                        put_u64(b, at.micros());
                    }
                    Note::Failed(paragraph) => {
                        b.push(b'D');
                        b.extend_from_slice(paragraph);
                    }
                }
            }),
            Self::Paragraphs(id) => frame::put(out, b'b', |b| put_u64(b, id)),
            Self::Open(id) => frame::put(out, b'o', |b| put_u64(b, id)),
            Self::Fetch(id) => frame::put(out, b'h', |b| put_u64(b, id)),
            Self::Finish(id) => frame::put(out, b'x', |b| put_u64(b, id)),
            Self::List => frame::put(out, b'q', |_| ()),
            Self::Held => frame::put(out, b'm', |_| ()),
            Self::Hold { letter, mark } => frame::put(out, b'w', |b| {
                put_u64(b, letter);
                put_u64(b, mark.map_or(0, Mark::word));
            }),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`Malformed`] on an unknown tag, a missing field, a field over its limit or bytes left over.
    pub fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut r = Reader(frame.body);
        let request = match frame.tag {
            b'i' => Self::Begin(match r.u8()? {
                b'l' => Origin::Local,
                b'n' => Origin::Network,
                b'b' => Origin::Bounce { finishes: r.u64()? },
                b'm' => Origin::Import {
                    birth: Moment::from_micros(r.u64()?),
                    uid: r.u32()?,
                    pid: r.u32()?,
                    mark: Mark::of(r.u64()?).ok_or(Malformed)?,
                },
                _ => return Err(Malformed),
            }),
            b'l' => Self::Chunk(r.rest(limits::CHUNK)?),
            b'e' => Self::Envelope(Envelope::new(r.rest(limits::ENVELOPE)?)?),
            b'f' => Self::Follow,
            b'n' => Self::Note {
                serial: r.u64()?,
                letter: r.u64()?,
                index: r.u32()?,
                note: match r.u8()? {
                    b'K' => Note::Done,
                    b'Z' => Note::Deferred(Moment::from_micros(r.u64()?)),
                    b'D' => Note::Failed(r.rest(limits::REPORT + 2 * limits::ADDRESS)?),
                    _ => return Err(Malformed),
                },
            },
            b'b' => Self::Paragraphs(r.u64()?),
            b'o' => Self::Open(r.u64()?),
            b'h' => Self::Fetch(r.u64()?),
            b'x' => Self::Finish(r.u64()?),
            b'q' => Self::List,
            b'm' => Self::Held,
            b'w' => Self::Hold {
                letter: r.u64()?,
                mark: match r.u64()? {
                    0 => None,
                    word => Some(Mark::of(word).ok_or(Malformed)?),
                },
            },
            _ => return Err(Malformed),
        };
        r.end().map(|()| request)
    }
}

/// How far one recipient has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Never reported on; an attempt may yet have been made before a crash.
    Waiting,
    /// Tried and deferred; the next attempt is due at this moment.
    Deferred(Moment),
    /// Delivered.
    Done,
    /// Failed for good; its paragraph is kept for the bounce.
    Failed,
}

/// One letter as queued describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number.
    pub id: u64,
    /// When it was queued.
    pub birth: Moment,
    /// Its size in bytes, queued's own `Received` line included.
    pub size: u64,
    /// Who queued it.
    pub uid: u32,
    /// Which process queued it (the `qp` of the log).
    pub pid: u32,
    /// It was in the queue before this run of queued began, or before this follower connected.
    pub old: bool,
    /// The sender and the recipients.
    pub envelope: Envelope<'a>,
    /// One per recipient, in the envelope's order: a letter and, for `Z`, a moment.
    progress: &'a [u8],
}

impl<'a> Entry<'a> {
    /// How far each recipient has come, in the envelope's order.
    pub fn progress(&self) -> impl Iterator<Item = Progress> + use<'a> {
        self.progress.as_chunks::<9>().0.iter().map(|&[letter, ref at @ ..]| match letter {
            b'K' => Progress::Done,
            b'D' => Progress::Failed,
            b'Z' => Progress::Deferred(Moment::from_micros(u64::from_le_bytes(*at))),
            _ => Progress::Waiting,
        })
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let id = r.u64()?;
        let birth = Moment::from_micros(r.u64()?);
        let (size, uid, pid) = (r.u64()?, r.u32()?, r.u32()?);
        let old = r.u8()? != 0;
        let len = r.u32()? as usize;
        let (block, progress) = r.rest(usize::MAX)?.split_at_checked(len).ok_or(Malformed)?;
        let envelope = Envelope::new(block)?;
        let (chunks, left) = progress.as_chunks::<9>();
        let fits = left.is_empty() && chunks.len() == envelope.recipients().count();
        fits.then_some(Self { id, birth, size, uid, pid, old, envelope, progress }).ok_or(Malformed)
    }
}

/// What [`Entry`] borrows, made from an iterator of [`Progress`].
pub fn progress_block(progress: impl Iterator<Item = Progress>) -> Vec<u8> {
    let mut block = Vec::new();
    for p in progress {
        let (letter, at) = match p {
            Progress::Waiting => (b'T', 0),
            Progress::Deferred(at) => (b'Z', at.micros()),
            Progress::Done => (b'K', 0),
            Progress::Failed => (b'D', 0),
        };
        block.push(letter);
        put_u64(&mut block, at);
    }
    block
}

/// A message from queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// `K`: the letter (or the finish) is on disk; its number.
    Accepted(u64),
    /// `Z` or `D`: it is not, and why (qmail-queue(8), without the first letter).
    Refused(Outcome, &'a [u8]),
    /// `a`: the note with this serial is written.
    Ack(u64),
    /// `n`: a letter.
    Entry(Entry<'a>),
    /// `p`: one failure paragraph.
    Paragraph(&'a [u8]),
    /// `.`: that was all of what was asked for (for `Follow`: all the old letters).
    End,
    /// `o`: the letter's bytes are the descriptor that came with this frame, this many.
    Opened(u64),
    /// `h`: the letter's bytes, at most [`limits::FETCHED_LETTER`].
    Fetched(&'a [u8]),
    /// `m`: what the letter of the next `Entry` is held for.
    Held(Mark),
}

impl<'a> Answer<'a> {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Accepted(id) => frame::put(out, b'K', |b| put_u64(b, id)),
            Self::Refused(outcome, text) => frame::put(out, outcome.letter(), |b| {
                b.extend_from_slice(text.get(..limits::QUEUE_TEXT).unwrap_or(text));
            }),
            Self::Ack(serial) => frame::put(out, b'a', |b| put_u64(b, serial)),
            Self::Entry(e) => frame::put(out, b'n', |b| {
                put_u64(b, e.id);
                put_u64(b, e.birth.micros());
                put_u64(b, e.size);
                put_u32(b, e.uid);
                put_u32(b, e.pid);
                b.push(u8::from(e.old));
                put_u32(b, u32::try_from(e.envelope.0.len()).unwrap_or(u32::MAX));
                b.extend_from_slice(e.envelope.0);
                b.extend_from_slice(e.progress);
            }),
            Self::Paragraph(text) => frame::put(out, b'p', |b| b.extend_from_slice(text)),
            Self::End => frame::put(out, b'.', |_| ()),
            Self::Opened(size) => frame::put(out, b'o', |b| put_u64(b, size)),
            Self::Fetched(bytes) => frame::put(out, b'h', |b| b.extend_from_slice(bytes)),
            Self::Held(mark) => frame::put(out, b'm', |b| put_u64(b, mark.0)),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`Malformed`] on an unknown tag, a missing field, a field over its limit or bytes left over.
    pub fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut r = Reader(frame.body);
        let answer = match frame.tag {
            b'K' => Self::Accepted(r.u64()?),
            b'Z' => Self::Refused(Outcome::Later, r.rest(limits::QUEUE_TEXT)?),
            b'D' => Self::Refused(Outcome::Never, r.rest(limits::QUEUE_TEXT)?),
            b'a' => Self::Ack(r.u64()?),
            b'n' => Self::Entry(Entry::decode(&mut r)?),
            b'p' => Self::Paragraph(r.rest(limits::REPORT + 2 * limits::ADDRESS)?),
            b'.' => Self::End,
            b'o' => Self::Opened(r.u64()?),
            b'h' => Self::Fetched(r.rest(limits::FETCHED_LETTER)?),
            b'm' => Self::Held(Mark::of(r.u64()?).ok_or(Malformed)?),
            _ => return Err(Malformed),
        };
        r.end().map(|()| answer)
    }
}

impl<'a> Entry<'a> {
    /// Describes a letter; `progress` comes from [`progress_block`].
    ///
    /// # Errors
    /// [`Malformed`] if there is not one progress for each recipient.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, named at the one call site")]
    pub fn new(
        id: u64,
        birth: Moment,
        size: u64,
        uid: u32,
        pid: u32,
        old: bool,
        envelope: Envelope<'a>,
        progress: &'a [u8],
    ) -> Result<Self, Malformed> {
        let fits = progress.len() == envelope.recipients().count().saturating_mul(9);
        fits.then_some(Self { id, birth, size, uid, pid, old, envelope, progress }).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests;
