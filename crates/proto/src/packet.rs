//! Letters in netstrings, as QMTP and QMQP carry them: what both protocols share.
//!
//! [`Packets`] takes a stream apart in whatever pieces it comes, a session ([`crate::qmtp`],
//! [`crate::qmqp`]) judges the [`Part`]s, and whoever drives both reads, looks things up, talks to
//! the queue, and writes.

use alloc::vec::Vec;
use core::mem;

use base::limits;

use crate::scan;
use crate::smtp::hops::Hops;
use crate::smtp::server::Verdict;

/// One step of a packet, in this order: a letter and its bytes, its sender, its recipients, the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A letter begins.
    Letter,
    /// So many bytes of it have been appended to the output.
    Body(usize),
    /// The letter says that its lines end in CRLF, and has a CR or an LF by itself. Said once; what
    /// follows of it is passed over.
    Stray,
    /// The letter has been passed on so often that it is looping ([`limits::HOPS`]). Said at its
    /// end, unless it was [`Part::Stray`].
    Looping,
    /// Its sender; `None` if no envelope can hold it: 1,000 bytes or more, a NUL, a line feed.
    Sender(Option<Vec<u8>>),
    /// A recipient, likewise.
    Recipient(Option<Vec<u8>>),
    /// The packet is whole.
    End,
}

/// Why a stream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is not in the format.
    Format,
    /// It announces more than [`limits::PACKET`] bytes, or more than [`limits::PACKET_RECIPIENTS`].
    TooLong,
}

impl Broken {
    /// The exit code of stock `qmail-qmtpd` and `qmail-qmqpd`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Format => 100,
            Self::TooLong => 111,
        }
    }
}

/// What to do now, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin a letter with our `Received` line; answer as for
    /// [`crate::smtp::server::Action::Begin`].
    Begin,
    /// Pass the bytes of this [`Part::Body`] on to the queue.
    Body,
    /// Find out whether this recipient is welcome; `relay`: the client may send anywhere.
    Ask {
        /// The address, `$RELAYCLIENT` appended.
        address: Vec<u8>,
        /// Only the mailbox is in question.
        relay: bool,
    },
    /// Make the letter final; answer with [`Verdict::Queued`] or [`Verdict::Refused`].
    Commit {
        /// Sender and recipients, each ended by a NUL.
        envelope: Vec<u8>,
    },
    /// Forget the letter that was begun.
    Abort,
    /// Write these bytes (they may wait in a buffer until input is awaited).
    Reply(Vec<u8>),
    /// Write out what is buffered, and end with this code.
    Close(u8),
}

/// A session: what one protocol makes of the parts.
pub trait Session {
    /// Takes the next part. Between an action that wants an answer and [`Session::answer`] none
    /// comes.
    fn part(&mut self, part: Part) -> Vec<Action>;
    /// Takes the answer to the last [`Action::Ask`], [`Action::Begin`] or [`Action::Commit`].
    fn answer(&mut self, verdict: Verdict) -> Vec<Action>;
}

/// How a letter's lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// In LF; every byte is taken as it is.
    Lf,
    /// In CRLF.
    Crlf {
        /// The last byte was a CR.
        cr: bool,
    },
    /// A line end was none: nothing more is taken.
    Lost,
}

/// Whose length is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// QMQP: everything's.
    Packet,
    Letter,
    Sender,
    /// QMTP: of all recipients together.
    List,
    Recipient,
}

/// What the next byte belongs to.
#[derive(Clone, Debug)]
enum Stage {
    /// A length, so far.
    Length(Of, Option<u64>),
    /// QMTP: it says how the lines of a letter end, of which so many bytes follow.
    First(u64),
    /// The letter, of which so many bytes are to come, or its comma.
    Body(u64),
    /// An address, of which so many bytes are to come, or its comma.
    Address { left: u64, kept: Option<Vec<u8>>, is_sender: bool },
    /// The comma behind everything.
    Last,
    /// Given up, or a packet that was the only one.
    Over,
}

/// Takes a stream of packets apart.
#[derive(Debug)]
pub struct Packets {
    /// A whole packet is one netstring, and there is one.
    wrapped: bool,
    stage: Stage,
    ends: Ends,
    /// How often this letter has been passed on.
    hops: Hops,
    /// Bytes left of the netstring around the next ones.
    inside: Option<u64>,
    /// Recipients of this letter so far.
    recipients: usize,
}

impl Packets {
    /// QMTP: any number of letters.
    pub fn qmtp() -> Self {
        Self::at(false, Stage::Length(Of::Letter, None))
    }

    /// QMQP: one letter.
    pub fn qmqp() -> Self {
        Self::at(true, Stage::Length(Of::Packet, None))
    }

    fn at(wrapped: bool, stage: Stage) -> Self {
        Self { wrapped, stage, ends: Ends::Lf, hops: Hops::default(), inside: None, recipients: 0 }
    }

    /// Takes from the front of `input`; the letter's bytes are appended to `out`. `None` if it needs
    /// more. How the stream is cut makes no difference but to the sizes of [`Part::Body`].
    ///
    /// # Errors
    /// [`Broken`]; nothing more is to be made of the stream.
    pub fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Result<Part, Broken>> {
        while !input.is_empty() {
            match self.advance(input, out) {
                Ok(None) => {}
                Ok(Some(part)) => return Some(Ok(part)),
                Err(broken) => {
                    self.stage = Stage::Over;
                    return Some(Err(broken));
                }
            }
        }
        None
    }

    fn advance(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Part>, Broken> {
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Body(left) if left > 0 => {
                let piece = self.piece(left, input)?;
                self.stage = Stage::Body(left.saturating_sub(piece.len() as u64));
                Ok(self.body(piece, out))
            }
            Stage::Address { left, kept, is_sender } if left > 0 => {
                let piece = self.piece(left, input)?;
                let left = left.saturating_sub(piece.len() as u64);
                self.stage = Stage::Address { left, kept: keep(kept, piece), is_sender };
                Ok(None)
            }
            stage => {
                let Some((&c, rest)) = input.split_first() else { return Ok(None) };
                *input = rest;
                self.spend(1)?;
                self.byte(stage, c)
            }
        }
    }

    /// As much of the next `left` bytes as has come.
    fn piece<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> Result<&'a [u8], Broken> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = input.split_at_checked(most).ok_or(Broken::Format)?;
        *input = rest;
        self.spend(piece.len() as u64)?;
        Ok(piece)
    }

    /// Takes bytes off the netstring around them.
    fn spend(&mut self, bytes: u64) -> Result<(), Broken> {
        if let Some(left) = &mut self.inside {
            *left = left.checked_sub(bytes).ok_or(Broken::Format)?;
        }
        Ok(())
    }

    /// Takes a byte that is neither the letter's nor an address's.
    fn byte(&mut self, stage: Stage, c: u8) -> Result<Option<Part>, Broken> {
        match (stage, c) {
            (Stage::Length(of, Some(length)), b':') => self.announced(of, length),
            (Stage::Length(of, so_far), _) => {
                self.stage = Stage::Length(of, Some(longer(so_far, c)?));
                Ok(None)
            }
            (Stage::First(left), b'\n' | b'\r') => {
                self.ends = if c == b'\n' { Ends::Lf } else { Ends::Crlf { cr: false } };
                self.stage = Stage::Body(left);
                Ok(Some(Part::Letter))
            }
            (Stage::Body(_), b',') => Ok(self.body_ended()),
            (Stage::Address { kept, is_sender, .. }, b',') => {
                let address = kept.filter(|address| is_speakable(address));
                Ok(Some(self.address(address, is_sender)))
            }
            (Stage::Last, b',') => {
                if !self.wrapped {
                    self.stage = Stage::Length(Of::Letter, None);
                }
                Ok(Some(Part::End))
            }
            _ => Err(Broken::Format),
        }
    }

    /// A length is known.
    fn announced(&mut self, of: Of, length: u64) -> Result<Option<Part>, Broken> {
        // It must fit what is around it, comma included.
        if self.inside.is_some_and(|left| length >= left) {
            return Err(Broken::Format);
        }
        let address =
            |is_sender| Stage::Address { left: length, kept: Some(Vec::new()), is_sender };
        self.stage = match of {
            Of::Packet => {
                self.inside = Some(length);
                Stage::Length(Of::Letter, None)
            }
            Of::Letter if self.wrapped => {
                self.stage = Stage::Body(length);
                return Ok(Some(Part::Letter));
            }
            Of::Letter => Stage::First(length.checked_sub(1).ok_or(Broken::Format)?),
            Of::Sender => address(true),
            Of::List => {
                self.inside = Some(length);
                self.behind_address()
            }
            Of::Recipient => {
                self.recipients = self.recipients.saturating_add(1);
                if self.recipients > limits::PACKET_RECIPIENTS {
                    return Err(Broken::TooLong);
                }
                address(false)
            }
        };
        Ok(None)
    }

    /// Bytes of the letter.
    fn body(&mut self, mut piece: &[u8], out: &mut Vec<u8>) -> Option<Part> {
        let before = out.len();
        while let (Ends::Crlf { cr }, Some((&c, rest))) = (self.ends, piece.split_first()) {
            match (cr, c) {
                (true, b'\n') => {
                    out.push(b'\n');
                    (self.ends, piece) = (Ends::Crlf { cr: false }, rest);
                }
                (false, b'\r') => (self.ends, piece) = (Ends::Crlf { cr: true }, rest),
                (true, _) | (false, b'\n') => {
                    self.ends = Ends::Lost;
                    return Some(Part::Stray);
                }
                (false, _) => {
                    let end = scan::either(piece, b'\r', b'\n').unwrap_or(piece.len());
                    let (text, behind) = piece.split_at_checked(end).unwrap_or((piece, &[]));
                    out.extend_from_slice(text);
                    piece = behind;
                }
            }
        }
        if self.ends == Ends::Lf {
            out.extend_from_slice(piece);
        }
        let more = out.get(before..).unwrap_or_default();
        self.hops.look(more);
        (!more.is_empty()).then_some(Part::Body(more.len()))
    }

    /// The letter's comma.
    fn body_ended(&mut self) -> Option<Part> {
        self.stage = Stage::Length(Of::Sender, None);
        let looping = mem::take(&mut self.hops).looping();
        let ends = mem::replace(&mut self.ends, Ends::Lf);
        self.recipients = 0;
        match ends {
            Ends::Crlf { cr: true } => Some(Part::Stray),
            Ends::Lost => None,
            Ends::Lf | Ends::Crlf { cr: false } => looping.then_some(Part::Looping),
        }
    }

    /// An address's comma.
    fn address(&mut self, address: Option<Vec<u8>>, is_sender: bool) -> Part {
        self.stage = match is_sender && !self.wrapped {
            true => Stage::Length(Of::List, None),
            false => self.behind_address(),
        };
        if is_sender { Part::Sender(address) } else { Part::Recipient(address) }
    }

    /// Another recipient, or the end of the netstring around all.
    fn behind_address(&mut self) -> Stage {
        if self.inside == Some(0) {
            self.inside = None;
            return Stage::Last;
        }
        Stage::Length(Of::Recipient, None)
    }
}

/// A length with one digit more.
fn longer(so_far: Option<u64>, c: u8) -> Result<u64, Broken> {
    if !c.is_ascii_digit() {
        return Err(Broken::Format);
    }
    let digit = u64::from(c.wrapping_sub(b'0'));
    let length = so_far.unwrap_or(0).saturating_mul(10).saturating_add(digit);
    if length > limits::PACKET { Err(Broken::TooLong) } else { Ok(length) }
}

/// Adds to an address, as long as it is one.
fn keep(kept: Option<Vec<u8>>, piece: &[u8]) -> Option<Vec<u8>> {
    let mut kept = kept?;
    (kept.len().saturating_add(piece.len()) < limits::PACKET_ADDRESS).then(|| {
        kept.extend_from_slice(piece);
        kept
    })
}

/// Whether an envelope can hold it.
fn is_speakable(address: &[u8]) -> bool {
    !address.iter().any(|c| b"\0\n".contains(c))
}

/// What is answered to a letter that the queue has taken: `Kok <time> qp <pid>`.
pub(crate) fn taken(secs: u64, pid: u32) -> Vec<u8> {
    alloc::format!("Kok {secs} qp {pid}").into_bytes()
}

/// What is answered to one that the queue has not taken; nothing for an answer to something else.
pub(crate) fn refusal(verdict: Verdict) -> Option<Vec<u8>> {
    match verdict {
        Verdict::Refused(outcome, text) => Some([&[outcome.letter()], text.as_slice()].concat()),
        Verdict::NoQueue => Some(b"Zqqt failure (#4.3.0)".to_vec()),
        Verdict::Begun | Verdict::Queued { .. } | Verdict::Recipient(_) => None,
    }
}

#[cfg(test)]
mod tests;
