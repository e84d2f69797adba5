//! Carrying forward: what has stayed long in the oldest segment is said again at the end of the
//! log, so that the segment can be used again.

use base::wire::queue::progress_block;

use super::index::{Item, Place};
use super::log::Trouble;
use super::record::{Found, Record};
use super::{Letter, Queue};
use crate::disk::Disk;

/// Bytes carried at a time, so that nobody waits long.
const STEP: u64 = 256 << 10;

/// What is to be carried out of the oldest segment.
#[derive(Debug, Default)]
pub(super) struct Carry {
    segment: u64,
    items: Vec<Item>,
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
            self.carry.segment = oldest;
            self.carry.items = self.index.items_in(oldest);
        }
        let mut budget = STEP;
        while budget > 0 {
            let Some(item) = self.carry.items.pop() else { break };
            budget = budget.saturating_sub(self.carry(oldest, item)?);
        }
        self.log.release(|segment| self.index.needs(segment));
        let more = !self.carry.items.is_empty();
        if !more {
            self.carry.segment = 0;
        }
        Ok(more)
    }

    /// Carries everything, and begins a segment whose header counts nothing older as the log's.
    pub(super) fn carry_all(&mut self) -> Result<(), Trouble> {
        let newest = self.log.newest();
        for segment in self.index.segments().into_iter().filter(|&s| s != newest) {
            for item in self.index.items_in(segment) {
                self.carry(segment, item)?;
            }
        }
        self.commit()?;
        self.log.forget_older(newest);
        self.log.turn()
    }

    fn worth_carrying(&self) -> bool {
        let (segments, bytes) = self.log.extent();
        segments > self.config.carry_above && self.index.live_bytes().saturating_mul(2) < bytes
    }

    /// Says one thing again, if it still lies there; how many bytes that took.
    fn carry(&mut self, segment: u64, item: Item) -> Result<u64, Trouble> {
        let Some(place) = self.place_of(item).filter(|place| place.segment == segment) else {
            return Ok(0);
        };
        let bytes = self.log.read(place)?;
        let Some(old) = Found::body(&bytes).and_then(Record::decode) else {
            self.carry.stuck = segment;
            return Ok(0);
        };
        let progress;
        let again = match (item, old) {
            (Item::Letter(id), Record::Letter(letter) | Record::Carried { letter, .. }) => {
                progress = self.progress_of(id);
                Record::Carried {
                    id,
                    letter: Letter { finishes: None, ..letter },
                    progress: &progress,
                }
            }
            (_, record) => record,
        };
        self.record(&again)?;
        Ok(u64::from(place.len))
    }

    fn place_of(&self, item: Item) -> Option<Place> {
        match item {
            Item::Letter(id) => self.index.get(id).map(|known| known.place),
            Item::Paragraph(id, index) => self.index.get(id)?.paragraph(index),
        }
    }

    fn progress_of(&self, id: u64) -> Vec<u8> {
        let known = self.index.get(id).filter(|known| known.tried());
        known.map(|known| progress_block(known.progress())).unwrap_or_default()
    }
}
