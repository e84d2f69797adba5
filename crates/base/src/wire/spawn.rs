//! send → lspawn, rspawn: deliveries to make, and what became of them.

use alloc::vec::Vec;

use super::frame::{self, Frame};
use super::{Malformed, Reader, put_u32, put_u64};
use crate::limits;
use crate::outcome::Outcome;
use crate::text0;
use crate::time::Moment;

/// The largest body of a [`Delivery`] frame.
pub const MAX_DELIVERY: usize = 64 + 2 * (limits::ADDRESS + 1);
/// The largest body of a [`Report`] frame.
pub const MAX_REPORT: usize = 16 + limits::REPORT;

/// One delivery to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// send's slot number; the report carries it back.
    pub slot: u32,
    /// The letter's number in the queue.
    pub letter: u64,
    /// When the letter was queued; part of the Maildir name.
    pub birth: Moment,
    /// Which recipient of the letter, from 0.
    pub index: u32,
    /// An earlier attempt may have got through, wholly (send, the spawner or the machine died before
    /// we heard of it) or as far as its Maildirs (a later instruction put it off): a Maildir
    /// delivery must look for its own file before writing another.
    pub perhaps: bool,
    /// Envelope sender, VERP already expanded.
    pub sender: &'a [u8],
    /// Envelope recipient, rewritten.
    pub recipient: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Appends the frame (tag `d`).
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(out, b'd', |b| {
            put_u32(b, self.slot);
            put_u64(b, self.letter);
            put_u64(b, self.birth.micros());
            put_u32(b, self.index);
            b.push(u8::from(self.perhaps));
            text0::put(b, self.sender);
            text0::put(b, self.recipient);
        });
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`Malformed`] on any other tag, a missing field or bytes left over.
    pub fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut r = Reader(frame.body);
        if frame.tag != b'd' {
            return Err(Malformed);
        }
        let delivery = Delivery {
            slot: r.u32()?,
            letter: r.u64()?,
            birth: Moment::from_micros(r.u64()?),
            index: r.u32()?,
            perhaps: match r.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            },
            sender: r.text(limits::ADDRESS)?,
            recipient: r.text(limits::ADDRESS)?,
        };
        r.end().map(|()| delivery)
    }
}

/// What a spawner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report<'a> {
    /// Said once at the start: how many deliveries at a time this spawner makes.
    Ceiling(u32),
    /// The delivery in this slot has been made and waits only for the disk: its place among the
    /// deliveries at a time is free, its slot is taken until [`Report::Ended`].
    Made(u32),
    /// A delivery has ended.
    Ended {
        /// The slot [`Delivery::slot`] named.
        slot: u32,
        /// How it ended; `None` if the report was mangled (send defers).
        outcome: Option<Outcome>,
        /// What to log and, on failure, to tell the sender.
        text: &'a [u8],
    },
}

impl<'a> Report<'a> {
    /// Appends the frame (tags `c`, `m` and `r`). Text beyond [`limits::REPORT`] is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Ceiling(n) => frame::put(out, b'c', |b| put_u32(b, n)),
            Self::Made(slot) => frame::put(out, b'm', |b| put_u32(b, slot)),
            Self::Ended { slot, outcome, text } => frame::put(out, b'r', |b| {
                put_u32(b, slot);
                b.push(outcome.map_or(b'?', Outcome::letter));
                b.extend_from_slice(text.get(..limits::REPORT).unwrap_or(text));
            }),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`Malformed`] on any other tag, a missing field or too long a text.
    pub fn decode(frame: Frame<'a>) -> Result<Self, Malformed> {
        let mut r = Reader(frame.body);
        match frame.tag {
            b'c' => {
                let n = r.u32()?;
                r.end().map(|()| Self::Ceiling(n))
            }
            b'm' => {
                let slot = r.u32()?;
                r.end().map(|()| Self::Made(slot))
            }
            b'r' => {
                let slot = r.u32()?;
                let outcome = Outcome::from_letter(r.u8()?);
                Ok(Self::Ended { slot, outcome, text: r.rest(limits::REPORT)? })
            }
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_survive_the_pipe() {
        let d = Delivery {
            slot: 7,
            letter: 1 << 40,
            birth: Moment::from_secs(1_200_999_831),
            index: 3,
            perhaps: true,
            sender: b"",
            recipient: b"a@b",
        };
        let mut buf = Vec::new();
        d.encode(&mut buf);
        let (f, n) = frame::take(&buf, MAX_DELIVERY).unwrap().unwrap();
        assert_eq!((Delivery::decode(f), n), (Ok(d), buf.len()));
        for cut in 0..f.body.len() {
            assert!(Delivery::decode(Frame { tag: b'd', body: &f.body[..cut] }).is_err());
        }
    }

    #[test]
    fn reports_survive_the_pipe() {
        for r in [
            Report::Ceiling(120),
            Report::Made(119),
            Report::Ended { slot: 1, outcome: Some(Outcome::Later), text: b"no\n" },
            Report::Ended { slot: 1, outcome: None, text: b"" },
        ] {
            let mut buf = Vec::new();
            r.encode(&mut buf);
            let (f, _) = frame::take(&buf, MAX_REPORT).unwrap().unwrap();
            assert_eq!(Report::decode(f), Ok(r));
        }
    }
}
