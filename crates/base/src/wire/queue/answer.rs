//! What queued answers, and how it describes a letter.

use alloc::vec::Vec;

use super::super::frame::{self, Frame};
use super::super::{Malformed, Reader, put_u32, put_u64};
use super::{Envelope, Mark};
use crate::limits;
use crate::outcome::Outcome;
use crate::time::Moment;

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
