//! The segments' records, one after the other, and the place where they end: torn by a power cut, or
//! a hole.

use std::ops::RangeInclusive;

use super::super::alarm::{Alarm, doing};
use super::super::index::{Index, Place};
use super::super::record::{ALIGN, Found, HEAD, Record};
use super::super::segment::{BLOCK, Header, Top};
use super::{Alarms, Live, Slot, first, overlap};
use crate::disk::Disk;

/// The fewest bytes of a record.
const SHORTEST: usize = HEAD + ALIGN;
/// Bytes of a segment that are looked at together: few enough to stay near the processor.
const WINDOW: u64 = 256 << 10;

/// Reads every record in order; the sequence after the last.
pub(super) fn read_all<D: Disk>(
    disk: &D,
    live: &Live<D::File>,
    index: &mut Index,
    alarms: &mut Alarms,
) -> Result<u64, Alarm> {
    let mut next = 1;
    let mut following = live.values().skip(1);
    let mut window = Vec::new();
    for slot in live.values() {
        let Top::Sound(header) = slot.top else { continue };
        let after = following.next();
        let until = after.and_then(|s| first(&s.top));
        let (size, found) = (header.size, slot.len);
        if found < size {
            // A segment has its full length before its header is written.
            alarms.raise(Alarm::Short { file: slot.slot.to_string(), size, found })?;
        }
        let len = size.min(found);
        let mut reading = Reading { disk, slot, header, next: header.first };
        let mut view = Window { disk, slot, len, start: 0, bytes: std::mem::take(&mut window) };
        view.bytes.clear();
        let at = reading.records(&mut view, BLOCK, until, index)?;
        if let Some(after) = after
            && view.find(at, reading.next, header.salt)?.is_some()
        {
            return Err(overlap(slot, after));
        }
        window = view.bytes;
        next = if until == Some(reading.next) {
            reading.next
        } else {
            reading.end(at, len, until, index, alarms)?
        };
    }
    index.settle();
    Ok(next)
}

/// A part of a segment in memory.
struct Window<'a, D: Disk> {
    disk: &'a D,
    slot: &'a Slot<D::File>,
    /// Bytes of the segment.
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<D: Disk> Window<'_, D> {
    /// So many bytes from an offset on; `None` if the segment has not so many.
    fn get(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>, Alarm> {
        let end = at.saturating_add(len as u64);
        if end > self.len {
            return Ok(None);
        }
        let has = self.start.saturating_add(self.bytes.len() as u64);
        if at < self.start || end > has {
            self.load(at, (len as u64).max(WINDOW).min(self.len.saturating_sub(at)))?;
        }
        let from = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(len)))
    }

    fn load(&mut self, at: u64, len: u64) -> Result<(), Alarm> {
        self.start = at;
        self.bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        let read = self.disk.read_at(&self.slot.file, &mut self.bytes, at);
        let n = doing(&format!("read queue/log/{}", self.slot.slot), read)?;
        self.bytes.truncate(n);
        Ok(())
    }

    /// Where the record with this sequence is, and its length: at an offset, or at the block after
    /// it (where a sync ended).
    fn find(&mut self, at: u64, sequence: u64, salt: u64) -> Result<Option<(u64, usize)>, Alarm> {
        let mut begins = Some(at);
        while let Some(at) = begins {
            let ours = |head: &&[u8]| Found::claim(head, salt) == Some(sequence);
            let head = self.get(at, HEAD)?.filter(ours);
            if let Some(len) = head.and_then(Found::len_by_head)
                && self.get(at, len)?.and_then(Found::body).is_some()
            {
                return Ok(Some((at, len)));
            }
            begins = Some(at.next_multiple_of(BLOCK)).filter(|&block| block != at);
        }
        Ok(None)
    }
}

/// One segment being read.
struct Reading<'a, D: Disk> {
    disk: &'a D,
    slot: &'a Slot<D::File>,
    header: Header,
    next: u64,
}

impl<D: Disk> Reading<'_, D> {
    /// Takes records one after the other; where the first that is not there should be.
    fn records(
        &mut self,
        window: &mut Window<'_, D>,
        mut at: u64,
        until: Option<u64>,
        index: &mut Index,
    ) -> Result<u64, Alarm> {
        let salt = self.header.salt;
        while until.is_none_or(|until| self.next < until) {
            let Some((begin, len)) = window.find(at, self.next, salt)? else { break };
            let body = window.get(begin, len)?.and_then(Found::unproved_body);
            let record = body
                .and_then(Record::decode)
                .filter(|record| record.may_be(self.next))
                .ok_or_else(|| Alarm::Newer { file: self.slot.slot.to_string(), version: 0 })?;
            let place = Place {
                segment: self.header.number,
                offset: u32::try_from(begin).unwrap_or(u32::MAX),
                len: u32::try_from(len).unwrap_or(u32::MAX),
            };
            index.apply(self.next, &record, place);
            at = begin.saturating_add(len as u64);
            self.next = self.next.saturating_add(1);
        }
        Ok(at)
    }

    /// Judges the place where the next record is missing: the end, or a hole. The sequence after
    /// the last record.
    fn end(
        mut self,
        at: u64,
        len: u64,
        until: Option<u64>,
        index: &mut Index,
        alarms: &mut Alarms,
    ) -> Result<u64, Alarm> {
        let mut window =
            Window { disk: self.disk, slot: self.slot, len, start: 0, bytes: Vec::new() };
        if until.is_none() && !self.is_claimed(&mut window, at)? {
            return Ok(self.next);
        }
        // All of it: what proves a hole may lie anywhere behind it.
        window.load(0, len)?;
        let mut at = at;
        loop {
            let begin = usize::try_from(at).unwrap_or(usize::MAX);
            let Some((place, known)) = self.proof(&window.bytes, begin, until) else {
                return Ok(self.next);
            };
            alarms.raise(Alarm::Hole {
                file: self.slot.slot.to_string(),
                offset: begins(&window.bytes, begin, self.next, self.header.salt),
                missing: self.next,
                known,
            })?;
            // Only to salvage: go on with what is there.
            let Some(place) = place else { return Ok(known) };
            self.next = known;
            at = self.records(&mut window, place as u64, until, index)?;
            if until == Some(self.next) {
                return Ok(self.next);
            }
        }
    }

    /// The sequences that records behind an offset of so many bytes could have. No more can follow
    /// than there is room for: few places are worth a checksum.
    fn ahead(&self, at: u64, len: u64) -> RangeInclusive<u64> {
        let room = len.saturating_sub(at) / SHORTEST as u64;
        self.next.saturating_add(1)..=self.next.saturating_add(room)
    }

    /// Whether anything from an offset on may be a later record, sound or not. Mostly nothing is,
    /// and that is seen at a glance.
    fn is_claimed(&self, window: &mut Window<'_, D>, at: u64) -> Result<bool, Alarm> {
        let (ahead, salt) = (self.ahead(at, window.len), self.header.salt);
        let mut at = at.next_multiple_of(ALIGN as u64);
        while at < window.len {
            window.load(at, WINDOW.min(window.len.saturating_sub(at)))?;
            let (words, _) = window.bytes.as_chunks::<ALIGN>();
            if words.iter().any(|word| ahead.contains(&Found::sequence(*word, salt))) {
                return Ok(true);
            }
            at = at.saturating_add(WINDOW);
        }
        Ok(false)
    }

    /// What proves that the next record was on disk: a later record that says so (and where it
    /// is), or the segment that follows this one.
    fn proof(&self, bytes: &[u8], at: usize, until: Option<u64>) -> Option<(Option<usize>, u64)> {
        let ahead = self.ahead(at as u64, bytes.len() as u64);
        let (from, salt) = (at.next_multiple_of(ALIGN), self.header.salt);
        let later = (from..bytes.len()).step_by(ALIGN).find_map(|at| {
            let rest = bytes.get(at..)?;
            Found::claim(rest, salt).filter(|claim| ahead.contains(claim))?;
            let found = Found::at(rest, salt)?;
            let counts = until.is_none_or(|until| found.sequence < until);
            let proves = until.is_some() || found.synced >= self.next;
            (counts && proves).then_some((Some(at), found.sequence))
        });
        later.or(until.map(|until| (None, until)))
    }
}

/// Where a damaged record with this sequence still says it begins; else where it should.
fn begins(bytes: &[u8], at: usize, sequence: u64, salt: u64) -> usize {
    let claim = |at: usize| bytes.get(at..).and_then(|rest| Found::claim(rest, salt));
    let claims = |at: &usize| claim(*at) == Some(sequence);
    [at, at.next_multiple_of(BLOCK as usize)].into_iter().find(claims).unwrap_or(at)
}
