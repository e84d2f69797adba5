//! Reading the log at a start: cut a torn end, refuse a hole.
//!
//! Every segment's header says with which sequence it begins, so the last record of the segment
//! before it is known. Only the newest segment may end anywhere: what was being written when the
//! power went is cut off there, unless a later record proves that the missing one was on disk. After
//! that a new segment begins, so that the cut, too, is on record, and what lies behind it is never
//! read as part of the log.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::Config;
use super::alarm::{Alarm, doing};
use super::index::{Index, Place};
use super::log::{Log, Segment, path};
use super::record::{ALIGN, Found, HEAD, Record};
use super::segment::{BLOCK, Header, Top};
use super::trouble::Trouble;
use crate::disk::{Access, Disk, ensure_dir};

/// How far sequences go on behind a segment whose records cannot be counted: more than any holds.
const AHEAD: u64 = 1 << 32;
/// The fewest bytes of a record.
const SHORTEST: usize = HEAD + ALIGN;

/// A file below `log/`.
struct Slot<F> {
    slot: u64,
    file: F,
    len: u64,
    top: Top,
}

/// Everything recovery learns.
pub(super) struct Recovered<D: Disk> {
    pub(super) log: Log<D>,
    pub(super) index: Index,
    /// Alarms that were passed over because the owner asked to salvage what is there.
    pub(super) passed: Vec<Alarm>,
}

/// Collects alarms, or stops at the first.
struct Alarms {
    salvage: bool,
    passed: Vec<Alarm>,
}

impl Alarms {
    fn raise(&mut self, alarm: Alarm) -> Result<(), Alarm> {
        if !self.salvage {
            return Err(alarm);
        }
        self.passed.push(alarm);
        Ok(())
    }
}

/// Opens or founds the log.
pub(super) fn recover<D: Disk>(disk: D, config: Config) -> Result<Recovered<D>, Alarm> {
    let mut alarms = Alarms { salvage: config.salvage, passed: Vec::new() };
    make_dirs(&disk)?;
    let slots = newest_settled(&disk)?;
    refuse_newer(&slots)?;
    let (live, free, damaged) = sort(slots, &mut alarms)?;
    refuse_overlap(&live)?;
    let mut index = Index::default();
    let mut next = read_all(&disk, &live, &mut index, &mut alarms)?;
    for slot in &damaged {
        next = check_damaged(&disk, slot, next, &mut alarms)?;
        doing("remove a damaged segment", disk.unlink(&path(slot.slot)))?;
    }
    if !damaged.is_empty() {
        // Else a power cut brings it back, and by then its sequences may be behind ours.
        doing("sync the directory queue/log", disk.sync_dir(Path::new("log")))?;
    }
    let live = live.into_iter().map(|(number, s)| segment(s, number));
    let live: VecDeque<_> = live.collect();
    let free = keep_ready(&disk, free, config.segment)?;
    let needs = |number| index.needs(number);
    let log = Log::begin(disk, config, (live, free), next, needs).map_err(begin_failed)?;
    Ok(Recovered { log, index, passed: alarms.passed })
}

fn segment<F>(slot: Slot<F>, number: u64) -> Segment<F> {
    let (first, salt) = match slot.top {
        Top::Sound(header) => (header.first, header.salt),
        Top::Blank | Top::Newer(_) | Top::Damaged => (0, 0),
    };
    Segment { slot: slot.slot, number, first, salt, file: Arc::new(slot.file), size: slot.len }
}

fn begin_failed(trouble: Trouble) -> Alarm {
    let (Trouble::Full(error) | Trouble::Broken(error)) = trouble;
    Alarm::Disk { doing: "begin a new segment in queue/log".to_owned(), error }
}

fn make_dirs<D: Disk>(disk: &D) -> Result<(), Alarm> {
    for dir in ["log", "big"] {
        doing("make queue/log and queue/big", ensure_dir(disk, Path::new(dir)))?;
    }
    // Not only when they were made now: an earlier start may have died before this.
    doing("sync the directory queue", disk.sync_dir(Path::new("")))
}

/// Reads every header, with the newest segment's bytes as the disk holds them: an earlier queued
/// that died may have left things in the cache alone.
fn newest_settled<D: Disk>(disk: &D) -> Result<Vec<Slot<D::File>>, Alarm> {
    let mut slots = Vec::new();
    for name in doing("list queue/log", disk.list(Path::new("log")))? {
        if let Some(slot) = name.to_str().and_then(|n| n.parse().ok()).filter(|&n: &u64| n > 0) {
            slots.push(doing(&format!("read queue/log/{slot}"), open_slot(disk, slot))?);
        }
    }
    let mut settled = 0;
    while let Some(newest) = slots.iter_mut().max_by_key(|s| number(&s.top)) {
        if number(&newest.top) == 0 || newest.slot == settled {
            break;
        }
        settled = newest.slot;
        let name = format!("sync queue/log/{settled}");
        newest.top =
            doing(&name, disk.settle(&newest.file).and_then(|()| top(disk, &newest.file)))?;
    }
    Ok(slots)
}

fn open_slot<D: Disk>(disk: &D, slot: u64) -> std::io::Result<Slot<D::File>> {
    let file = disk.open(&path(slot), Access::Write)?;
    let (len, top) = (disk.len(&file)?, top(disk, &file)?);
    Ok(Slot { slot, file, len, top })
}

fn top<D: Disk>(disk: &D, file: &D::File) -> std::io::Result<Top> {
    let mut block = [0; BLOCK as usize];
    let n = disk.read_at(file, &mut block, 0)?;
    Ok(Header::decode(block.get(..n).unwrap_or_default()))
}

fn number(top: &Top) -> u64 {
    match top {
        Top::Sound(header) => header.number,
        Top::Blank | Top::Newer(_) | Top::Damaged => 0,
    }
}

fn refuse_newer<F>(slots: &[Slot<F>]) -> Result<(), Alarm> {
    slots.iter().try_for_each(|s| match s.top {
        Top::Newer(version) => Err(Alarm::Newer { file: s.slot.to_string(), version }),
        Top::Sound(_) | Top::Blank | Top::Damaged => Ok(()),
    })
}

type Live<F> = BTreeMap<u64, Slot<F>>;

/// Which files are the log, which are free, which are damaged.
#[expect(clippy::type_complexity, reason = "three lists, taken apart at once")]
fn sort<F>(
    slots: Vec<Slot<F>>,
    alarms: &mut Alarms,
) -> Result<(Live<F>, Vec<Slot<F>>, Vec<Slot<F>>), Alarm> {
    let headers = slots.iter().filter_map(|s| match s.top {
        Top::Sound(header) => Some(header),
        Top::Blank | Top::Newer(_) | Top::Damaged => None,
    });
    let newest = headers.max_by_key(|h| h.number);
    let oldest = newest.map_or(0, |h| h.oldest);
    let (mut live, mut free, mut damaged) = (Live::new(), Vec::new(), Vec::new());
    for slot in slots {
        match slot.top {
            Top::Sound(h) if h.number >= oldest => {
                let file = slot.slot.to_string();
                if let Some(twin) = live.insert(h.number, slot) {
                    let files = [twin.slot.to_string(), file];
                    return Err(Alarm::Twice { files, number: h.number });
                }
            }
            Top::Sound(_) | Top::Blank => free.push(slot),
            Top::Damaged | Top::Newer(_) => damaged.push(slot),
        }
    }
    if let Some(newest) = newest {
        for number in (oldest..newest.number).filter(|n| !live.contains_key(n)) {
            alarms.raise(Alarm::Missing { number, newest: newest.number })?;
        }
    }
    Ok((live, free, damaged))
}

/// Free files that are whole, never used ones among them if they have all their room on the disk;
/// others are removed and made again when needed.
fn keep_ready<D: Disk>(
    disk: &D,
    free: Vec<Slot<D::File>>,
    size: u64,
) -> Result<Vec<Segment<D::File>>, Alarm> {
    let (mut ready, mut unused) = (Vec::new(), false);
    for s in free {
        let number = number(&s.top);
        if s.len == size && (number > 0 || is_unused(disk, &s, size)) {
            unused |= number == 0;
            ready.push(segment(s, number));
        } else {
            doing("remove an unfinished segment", disk.unlink(&path(s.slot)))?;
        }
    }
    if unused {
        // Whoever made them may have died before their names were durable.
        let named = disk.sync_dir(Path::new("log")).and_then(|()| disk.sync_made());
        doing("sync the directory queue/log", named)?;
    }
    Ok(ready)
}

/// Is this a spare file that no segment was ever in, whole on the disk and not in the cache alone?
fn is_unused<D: Disk>(disk: &D, slot: &Slot<D::File>, size: u64) -> bool {
    let placed = || disk.placed(&slot.file).is_ok_and(|placed| placed >= size);
    let settled = || disk.settle(&slot.file).and_then(|()| top(disk, &slot.file));
    slot.top == Top::Blank && placed() && settled().is_ok_and(|top| top == Top::Blank)
}

/// The sequence of a segment's first record.
fn first(top: &Top) -> Option<u64> {
    match top {
        Top::Sound(header) => Some(header.first),
        Top::Blank | Top::Newer(_) | Top::Damaged => None,
    }
}

/// Sequences never run backwards. Where they do, a file is of another time than the others: its
/// letters have the numbers of theirs, and what is taken from now on would have them once more. To
/// choose between the two is not for us, so salvaging, too, ends here.
fn refuse_overlap<F>(live: &Live<F>) -> Result<(), Alarm> {
    let mut pairs = live.values().zip(live.values().skip(1));
    match pairs.find(|(before, after)| first(&after.top) < first(&before.top)) {
        Some((before, after)) => Err(overlap(before, after)),
        None => Ok(()),
    }
}

fn overlap<F>(before: &Slot<F>, after: &Slot<F>) -> Alarm {
    let files = [before.slot.to_string(), after.slot.to_string()];
    Alarm::Overlap { files, sequence: first(&after.top).unwrap_or(0) }
}

/// Reads every record in order; the sequence after the last.
fn read_all<D: Disk>(
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

/// Bytes of a segment that are looked at together: few enough to stay near the processor.
const WINDOW: u64 = 256 << 10;

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

/// A file whose header cannot be read is no loss unless records of this log follow it: recycling
/// it was cut short. The sequence to go on with.
fn check_damaged<D: Disk>(
    disk: &D,
    slot: &Slot<D::File>,
    next: u64,
    alarms: &mut Alarms,
) -> Result<u64, Alarm> {
    let mut bytes = vec![0; usize::try_from(slot.len).unwrap_or(usize::MAX)];
    let what = format!("read queue/log/{}", slot.slot);
    let n = doing(&what, disk.read_at(&slot.file, &mut bytes, 0))?;
    bytes.truncate(n);
    let (top, records) = bytes.split_at_checked(BLOCK as usize).unwrap_or((&bytes, &[]));
    // Without the salt a sound record may be from any time: then it counts.
    let found = match Header::spare_salt(top) {
        Some(salt) => Found::at(records, salt).filter(|found| found.sequence >= next),
        None => Found::at(records, 0).map(|found| Found { sequence: next, ..found }),
    };
    let Some(found) = found else { return Ok(next) };
    alarms.raise(Alarm::Header { file: slot.slot.to_string() })?;
    Ok(found.sequence.saturating_add(AHEAD))
}

#[cfg(test)]
mod tests;
