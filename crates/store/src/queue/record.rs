//! What the log remembers, one record for each thing that happened.
//!
//! A record is a head of 24 bytes (body length, CRC-32C of everything else, sequence, the highest
//! sequence known to be on disk when it was written), a body whose first byte is its kind, and
//! zeros up to the next multiple of 8. Numbers are little-endian.
//!
//! Both sequences are written under the segment's salt (exclusive or). Segments are used again as
//! they are, so what follows the last record may be bytes of a letter that a stranger wrote: who does
//! not know the salt cannot write there what reads as a record.

use base::time::Moment;
use base::wire::queue::Envelope;

use super::crc::crc32c;

/// Bytes before the body.
pub(super) const HEAD: usize = 24;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// Where the bytes of a letter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes<'a> {
    /// In the record.
    Here(&'a [u8]),
    /// In `queue/big/<name>`, this many. Version 1 had no name: it was the letter's number.
    Apart {
        /// The file's name.
        name: Option<u64>,
        /// How many they are.
        size: u64,
    },
}

impl Bytes<'_> {
    /// How many they are.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::Apart { size, .. } => *size,
        }
    }
}

/// A letter as the log holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letter<'a> {
    /// When it was queued.
    pub(super) birth: Moment,
    /// Who queued it.
    pub(super) uid: u32,
    /// Which process queued it.
    pub(super) pid: u32,
    /// The letter that this one, its bounce, finishes; of a letter said again, the
    /// [`base::wire::queue::Mark`] it is held by.
    pub(super) finishes: Option<u64>,
    /// Sender and recipients.
    pub(super) envelope: Envelope<'a>,
    /// The letter itself, queued's `Received` line included.
    pub(super) bytes: Bytes<'a>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// `L`: a letter came; its id is the record's sequence.
    Letter(Letter<'a>),
    /// `C`: a letter that came long ago is said again with all that is known of it but the failure
    /// paragraphs, so that the segment it was in can be used again.
    Carried {
        /// Its id.
        id: u64,
        /// The letter as it came.
        letter: Letter<'a>,
        /// As [`base::wire::queue::progress_block`] makes it; empty if nobody was tried.
        progress: &'a [u8],
    },
    /// `K`: a recipient is done.
    Done {
        /// The letter.
        id: u64,
        /// The recipient, from 0.
        index: u32,
    },
    /// `Z`: a recipient was tried and is due again.
    Deferred {
        /// The letter.
        id: u64,
        /// The recipient, from 0.
        index: u32,
        /// When it is due.
        next: Moment,
    },
    /// `D`: a recipient failed; also said again when its segment is to be used again.
    Failed {
        /// The letter.
        id: u64,
        /// The recipient, from 0.
        index: u32,
        /// The paragraph for the bounce.
        paragraph: &'a [u8],
    },
    /// `X`: every recipient is settled; the letter is forgotten.
    Finished(u64),
}

/// A record as it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// Its sequence.
    pub(super) sequence: u64,
    /// The highest sequence that was on disk for certain when this was written.
    pub(super) synced: u64,
    /// Kind and content.
    pub(super) body: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads what lies at the beginning of `bytes` in a segment with this salt; `None` if it is not a
    /// whole, sound record.
    pub(super) fn at(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD>()?;
        let (len, after) = head.split_first_chunk::<4>()?;
        let (crc, counted) = after.split_first_chunk::<4>()?;
        let body = Self::unproved_body(bytes)?;
        let sum = crc32c(crc32c(crc32c(0, len), counted), body);
        let mut r = Take(counted);
        let (sequence, synced) = (r.u64()? ^ salt, r.u64()? ^ salt);
        (sum == u32::from_le_bytes(*crc)).then_some(Self { sequence, synced, body })
    }

    /// Reads a record whose place is known: its sequence does not matter.
    pub(super) fn body(bytes: &'a [u8]) -> Option<&'a [u8]> {
        Self::at(bytes, 0).map(|found| found.body)
    }

    /// The same of bytes of which nothing needs to be proved: it was, or they never left this
    /// process.
    pub(super) fn unproved_body(bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let len = Take(head).u32()? as usize;
        rest.get(..len).filter(|body| !body.is_empty())
    }

    /// How many bytes the record takes whose head this is, if it is one.
    pub(super) fn len_by_head(head: &[u8]) -> Option<usize> {
        let len = Take(head).u32()? as usize;
        padded(len).filter(|_| len > 0)
    }

    /// The sequence that the beginning of `bytes` claims, sound or not.
    pub(super) fn claim(bytes: &[u8], salt: u64) -> Option<u64> {
        bytes.get(8..)?.first_chunk().map(|word| Self::sequence(*word, salt))
    }

    /// The sequence that a word of a segment is, if it is one.
    pub(super) const fn sequence(word: [u8; ALIGN], salt: u64) -> u64 {
        u64::from_le_bytes(word) ^ salt
    }
}

/// Head, body and padding of a body of `len` bytes.
fn padded(len: usize) -> Option<usize> {
    len.checked_add(HEAD)?.checked_next_multiple_of(ALIGN)
}

impl<'a> Record<'a> {
    /// May the record with this sequence say this? A letter's number is that of the record it came
    /// with, so what carries it comes later. Were it not so, a letter accepted later would be given
    /// a number that is taken.
    pub(super) fn may_be(&self, sequence: u64) -> bool {
        !matches!(self, Self::Carried { id, .. } if *id >= sequence)
    }

    /// How many bytes [`Record::encode`] appends.
    pub(super) fn encoded_len(&self) -> usize {
        let body = match self {
            Self::Letter(letter) => letter.encoded_len().saturating_add(1),
            Self::Carried { letter, progress, .. } => {
                letter.encoded_len().saturating_add(progress.len()).saturating_add(13)
            }
            Self::Done { .. } => 13,
            Self::Deferred { .. } => 21,
            Self::Failed { paragraph, .. } => paragraph.len().saturating_add(13),
            Self::Finished(_) => 9,
        };
        padded(body).unwrap_or(usize::MAX)
    }

    /// Appends the record, for a segment with this salt.
    pub(super) fn encode(&self, sequence: u64, synced: u64, salt: u64, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; 8]);
        put64(out, sequence ^ salt);
        put64(out, synced ^ salt);
        self.put_body(out);
        let Some((head, body)) = out.get_mut(at..).and_then(|s| s.split_first_chunk_mut::<HEAD>())
        else {
            return;
        };
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let [_, _, _, _, _, _, _, _, counted @ ..] = *head;
        let crc = crc32c(crc32c(crc32c(0, &len), &counted), body).to_le_bytes();
        for (slot, byte) in head.iter_mut().zip(len.into_iter().chain(crc)) {
            *slot = byte;
        }
        let end = padded(body.len()).unwrap_or(0).saturating_add(at);
        out.resize(end.max(out.len()), 0);
    }

    fn put_body(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Letter(letter) => {
                out.push(b'L');
                letter.put(out);
            }
            Self::Carried { id, letter, progress } => {
                out.push(b'C');
                put64(out, id);
                put32(out, u32::try_from(progress.len()).unwrap_or(u32::MAX));
                out.extend_from_slice(progress);
                letter.put(out);
            }
            Self::Done { id, index } => put_note(out, b'K', id, index),
            Self::Deferred { id, index, next } => {
                put_note(out, b'Z', id, index);
                put64(out, next.micros());
            }
            Self::Failed { id, index, paragraph } => {
                put_note(out, b'D', id, index);
                out.extend_from_slice(paragraph);
            }
            Self::Finished(id) => {
                out.push(b'X');
                put64(out, id);
            }
        }
    }

    /// Reads a body; `None` if it is none of ours (it passed its CRC, so a newer program wrote it).
    pub(super) fn decode(body: &'a [u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        let mut r = Take(rest);
        let record = match kind {
            b'L' => return Letter::take(r).map(Self::Letter),
            b'C' => {
                let id = r.u64()?;
                let len = r.u32()? as usize;
                let progress = r.bytes(len)?;
                return Letter::take(r).map(|letter| Self::Carried { id, letter, progress });
            }
            b'K' => Self::Done { id: r.u64()?, index: r.u32()? },
            b'Z' => Self::Deferred {
                id: r.u64()?,
                index: r.u32()?,
                next: Moment::from_micros(r.u64()?),
            },
            b'D' => {
                return Some(Self::Failed { id: r.u64()?, index: r.u32()?, paragraph: r.0 });
            }
            b'X' => Self::Finished(r.u64()?),
            _ => return None,
        };
        r.0.is_empty().then_some(record)
    }
}

impl<'a> Letter<'a> {
    fn encoded_len(&self) -> usize {
        let here = match self.bytes {
            Bytes::Here(bytes) => bytes.len(),
            Bytes::Apart { name, .. } => name.map_or(0, |_| 8),
        };
        self.envelope.as_bytes().len().saturating_add(here).saturating_add(37)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(match self.bytes {
            Bytes::Here(_) => 0,
            Bytes::Apart { name: None, .. } => 1,
            Bytes::Apart { name: Some(_), .. } => 2,
        });
        put64(out, self.finishes.unwrap_or(0));
        put64(out, self.birth.micros());
        put32(out, self.uid);
        put32(out, self.pid);
        put64(out, self.bytes.size());
        let envelope = self.envelope.as_bytes();
        put32(out, u32::try_from(envelope.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(envelope);
        match self.bytes {
            Bytes::Here(bytes) => out.extend_from_slice(bytes),
            Bytes::Apart { name: Some(name), .. } => put64(out, name),
            Bytes::Apart { name: None, .. } => {}
        }
    }

    fn take(mut r: Take<'a>) -> Option<Self> {
        let (kind, head) = Glance::take(&mut r)?;
        let Glance { finishes, birth, uid, pid, size, envelope } = head;
        let bytes = match (kind, r.0) {
            (0, here) if here.len() as u64 == size => Bytes::Here(here),
            (1, []) => Bytes::Apart { name: None, size },
            (2, _) if r.0.len() == 8 => Bytes::Apart { name: Some(r.u64()?), size },
            _ => return None,
        };
        Some(Self { birth, uid, pid, finishes, envelope, bytes })
    }
}

/// All of a letter's record that stands before its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glance<'a> {
    pub(super) finishes: Option<u64>,
    pub(super) birth: Moment,
    pub(super) uid: u32,
    pub(super) pid: u32,
    pub(super) size: u64,
    pub(super) envelope: Envelope<'a>,
}

impl<'a> Glance<'a> {
    /// From the beginning of a letter's record, head included; `None` if that is not enough of it.
    pub(super) fn at(record: &'a [u8]) -> Option<Self> {
        let (kind, rest) = record.get(HEAD..)?.split_first()?;
        let mut r = Take(rest);
        if *kind == b'C' {
            r.u64()?;
            let len = r.u32()? as usize;
            r.bytes(len)?;
        }
        Self::take(&mut r).map(|(_, glance)| glance).filter(|_| matches!(kind, b'L' | b'C'))
    }

    /// Where the bytes are, and the rest.
    fn take(r: &mut Take<'a>) -> Option<(u8, Self)> {
        let kind = r.u8()?;
        let finishes = Some(r.u64()?).filter(|&id| id != 0);
        let birth = Moment::from_micros(r.u64()?);
        let (uid, pid, size) = (r.u32()?, r.u32()?, r.u64()?);
        let len = r.u32()? as usize;
        let envelope = Envelope::new(r.bytes(len)?).ok()?;
        Some((kind, Self { finishes, birth, uid, pid, size, envelope }))
    }
}

fn put_note(out: &mut Vec<u8>, kind: u8, id: u64, index: u32) {
    out.push(kind);
    put64(out, id);
    put32(out, index);
}

fn put32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Takes numbers from the front of bytes.
#[derive(Clone, Copy)]
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record<'static>> {
        let letter = Letter {
            birth: Moment::from_secs(5),
            uid: 7,
            pid: 8,
            finishes: None,
            envelope: Envelope::new(b"s@x\0a@b\0").unwrap(),
            bytes: Bytes::Here(b"Subject: x\n\nhello\n"),
        };
        vec![
            Record::Letter(letter),
            Record::Letter(Letter {
                bytes: Bytes::Apart { name: Some(7), size: 1 << 33 },
                finishes: Some(3),
                ..letter
            }),
            Record::Letter(Letter { bytes: Bytes::Apart { name: None, size: 9 }, ..letter }),
            Record::Carried { id: 2, letter, progress: &[b'K', 0, 0, 0, 0, 0, 0, 0, 0] },
            Record::Done { id: 1, index: 2 },
            Record::Deferred { id: 1, index: 2, next: Moment::from_secs(9) },
            Record::Failed { id: 1, index: 0, paragraph: b"<a@b>:\nno\n\n" },
            Record::Finished(4),
        ]
    }

    #[test]
    fn records_come_back_and_are_as_long_as_they_said() {
        for record in samples() {
            let mut out = vec![1, 2, 3];
            record.encode(77, 76, 5, &mut out);
            let bytes = &out[3..];
            assert_eq!(bytes.len(), record.encoded_len());
            assert_eq!(Found::len_by_head(bytes), Some(bytes.len()));
            let found = Found::at(bytes, 5).unwrap();
            assert_eq!((found.sequence, found.synced), (77, 76));
            assert_eq!(Found::claim(bytes, 5), Some(77));
            assert_eq!(Found::body(bytes), Some(found.body));
            assert_eq!(Record::decode(found.body), Some(record));
        }
    }

    #[test]
    fn a_record_that_is_cut_or_changed_anywhere_is_not_taken() {
        for record in samples() {
            let mut out = Vec::new();
            record.encode(77, 76, 5, &mut out);
            let used = HEAD + Found::at(&out, 5).unwrap().body.len();
            for at in 0..used {
                assert!(Found::at(&out[..at], 5).is_none());
                let mut bad = out.clone();
                bad[at] ^= 0x10;
                assert!(Found::at(&bad, 5).is_none(), "byte {at}");
            }
        }
        assert!(Found::at(&[0; 64], 0).is_none());
    }

    #[test]
    fn a_glance_needs_no_more_than_the_envelope() {
        for record in samples() {
            let mut out = Vec::new();
            record.encode(77, 76, 0, &mut out);
            let (Record::Letter(letter) | Record::Carried { letter, .. }) = record else {
                assert_eq!(Glance::at(&out), None);
                continue;
            };
            let glance = Glance::at(&out).unwrap();
            assert_eq!((glance.size, glance.envelope), (letter.bytes.size(), letter.envelope));
            assert_eq!((glance.birth, glance.uid, glance.pid), (letter.birth, 7, 8));
            let needed = (0..out.len()).find(|&n| Glance::at(&out[..n]).is_some()).unwrap();
            assert!(needed < 100 && Glance::at(&out[..needed]) == Some(glance));
        }
    }
}
