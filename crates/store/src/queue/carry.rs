//! Carrying forward: what has stayed long in the oldest segment is said again at the end of the
//! log, so that the segment can be used again. The segment itself is read for it, a little at a
//! time: nobody needs to know by heart what lies where.

use std::io;

use base::wire::queue::{Mark, progress_block};

use super::index::{Item, Known, Place};
use super::record::{Bytes, Found, HEAD, Record};
use super::segment::BLOCK;
use super::trouble::Trouble;
use super::{Letter, Queue};
use crate::disk::Disk;

/// Bytes read at a time, so that nobody waits long.
const STEP: u64 = 256 << 10;

/// How far the oldest segment has been read.
#[derive(Debug, Default)]
pub(super) struct Carry {
    segment: u64,
    offset: u64,
    /// The sequence of the record that should be there.
    next: u64,
    /// A segment with a record that cannot be read any more: it stays.
    stuck: u64,
}

impl<D: Disk> Queue<D> {
    /// Carries some of what lies in the oldest segment if the log is long and mostly dead. True if
    /// there is more.
    pub(super) fn carry_some(&mut self) -> Result<bool, Trouble> {
        let Some(oldest) = self.log.oldest().filter(|&n| n != self.carry.stuck) else {
            return Ok(false);
        };
        if self.carry.segment != oldest {
            if !self.worth_carrying() {
                return Ok(false);
            }
            let next = self.log.segment(oldest).map_or(0, |s| s.first);
            self.carry = Carry { segment: oldest, offset: BLOCK, next, ..self.carry };
        }
        let until = self.carry.offset.saturating_add(STEP);
        while self.carry.offset < until && self.index.needs(oldest) {
            if !self.carry_next(oldest)? {
                self.carry.stuck = oldest;
                return Ok(false);
            }
        }
        self.log.release(|segment| self.index.needs(segment));
        Ok(self.index.needs(oldest))
    }

    /// Carries everything, and begins a segment whose header counts nothing older as the log's.
    pub(super) fn carry_all(&mut self) -> Result<(), Trouble> {
        let newest = self.log.newest();
        for item in self.index.older_than(newest) {
            if let Some(place) = self.index.place(item) {
                self.say_again(item, place)?;
            }
        }
        self.commit()?;
        self.log.forget_older(newest);
        self.log.turn()?;
        self.commit()
    }

    fn worth_carrying(&self) -> bool {
        let (segments, bytes) = self.log.extent();
        segments > self.config.carry_above && self.index.live_bytes().saturating_mul(2) < bytes
    }

    /// Looks at the next record of a segment and says it again if it matters; false if there is
    /// no next one, though there should be.
    fn carry_next(&mut self, segment: u64) -> Result<bool, Trouble> {
        let sequence = self.carry.next;
        let Some((offset, len)) = self.head_at(segment, self.carry.offset, sequence) else {
            return Ok(false);
        };
        let place = Place { segment, offset, len };
        // A letter's number is its record's sequence, unless it was carried: then read on.
        let item = match self.index.place(Item::Letter(sequence)) {
            Some(there) if there == place => Some(Item::Letter(sequence)),
            _ => self.item_at(place),
        };
        if let Some(item) = item {
            self.say_again(item, place)?;
        }
        self.carry.offset = u64::from(offset).saturating_add(len.into());
        self.carry.next = sequence.saturating_add(1);
        Ok(self.carry.stuck != segment)
    }

    /// Place and length of the record with this sequence: where the last ended, or at the next
    /// block.
    fn head_at(&self, segment: u64, offset: u64, sequence: u64) -> Option<(u32, u32)> {
        let salt = self.log.segment(segment)?.salt;
        [offset, offset.next_multiple_of(BLOCK)].into_iter().find_map(|offset| {
            let offset = u32::try_from(offset).ok()?;
            let (head, _) = self.log.read(Place { segment, offset, len: 0 }, HEAD).ok()?;
            Found::claim(&head, salt).filter(|&claim| claim == sequence)?;
            Some((offset, u32::try_from(Found::len_by_head(&head)?).ok()?))
        })
    }

    /// Which thing that matters is said by a record that is no letter that just came.
    fn item_at(&self, place: Place) -> Option<Item> {
        // Kind, number, recipient: all that is needed of a carried letter or a failure.
        let (bytes, _) = self.log.read(place, (HEAD + 13).min(place.len as usize)).ok()?;
        let item = Item::of_body(bytes.get(HEAD..)?)?;
        (self.index.place(item) == Some(place)).then_some(item)
    }

    /// Says one thing again that lies there.
    fn say_again(&mut self, item: Item, place: Place) -> Result<(), Trouble> {
        let body = self.body_at(place);
        let Some(old) = body.as_deref().ok().and_then(Record::decode) else {
            self.carry.stuck = place.segment;
            return Ok(());
        };
        match (item, old) {
            (Item::Letter(id), Record::Letter(letter) | Record::Carried { letter, .. }) => {
                self.carry_letter(id, letter, self.index.mark(id)).map(|_| ())
            }
            (_, record) => self.record(&record).map(|_| ()),
        }
    }

    /// The body of the record there; `InvalidData` if it is not sound.
    pub(super) fn body_at(&self, place: Place) -> io::Result<Vec<u8>> {
        let (bytes, proved) = self.log.read(place, place.len as usize)?;
        let body = if proved { Found::unproved_body(&bytes) } else { Found::body(&bytes) };
        Ok(body.ok_or(io::ErrorKind::InvalidData)?.to_vec())
    }

    /// Says a letter again with all that is known of it, held as `mark` says; the record's sequence.
    pub(super) fn carry_letter(
        &mut self,
        id: u64,
        letter: Letter<'_>,
        mark: Option<Mark>,
    ) -> Result<u64, Trouble> {
        let progress = self.progress_of(id);
        let bytes = match letter.bytes {
            Bytes::Apart { name, size } => Bytes::Apart { name: Some(name.unwrap_or(id)), size },
            here @ Bytes::Here(_) => here,
        };
        let letter = Letter { finishes: mark.map(Mark::word), bytes, ..letter };
        self.record(&Record::Carried { id, letter, progress: &progress })
    }

    fn progress_of(&self, id: u64) -> Vec<u8> {
        let known = self.index.get(id).filter(Known::tried);
        known.map(|known| progress_block(known.progress())).unwrap_or_default()
    }
}

impl Item {
    /// What the record with this body says, if it is a carried letter or a failure.
    fn of_body(body: &[u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let id = u64::from_le_bytes(*id);
        match kind {
            b'C' => Some(Self::Letter(id)),
            b'D' => {
                let (index, _) = rest.split_first_chunk()?;
                Some(Self::Paragraph(id, u32::from_le_bytes(*index)))
            }
            _ => None,
        }
    }
}
