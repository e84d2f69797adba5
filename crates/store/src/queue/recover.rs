//! Reading the log at a start: cut a torn end, refuse a hole.
//!
//! Every segment's header says with which sequence it begins, so the last record of the segment
//! before it is known. Only the newest segment may end anywhere: what was being written when the
//! power went is cut off there, unless a later record proves that the missing one was on disk. After
//! that a new segment begins, so that the cut, too, is on record, and what lies behind it is never
//! read as part of the log.

mod records;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use self::records::read_all;
use super::Config;
use super::alarm::{Alarm, doing};
use super::index::Index;
use super::log::{Log, Segment, path};
use super::record::Found;
use super::segment::{BLOCK, Header, Top};
use super::trouble::Trouble;
use crate::disk::{Access, Disk, ensure_dir};

/// How far sequences go on behind a segment whose records cannot be counted: more than any holds.
const AHEAD: u64 = 1 << 32;

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
