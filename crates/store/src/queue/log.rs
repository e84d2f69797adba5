//! The log: records gathered, written in one piece, made durable by one sync, which nobody stands
//! still for: while one sync is under way the next records are gathered and written behind it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::errands::{Errand, Left, Secured};
use super::index::Place;
use super::recent::Recent;
use super::record::Record;
use super::segment::BLOCK;
use super::trouble::Trouble;
use super::work::{Hands, Job, Lane, Work};
use crate::disk::Disk;

/// Bytes that are written though nobody waits for them and no sync begins.
const MUCH: usize = 256 << 10;

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment<F> {
    /// Its name below `log/`, for ever.
    pub(super) slot: u64,
    /// The segment number it holds; 0 if it never held one.
    pub(super) number: u64,
    /// Its first record.
    pub(super) first: u64,
    /// What the sequences of its records are written under.
    pub(super) salt: u64,
    pub(super) file: Arc<F>,
    pub(super) size: u64,
}

/// A piece of the log's work that is not known to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flight {
    /// After it everything up to here is durable.
    Sync { upto: u64 },
    /// The same, and the newest segment may be written to; its header names this as the oldest.
    Turn { upto: u64, oldest: u64 },
}

/// The log, open at its end.
#[derive(Debug)]
pub(super) struct Log<D: Disk> {
    pub(super) disk: D,
    pub(super) config: Config,
    pub(super) hands: Hands<D::File>,
    /// From the oldest that matters to the one that is being written.
    pub(super) live: VecDeque<Segment<D::File>>,
    /// Files that may hold a segment when `number < named`.
    pub(super) free: Vec<Segment<D::File>>,
    /// The oldest segment that the newest header on disk counts as part of the log.
    pub(super) named: u64,
    /// The newest segment's first record, as its header says.
    pub(super) first: u64,
    /// How often that header was said again.
    pub(super) restated: u64,
    pub(super) next: u64,
    /// The last record that is in its file.
    pub(super) written: u64,
    /// The last record that is durable.
    pub(super) synced: u64,
    buffer: Vec<u8>,
    /// Where in the newest segment the buffer goes.
    pub(super) at: u64,
    /// Bytes were written since the last sync was begun.
    pub(super) dirty: bool,
    /// The newest segment's header is not on disk yet: nothing may be written behind it.
    pub(super) turning: bool,
    pub(super) flights: VecDeque<Flight>,
    pub(super) errands: VecDeque<Errand>,
    /// The slot whose spare segment is being made.
    pub(super) making: Option<u64>,
    pub(super) secured: Vec<Secured>,
    /// Slots whose spare files are being removed, or could not be.
    pub(super) leaving: Vec<u64>,
    pub(super) left: Vec<Left>,
    recent: Recent,
    broken: bool,
}

/// Those that are the log, from the oldest on, and those that are free.
pub(super) type Segments<F> = (VecDeque<Segment<F>>, Vec<Segment<F>>);

/// The name of a segment's file.
pub(super) fn path(slot: u64) -> PathBuf {
    Path::new("log").join(slot.to_string())
}

impl<D: Disk> Log<D> {
    /// Begins a new segment after those that are live (recovery found them, and free ones), with
    /// `next` as its first record. Its header counts none any more at the old end that nothing
    /// `needs`: else a queue in which little happens would grow with every start.
    pub(super) fn begin(
        disk: D,
        config: Config,
        (live, free): Segments<D::File>,
        next: u64,
        needs: impl Fn(u64) -> bool,
    ) -> Result<Self, Trouble> {
        let mut log = Self {
            disk,
            config,
            hands: Hands::ours(),
            named: live.front().map_or(u64::MAX, |s| s.number),
            live,
            free,
            first: next,
            restated: 0,
            next,
            written: next.saturating_sub(1),
            synced: next.saturating_sub(1),
            buffer: Vec::new(),
            at: 0,
            dirty: false,
            turning: false,
            flights: VecDeque::new(),
            errands: VecDeque::new(),
            making: None,
            secured: Vec::new(),
            leaving: Vec::new(),
            left: Vec::new(),
            recent: Recent::default(),
            broken: false,
        };
        // What the newest header on disk still counts is not written to before ours is there.
        log.release(needs);
        log.turn()?;
        log.commit()?;
        Ok(log)
    }

    /// The sequence of the next record.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Has anything been appended or written that no sync under way will make durable?
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty || !self.buffer.is_empty()
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
        let (segment, salt) = self.live.back().map_or((0, 0), |s| (s.number, s.salt));
        let place = Place {
            segment,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
        };
        let sequence = self.next;
        record.encode(sequence, self.synced, salt, &mut self.buffer);
        self.next = self.next.saturating_add(1);
        Ok((sequence, place))
    }

    /// Writes what has been appended, unless the newest segment's header is still on its way to
    /// the disk; not durable yet.
    ///
    /// # Errors
    /// What the disk says. The log is then broken: it takes and says nothing any more.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        self.check()?;
        let Some(segment) = self.live.back().filter(|_| !self.turning && !self.buffer.is_empty())
        else {
            return Ok(());
        };
        // Whole blocks: of one that is written in part, the kernel would have to read the rest,
        // which is seldom in memory.
        let len = self.buffer.len();
        let end = self.at.saturating_add(len as u64).next_multiple_of(BLOCK);
        if end <= self.config.segment {
            let whole = usize::try_from(end.saturating_sub(self.at)).unwrap_or(len);
            self.buffer.resize(whole, 0);
        }
        let outcome = self.disk.write_at(&segment.file, &self.buffer, self.at);
        self.buffer.truncate(len);
        let bytes = std::mem::take(&mut self.buffer);
        let (number, at) = (segment.number, self.at);
        self.at = at.saturating_add(bytes.len() as u64);
        self.buffer = self.recent.keep(number, at, bytes);
        self.dirty = true;
        self.or_broken(outcome)?;
        self.written = self.next.saturating_sub(1);
        Ok(())
    }

    /// Writes what has been appended if it is much. A little is written in one piece with what
    /// comes until the next sync begins: that is less work than a write for each turn.
    ///
    /// # Errors
    /// As [`Log::flush`].
    pub(super) fn flush_much(&mut self) -> Result<(), Trouble> {
        if self.buffer.len() < MUCH { Ok(()) } else { self.flush() }
    }

    /// Writes what has been appended and begins to make everything written durable, unless that
    /// is under way for earlier records: then ask again when it has landed. True if it was begun.
    ///
    /// # Errors
    /// As [`Log::flush`].
    pub(super) fn begin_sync(&mut self) -> Result<bool, Trouble> {
        self.flush()?;
        if !self.flights.is_empty() || !self.dirty {
            return Ok(false);
        }
        let Some(segment) = self.live.back() else { return Ok(false) };
        let work = Work(Job::Sync(segment.file.clone()));
        self.hands.start(&self.disk, Lane::Log, work);
        self.flights.push_back(Flight::Sync { upto: self.written });
        self.dirty = false;
        // What may be promised shares no block with what comes.
        self.at = self.at.next_multiple_of(BLOCK);
        Ok(true)
    }

    /// Writes what has been appended and waits until everything is durable.
    ///
    /// # Errors
    /// What the disk says. The log is then broken.
    pub(super) fn commit(&mut self) -> Result<(), Trouble> {
        loop {
            self.begin_sync()?;
            if self.flights.is_empty() && !self.is_dirty() {
                return Ok(());
            }
            while !self.flights.is_empty() {
                self.land(true)?;
            }
        }
    }

    /// Hears of the log's next piece of work, waiting for it if told to; false if none is done.
    ///
    /// # Errors
    /// What the disk said. The log is then broken.
    pub(super) fn land(&mut self, wait: bool) -> Result<bool, Trouble> {
        self.check()?;
        if self.flights.is_empty() {
            return Ok(false);
        }
        let outcome = match self.hands.next(&self.disk, Lane::Log, wait) {
            Some(done) => done.0.map(|_| ()),
            None if wait => Err(io::Error::other("who syncs the log is gone")),
            None => return Ok(false),
        };
        self.or_broken(outcome)?;
        match self.flights.pop_front() {
            Some(Flight::Sync { upto }) => self.synced = upto,
            Some(Flight::Turn { upto, oldest }) => {
                (self.synced, self.named, self.turning) = (upto, oldest, false);
            }
            None => {}
        }
        Ok(true)
    }

    /// The first `len` bytes of a record that was appended, and whether they are as we wrote them
    /// for certain: they did not come from the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn read(&self, place: Place, len: usize) -> io::Result<(Cow<'_, [u8]>, bool)> {
        let gathered = u64::from(place.offset).checked_sub(self.at);
        if let Some(from) = gathered.filter(|_| place.segment == self.newest()) {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let bytes = self.buffer.get(from..from.saturating_add(len));
            return bytes.map(|b| (b.into(), true)).ok_or(io::ErrorKind::NotFound.into());
        }
        if let Some(bytes) = self.recent.get(place, len) {
            return Ok((bytes.into(), true));
        }
        let segment = self.segment(place.segment).ok_or(io::ErrorKind::NotFound)?;
        crate::disk::read_exact(&self.disk, &segment.file, place.offset.into(), len)
            .map(|bytes| (bytes.into(), false))
    }

    /// A segment of the log, by its number.
    pub(super) fn segment(&self, number: u64) -> Option<&Segment<D::File>> {
        let n = self.live.binary_search_by_key(&number, |s| s.number).ok()?;
        self.live.get(n)
    }

    pub(super) fn fits(&self, len: usize) -> bool {
        let end = self.at.saturating_add(self.buffer.len() as u64).saturating_add(len as u64);
        self.live.back().is_some_and(|s| end <= s.size)
    }

    pub(super) fn check(&self) -> Result<(), Trouble> {
        if self.broken {
            return Err(Trouble::Broken(io::Error::other("an earlier write or sync failed")));
        }
        Ok(())
    }

    pub(super) fn or_broken(&mut self, outcome: io::Result<()>) -> Result<(), Trouble> {
        outcome.map_err(|error| {
            self.broken = true;
            Trouble::Broken(error)
        })
    }
}
