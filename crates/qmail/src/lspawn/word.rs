//! What qmail-lspawn and its workers say to each other: a message is a few words, a word a tag and
//! most often a list of deliveries, each by its slot.

use base::outcome::Outcome;
use base::wire::Malformed;
use base::wire::frame::{self, Frame};
use base::wire::spawn::{Delivery, MAX_DELIVERY};

/// The longest body of a word: a list of every delivery there can be, or a report.
const MAX: usize = 32 << 10;
/// The longest message.
pub(super) const MESSAGE: usize = 128 << 10;

/// What a list of deliveries is told, or what is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    /// Worker: these are written, and not synced.
    Staged = b'w' as isize,
    /// To the worker: their bytes are durable, readers may see them.
    Show = b'v' as isize,
    /// Worker: readers may.
    Shown = b's' as isize,
    /// To the worker: their names are durable too, they are over.
    Over = b'k' as isize,
    /// To the worker: sync and show these yourself.
    Alone = b'a' as isize,
    /// Worker: done.
    Done = b'd' as isize,
    /// To the worker: a sync failed, take these back.
    Withdraw = b'u' as isize,
    /// Worker: taken back.
    Withdrawn = b'x' as isize,
    /// Worker: these are not for me any more; another may take them.
    NotMine = b'n' as isize,
}

impl Tag {
    const ALL: [Self; 9] = [
        Self::Staged,
        Self::Show,
        Self::Shown,
        Self::Over,
        Self::Alone,
        Self::Done,
        Self::Withdraw,
        Self::Withdrawn,
        Self::NotMine,
    ];

    const fn byte(self) -> u8 {
        self as u8
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| tag.byte() == byte)
    }
}

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// Worker: I take more for this recipient; my Maildir is on this device. A descriptor of it
    /// comes along.
    Open(u64),
    /// To the worker: a delivery of a letter of so many bytes, which comes along.
    Job(u64, Delivery<'a>),
    /// To the worker: a delivery of a small letter, these bytes.
    Letter(&'a [u8], Delivery<'a>),
    /// A list.
    Slots(Tag, Vec<u32>),
    /// Worker: it has ended, and not well.
    Failed {
        /// Which.
        slot: u32,
        /// For now or for good.
        outcome: Outcome,
        /// Why.
        text: &'a [u8],
    },
}

impl<'a> Word<'a> {
    /// Appends it to a message.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open(device) => frame::put(out, b'o', |b| b.extend(device.to_le_bytes())),
            Self::Job(size, delivery) => frame::put(out, b'j', |b| {
                b.extend(size.to_le_bytes());
                delivery.encode(b);
            }),
            Self::Letter(bytes, delivery) => frame::put(out, b'l', |b| {
                delivery.encode(b);
                b.extend_from_slice(bytes);
            }),
            Self::Slots(tag, slots) => frame::put(out, tag.byte(), |b| {
                slots.iter().for_each(|slot| b.extend(slot.to_le_bytes()));
            }),
            Self::Failed { slot, outcome, text } => frame::put(out, b'f', |b| {
                b.extend(slot.to_le_bytes());
                b.push(outcome.letter());
                b.extend_from_slice(text);
            }),
        }
    }

    fn decode(Frame { tag, body }: Frame<'a>) -> Result<Self, Malformed> {
        match tag {
            b'o' => body.try_into().map(|n| Self::Open(u64::from_le_bytes(n))).ok(),
            b'j' => Self::job(body),
            b'l' => Self::letter(body),
            b'f' => Self::failed(body),
            tag => Tag::of(tag).and_then(|tag| {
                let (slots, []) = body.as_chunks::<4>() else { return None };
                let slots = slots.iter().map(|slot| u32::from_le_bytes(*slot));
                Some(Self::Slots(tag, slots.collect()))
            }),
        }
        .ok_or(Malformed)
    }

    fn job(body: &'a [u8]) -> Option<Self> {
        let (size, rest) = body.split_first_chunk::<8>()?;
        let (frame, used) = frame::take(rest, MAX_DELIVERY).ok()??;
        let delivery = Delivery::decode(frame).ok().filter(|_| used == rest.len())?;
        Some(Self::Job(u64::from_le_bytes(*size), delivery))
    }

    fn letter(body: &'a [u8]) -> Option<Self> {
        let (frame, used) = frame::take(body, MAX_DELIVERY).ok()??;
        let delivery = Delivery::decode(frame).ok()?;
        Some(Self::Letter(body.get(used..)?, delivery))
    }

    fn failed(body: &'a [u8]) -> Option<Self> {
        let (slot, rest) = body.split_first_chunk::<4>()?;
        let (letter, text) = rest.split_first()?;
        let outcome = Outcome::from_letter(*letter)?;
        Some(Self::Failed { slot: u32::from_le_bytes(*slot), outcome, text })
    }
}

/// The words of a message, in order.
///
/// # Errors
/// [`Malformed`].
pub(super) fn words(mut message: &[u8]) -> Result<Vec<Word<'_>>, Malformed> {
    let mut words = Vec::new();
    while !message.is_empty() {
        let (frame, used) = frame::take(message, MAX)?.ok_or(Malformed)?;
        words.push(Word::decode(frame)?);
        message = message.get(used..).unwrap_or_default();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::Moment;

    #[test]
    fn every_word_reads_back() {
        let delivery = Delivery {
            slot: 3,
            letter: 9,
            birth: Moment::from_secs(5),
            index: 1,
            perhaps: true,
            sender: b"s@x",
            recipient: b"joe@y",
        };
        let mut said = vec![
            Word::Open(66),
            Word::Job(4_096, delivery),
            Word::Letter(b"Subject: x\n\n", delivery),
            Word::Failed { slot: 8, outcome: Outcome::Later, text: b"no\n" },
        ];
        said.extend(Tag::ALL.map(|tag| Word::Slots(tag, vec![1, 70_000])));
        let mut message = Vec::new();
        said.iter().for_each(|word| word.encode(&mut message));
        assert_eq!(words(&message).unwrap(), said);
        assert!(words(&message[..message.len() - 1]).is_err());
        assert!(words(b"?\0\0\0\0").is_err());
    }
}
