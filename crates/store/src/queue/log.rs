//! The log: records gathered, written in one piece, made durable by one sync.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use super::index::Place;
use super::record::Record;
use super::segment::{BLOCK, HEADER, Header, RESTATED};
use crate::disk::Disk;

/// Why a record could not be taken.
#[derive(Debug)]
pub enum Trouble {
    /// There is no room on the disk for another segment, or no descriptor for its file. Nothing is
    /// lost; try again later.
    Full(io::Error),
    /// A write or a sync failed. Nothing may be acknowledged any more; only a new start helps.
    Broken(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(e) => write!(f, "no room for another segment of the log: {e}"),
            Self::Broken(e) => write!(f, "unable to write or sync the log: {e}"),
        }
    }
}

impl std::error::Error for Trouble {}

/// Is this the disk's way of saying that it is full, or the kernel's that it opens no more files?
/// Either passes, and nothing that was written is in doubt.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    const NO_DESCRIPTORS: [i32; 2] = [23, 24]; // ENFILE, EMFILE
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
        || error.raw_os_error().is_some_and(|number| NO_DESCRIPTORS.contains(&number))
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full(error) } else { Self::Broken(error) }
    }
}

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment<F> {
    /// Its name below `log/`, for ever.
    pub(super) slot: u64,
    /// The segment number it holds; 0 if it never held one.
    pub(super) number: u64,
    pub(super) file: F,
    pub(super) size: u64,
}

/// The log, open at its end.
#[derive(Debug)]
pub(super) struct Log<D: Disk> {
    pub(super) disk: D,
    config: Config,
    /// From the oldest that matters to the one that is being written.
    live: VecDeque<Segment<D::File>>,
    /// Files that may hold a segment when `number < named`.
    free: Vec<Segment<D::File>>,
    /// The oldest segment that the newest header on disk counts as part of the log.
    named: u64,
    /// The newest segment's first record, as its header says.
    first: u64,
    /// Its salt.
    salt: u64,
    /// How often that header was said again.
    restated: u64,
    next: u64,
    synced: u64,
    buffer: Vec<u8>,
    /// Where in the newest segment the buffer goes.
    at: u64,
    /// Bytes were written since the last sync.
    dirty: bool,
    /// Large letters have names that are not durable yet: no record may speak of them before.
    pub(super) renamed: bool,
    broken: bool,
}

/// The name of a segment's file.
pub(super) fn path(slot: u64) -> PathBuf {
    Path::new("log").join(slot.to_string())
}

impl<D: Disk> Log<D> {
    /// Begins a new segment after `live` (what recovery found), with `next` as its first record.
    pub(super) fn begin(
        disk: D,
        config: Config,
        live: VecDeque<Segment<D::File>>,
        free: Vec<Segment<D::File>>,
        next: u64,
    ) -> Result<Self, Trouble> {
        let mut log = Self {
            disk,
            config,
            named: live.front().map_or(u64::MAX, |s| s.number),
            live,
            free,
            first: next,
            salt: 0,
            restated: 0,
            next,
            synced: next.saturating_sub(1),
            buffer: Vec::new(),
            at: 0,
            dirty: false,
            renamed: false,
            broken: false,
        };
        log.turn()?;
        Ok(log)
    }

    /// The sequence of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest segment, if it is not also the newest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.live.front().filter(|_| self.live.len() > 1).map(|s| s.number)
    }

    /// The number of the segment that is being written.
    pub(super) fn newest(&self) -> u64 {
        self.live.back().map_or(0, |s| s.number)
    }

    /// Takes everything older than a segment out of the log.
    pub(super) fn forget_older(&mut self, number: u64) {
        self.release(|n| n >= number);
    }

    /// How many segments the log has, and bytes in all of them but the newest.
    pub(super) fn extent(&self) -> (usize, u64) {
        let older = self.live.iter().rev().skip(1);
        (self.live.len(), older.fold(0, |sum, s| sum.saturating_add(s.size)))
    }

    /// Has anything been appended or written since the last sync?
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty || !self.buffer.is_empty()
    }

    /// Makes sure that a record of this length can be taken and that a spare segment remains after
    /// it. New letters ask this first, so that on a full disk there is still room to note what
    /// becomes of the old ones.
    ///
    /// # Errors
    /// [`Trouble`]; nothing has changed.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), Trouble> {
        self.prepare(if self.fits(len) { 1 } else { 2 })
    }

    /// Takes a record into the buffer; its sequence and place.
    ///
    /// # Errors
    /// [`Trouble`]; the record is then not taken.
    pub(super) fn append(&mut self, record: &Record<'_>) -> Result<(u64, Place), Trouble> {
        self.check()?;
        let len = record.encoded_len();
        if len as u64 > self.config.segment.saturating_sub(BLOCK) {
            return Err(Trouble::Full(io::ErrorKind::FileTooLarge.into()));
        }
        if !self.fits(len) {
            self.turn()?;
        }
        let offset = self.at.saturating_add(self.buffer.len() as u64);
        let place = Place {
            segment: self.live.back().map_or(0, |s| s.number),
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        let sequence = self.next;
        record.encode(sequence, self.synced, self.salt, &mut self.buffer);
        self.next = self.next.saturating_add(1);
        Ok((sequence, place))
    }

    /// Writes what has been appended; not durable yet.
    ///
    /// # Errors
    /// What the disk says. The log is then broken: it takes and says nothing any more.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        self.check()?;
        if std::mem::take(&mut self.renamed) {
            let outcome = self.disk.sync_dir(Path::new("big"));
            self.or_broken(outcome)?;
        }
        let Some(segment) = self.live.back().filter(|_| !self.buffer.is_empty()) else {
            return Ok(());
        };
        let outcome = self.disk.write_at(&segment.file, &self.buffer, self.at);
        self.at = self.at.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        self.buffer.shrink_to(super::BUFFER_KEPT);
        self.dirty = true;
        self.or_broken(outcome)
    }

    /// Writes what has been appended and makes everything written durable: one write, one sync.
    ///
    /// # Errors
    /// What the disk says. The log is then broken.
    pub(super) fn commit(&mut self) -> Result<(), Trouble> {
        self.flush()?;
        if let Some(segment) = self.live.back().filter(|_| self.dirty) {
            let outcome = self.disk.sync(&segment.file);
            self.or_broken(outcome)?;
        }
        self.dirty = false;
        self.synced = self.next.saturating_sub(1);
        // What is on disk shares no block with what comes.
        self.at = self.at.next_multiple_of(BLOCK);
        Ok(())
    }

    /// Frees segments at the old end that `needs` does not claim.
    pub(super) fn release(&mut self, needs: impl Fn(u64) -> bool) {
        while self.live.len() > 1 && self.live.front().is_some_and(|s| !needs(s.number)) {
            self.free.extend(self.live.pop_front());
        }
    }

    /// Makes one spare segment ready if there is none, and removes files that are too many.
    ///
    /// # Errors
    /// [`Trouble`]; `Full` costs nothing.
    pub(super) fn tend(&mut self) -> Result<(), Trouble> {
        self.prepare(1)?;
        while self.free.len() > self.config.spares {
            let Some(n) = self.reusable() else { break };
            let segment = self.free.swap_remove(n);
            // If it comes back after a crash it is still older than what any header names.
            self.disk.unlink(&path(segment.slot)).map_err(Trouble::Broken)?;
        }
        Ok(())
    }

    /// The bytes of a record that was appended.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn read(&mut self, place: Place) -> Result<Vec<u8>, Trouble> {
        self.flush()?;
        let segment = self.live.iter().find(|s| s.number == place.segment);
        let segment = segment.ok_or(Trouble::Broken(io::ErrorKind::NotFound.into()))?;
        crate::disk::read_exact(&self.disk, &segment.file, place.offset.into(), place.len as usize)
            .map_err(Trouble::Broken)
    }

    fn fits(&self, len: usize) -> bool {
        let end = self.at.saturating_add(self.buffer.len() as u64).saturating_add(len as u64);
        self.live.back().is_some_and(|s| end <= s.size)
    }

    fn check(&self) -> Result<(), Trouble> {
        if self.broken {
            return Err(Trouble::Broken(io::Error::other("an earlier write or sync failed")));
        }
        Ok(())
    }

    fn or_broken(&mut self, outcome: io::Result<()>) -> Result<(), Trouble> {
        outcome.map_err(|error| {
            self.broken = true;
            Trouble::Broken(error)
        })
    }

    /// A file whose segment no header on disk counts as part of the log.
    fn reusable(&self) -> Option<usize> {
        self.free.iter().position(|s| self.is_reusable(s))
    }

    fn is_reusable(&self, segment: &Segment<D::File>) -> bool {
        segment.number < self.named && self.is_whole(segment)
    }

    /// One of another length (damaged, or of another version's size) goes at the next start.
    fn is_whole(&self, segment: &Segment<D::File>) -> bool {
        segment.size == self.config.segment
    }

    /// Has so many spare files ready.
    fn prepare(&mut self, wanted: usize) -> Result<(), Trouble> {
        self.check()?;
        while self.ready() < wanted {
            let segment = make(&self.disk, self.unused_slot(), self.config.segment);
            match segment.map_err(Trouble::from) {
                Ok(segment) => self.free.push(segment),
                Err(Trouble::Broken(error)) => return self.or_broken(Err(error)),
                Err(full) if self.free.iter().all(|s| self.is_reusable(s) || !self.is_whole(s)) => {
                    return Err(full);
                }
                Err(Trouble::Full(_)) => self.restate()?,
            }
        }
        Ok(())
    }

    fn ready(&self) -> usize {
        self.free.iter().filter(|s| self.is_reusable(s)).count()
    }

    /// Says the newest header again, in another of its sectors, with what is the oldest segment
    /// now: so that what was freed since can be used again though there is no room to begin
    /// another. What freed it is on disk before.
    fn restate(&mut self) -> Result<(), Trouble> {
        self.commit()?;
        let (Some(front), Some(back)) = (self.live.front(), self.live.back()) else {
            return Ok(());
        };
        let (oldest, number, size) = (front.number, back.number, back.size);
        let sector = (self.restated % RESTATED).saturating_add(1);
        let (first, salt) = (self.first, self.salt);
        let header = Header { number, first, oldest, size, salt }.encode();
        let at = sector.saturating_mul(HEADER as u64);
        let written = self.disk.write_at(&back.file, &header, at);
        let outcome = written.and_then(|()| self.disk.sync(&back.file));
        self.or_broken(outcome)?;
        self.restated = self.restated.saturating_add(1);
        self.named = oldest;
        Ok(())
    }

    fn unused_slot(&self) -> u64 {
        let used = |slot| self.live.iter().chain(&self.free).any(|s| s.slot == slot);
        (1..=u64::MAX).find(|slot| !used(*slot)).unwrap_or(0)
    }

    /// Begins the next segment. All records before it are on disk before its header is, and the
    /// header before its first record.
    pub(super) fn turn(&mut self) -> Result<(), Trouble> {
        self.prepare(1)?;
        if !self.live.is_empty() {
            self.commit()?;
        }
        let Some(n) = self.reusable() else { return Ok(()) };
        let mut segment = self.free.swap_remove(n);
        segment.number = self.live.back().map_or(1, |s| s.number.saturating_add(1));
        let oldest = self.live.front().map_or(segment.number, |s| s.number);
        let (number, size) = (segment.number, segment.size);
        let salt = salt(self.config.secret, number);
        let header = Header { number, first: self.next, oldest, size, salt };
        let written = self.disk.write_at(&segment.file, &header.block(), 0);
        let outcome = written.and_then(|()| self.disk.sync(&segment.file));
        self.or_broken(outcome)?;
        self.live.push_back(segment);
        (self.named, self.at) = (oldest, BLOCK);
        (self.first, self.salt, self.restated) = (self.next, salt, 0);
        Ok(())
    }
}

/// The salt of a segment: another for each, all from one secret (SplitMix64).
const fn salt(secret: u64, number: u64) -> u64 {
    let mut z = secret.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes a file of zeros, all of it on disk, so that later writes change no metadata.
fn make<D: Disk>(disk: &D, slot: u64, size: u64) -> io::Result<Segment<D::File>> {
    let name = path(slot);
    crate::disk::remove(disk, &name)?;
    let file = disk.create(&name)?;
    let outcome = fill(disk, &file, size).and_then(|()| disk.sync_dir(Path::new("log")));
    if let Err(error) = outcome {
        // Half a file would keep the disk full.
        let _ = disk.unlink(&name);
        return Err(error);
    }
    Ok(Segment { slot, number: 0, file, size })
}

/// Writes `size` bytes of zeros and syncs them.
fn fill<D: Disk>(disk: &D, file: &D::File, size: u64) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let zeros = vec![0; CHUNK.min(size) as usize];
    let mut at = 0;
    while at < size {
        let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        let chunk = zeros.get(..left).unwrap_or(&zeros);
        disk.write_at(file, chunk, at)?;
        at = at.saturating_add(chunk.len() as u64);
    }
    disk.sync(file)
}
