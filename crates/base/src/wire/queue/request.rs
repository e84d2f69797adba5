//! What is asked of queued.

use alloc::vec::Vec;

use super::super::frame::{self, Frame};
use super::super::{Malformed, Reader, put_u32, put_u64};
use super::{Envelope, Mark};
use crate::limits;
use crate::time::Moment;

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
