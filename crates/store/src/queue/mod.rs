//! The queue: an append-only log with group commit, an index in memory, large letters apart.
//!
//! ```text
//! queue/log/<n>     segments: one block of header, then records; files are used again and again
//! queue/big/<id>    the bytes of a letter too large for a record
//! ```
//!
//! What is promised: a letter [`Queue::accept`]ed is there, whole and once, after every crash that
//! comes after the [`Queue::commit`] that followed; a crash before it leaves it there whole or not
//! at all. What recipients came to may be forgotten until the next commit. `tests/crash` cuts the
//! power at every step of all of this.
//!
//! A segment is used again when nothing in it matters any more. What stays long is carried forward
//! once the log is more than twice as long as what matters in it. Decision page
//! `docs/decisions/queue-log.md` has the reasons.

mod alarm;
mod big;
mod carry;
mod crc;
mod index;
mod log;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;

use std::io;

use base::limits;
use base::time::Moment;
use base::wire::queue::{Envelope, Note};

pub use alarm::Alarm;
pub use big::Spill;
pub use crc::crc32c;
pub use index::{Index, Known};
pub use log::Trouble;
pub use segment::BLOCK;

use crate::disk::{Access, Disk};
use carry::Carry;
use log::Log;
use record::{Bytes, Found, Letter, Record};

/// Bytes of the batch buffer that are kept from one commit to the next.
const BUFFER_KEPT: usize = 1 << 20;

/// Sizes of a queue; a test's are small.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of a segment, a multiple of [`BLOCK`].
    pub segment: u64,
    /// Letters up to this size lie in the log.
    pub inline: usize,
    /// The longest envelope.
    pub envelope: usize,
    /// Free segment files to keep.
    pub spares: usize,
    /// Carry letters forward only in a log of more segments than this.
    pub carry_above: usize,
    /// Go on after an [`Alarm`] with what is there.
    pub salvage: bool,
    /// A random number that nobody else knows, another at every start: what strangers write into
    /// letters must not read as records of the log.
    pub secret: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment: limits::LOG_SEGMENT,
            inline: limits::INLINE_LETTER,
            envelope: limits::LOGGED_ENVELOPE,
            spares: 3,
            carry_above: 8,
            salvage: false,
            secret: 0,
        }
    }
}

/// The bytes of a letter to be accepted.
#[derive(Debug)]
pub enum Content<'a, F> {
    /// In memory, at most [`Config::inline`] of them.
    Inline(&'a [u8]),
    /// In a file that [`Queue::spill`] began.
    Spilled(&'a Spill<F>),
}

/// A letter to be accepted.
#[derive(Debug)]
pub struct NewLetter<'a, F> {
    /// Now.
    pub birth: Moment,
    /// Who queues it.
    pub uid: u32,
    /// Which process queues it.
    pub pid: u32,
    /// The letter whose bounce this is.
    pub finishes: Option<u64>,
    /// Sender and recipients.
    pub envelope: Envelope<'a>,
    /// The letter, `Received` line included.
    pub content: Content<'a, F>,
}

/// The bytes of a letter in the queue.
#[derive(Debug)]
pub enum Stored<F> {
    /// These.
    Inline(Vec<u8>),
    /// This file, open for reading.
    Apart(F),
}

/// The queue, open.
#[derive(Debug)]
pub struct Queue<D: Disk> {
    config: Config,
    log: Log<D>,
    index: Index,
    carry: Carry,
    /// Files in `big/` to remove once it is durable that they are not needed.
    unneeded: Vec<u64>,
    serial: u64,
}

impl<D: Disk> Queue<D> {
    /// Opens the queue below `disk`, or founds it; whatever an earlier run left unfinished is put
    /// in order. The alarms passed over are returned too (only with [`Config::salvage`]).
    ///
    /// # Errors
    /// An [`Alarm`]; then nothing was changed that mattered.
    pub fn open(disk: D, config: Config) -> Result<(Self, Vec<Alarm>), Alarm> {
        let recover::Recovered { log, index, passed } = recover::recover(disk, config)?;
        let mut queue =
            Self { config, log, index, carry: Carry::default(), unneeded: Vec::new(), serial: 0 };
        let passed = queue.check_big(passed)?;
        big::sweep(&queue.log.disk, &queue.index)?;
        if !passed.is_empty() {
            let outcome = queue.carry_all();
            outcome.map_err(|t| Alarm::Disk {
                doing: "write anew what was salvaged".to_owned(),
                error: io::Error::other(t.to_string()),
            })?;
        }
        Ok((queue, passed))
    }

    fn check_big(&mut self, mut passed: Vec<Alarm>) -> Result<Vec<Alarm>, Alarm> {
        for alarm in big::check(&self.log.disk, &self.index)? {
            let Alarm::Big { id, .. } = &alarm else { continue };
            if !self.config.salvage {
                return Err(alarm);
            }
            self.record(&Record::Finished(*id)).map_err(|t| Alarm::Disk {
                doing: format!("give up letter {id}"),
                error: io::Error::other(t.to_string()),
            })?;
            passed.push(alarm);
        }
        Ok(passed)
    }

    /// Every letter, as far as it is known; what was accepted since the last commit included.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The number the next letter will have.
    pub fn next_id(&self) -> u64 {
        self.log.next()
    }

    /// Is anything written or appended that is not durable yet?
    pub fn is_dirty(&self) -> bool {
        self.log.is_dirty()
    }

    /// Begins a file for a letter that is too large for memory or for the log.
    ///
    /// # Errors
    /// What the disk says; nothing has changed.
    pub fn spill(&mut self) -> io::Result<Spill<D::File>> {
        self.serial = self.serial.saturating_add(1);
        big::begin(&self.log.disk, self.serial)
    }

    /// Appends to such a file.
    ///
    /// # Errors
    /// What the disk says. [`Queue::discard`] the file then.
    pub fn push(&mut self, spill: &mut Spill<D::File>, bytes: &[u8]) -> io::Result<()> {
        big::push(&self.log.disk, spill, bytes)
    }

    /// Forgets such a file.
    pub fn discard(&mut self, spill: &Spill<D::File>) {
        big::discard(&self.log.disk, spill);
    }

    /// Takes a letter; its number. It is promised when [`Queue::commit`] has returned.
    ///
    /// # Errors
    /// [`Trouble::Full`]: the letter is not taken, all else is well. A spilled file is then still
    /// to be discarded. [`Trouble::Broken`]: stop.
    pub fn accept(&mut self, new: &NewLetter<'_, D::File>) -> Result<u64, Trouble> {
        let bytes = match new.content {
            Content::Inline(bytes) => Bytes::Here(bytes),
            Content::Spilled(spill) => Bytes::Apart(spill.len()),
        };
        let NewLetter { birth, uid, pid, finishes, envelope, .. } = *new;
        let record = Record::Letter(Letter { birth, uid, pid, finishes, envelope, bytes });
        let long = envelope.as_bytes().len() > self.config.envelope;
        let large = matches!(bytes, Bytes::Here(here) if here.len() > self.config.inline);
        if long || large {
            return Err(Trouble::Full(io::ErrorKind::FileTooLarge.into()));
        }
        self.log.reserve(record.encoded_len())?;
        if let Content::Spilled(spill) = new.content {
            big::place(&self.log.disk, spill, self.log.next())?;
            self.log.renamed = true;
        }
        self.record(&record)
    }

    /// Notes what came of one attempt; false if there is no such letter or recipient.
    ///
    /// # Errors
    /// [`Trouble`]
    pub fn note(&mut self, id: u64, index: u32, note: Note<'_>) -> Result<bool, Trouble> {
        if self.index.get(id).is_none_or(|known| index >= known.recipients) {
            return Ok(false);
        }
        self.record(&match note {
            Note::Done => Record::Done { id, index },
            Note::Deferred(next) => Record::Deferred { id, index, next },
            Note::Failed(paragraph) => Record::Failed { id, index, paragraph },
        })?;
        Ok(true)
    }

    /// Forgets a letter; false if there is none.
    ///
    /// # Errors
    /// [`Trouble`]
    pub fn finish(&mut self, id: u64) -> Result<bool, Trouble> {
        let known = self.index.get(id).is_some();
        if known {
            self.record(&Record::Finished(id))?;
            self.log.release(|segment| self.index.needs(segment));
        }
        Ok(known)
    }

    /// Writes what was taken, without making it durable.
    ///
    /// # Errors
    /// [`Trouble`]
    pub fn flush(&mut self) -> Result<(), Trouble> {
        self.log.flush()
    }

    /// Makes everything taken so far durable: one write, one sync (and one for the names of large
    /// letters, if there were any).
    ///
    /// # Errors
    /// [`Trouble::Broken`]: nothing may be acknowledged any more; stop and start again.
    pub fn commit(&mut self) -> Result<(), Trouble> {
        self.log.commit()?;
        for id in std::mem::take(&mut self.unneeded) {
            // If this fails, the next start removes it.
            let _ = self.log.disk.unlink(&big::path(id));
        }
        Ok(())
    }

    /// Work for a quiet moment: free segments, a spare one ready, a few letters carried forward.
    /// True if there is more to carry.
    ///
    /// # Errors
    /// [`Trouble`]; `Full` is no reason to stop.
    pub fn tend(&mut self) -> Result<bool, Trouble> {
        self.log.release(|segment| self.index.needs(segment));
        self.log.tend()?;
        let more = self.carry_some()?;
        self.log.flush()?;
        Ok(more)
    }

    /// The letter's envelope, a text0 block for [`Envelope::new`].
    ///
    /// # Errors
    /// `NotFound`, `InvalidData` if the disk has lost or changed it, or what the disk says.
    pub fn envelope(&mut self, id: u64) -> io::Result<Vec<u8>> {
        self.with_letter(id, |letter| letter.envelope.as_bytes().to_vec())
    }

    /// The letter's bytes.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn content(&mut self, id: u64) -> io::Result<Stored<D::File>> {
        let apart = self.index.get(id).ok_or(io::ErrorKind::NotFound)?.apart;
        if apart {
            return self.log.disk.open(&big::path(id), Access::Read).map(Stored::Apart);
        }
        self.with_letter(id, |letter| match letter.bytes {
            Bytes::Here(bytes) => Stored::Inline(bytes.to_vec()),
            Bytes::Apart(_) => Stored::Inline(Vec::new()),
        })
    }

    /// The failure paragraphs of a letter, in the order of its recipients.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn paragraphs(&mut self, id: u64) -> io::Result<Vec<Vec<u8>>> {
        let known = self.index.get(id).ok_or(io::ErrorKind::NotFound)?;
        let places: Vec<_> = known.paragraphs().collect();
        places.into_iter().map(|place| self.paragraph_at(place)).collect()
    }

    /// The failure paragraph of the first recipient from `index` on that has one.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn paragraph_from(&mut self, id: u64, index: u32) -> io::Result<Option<(u32, Vec<u8>)>> {
        let known = self.index.get(id).ok_or(io::ErrorKind::NotFound)?;
        let Some((index, place)) = known.paragraph_from(index) else { return Ok(None) };
        self.paragraph_at(place).map(|paragraph| Some((index, paragraph)))
    }

    fn paragraph_at(&mut self, place: index::Place) -> io::Result<Vec<u8>> {
        let bytes = self.read(place)?;
        match Found::body(&bytes).and_then(Record::decode) {
            Some(Record::Failed { paragraph, .. }) => Ok(paragraph.to_vec()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn with_letter<T>(&mut self, id: u64, act: impl FnOnce(&Letter<'_>) -> T) -> io::Result<T> {
        let place = self.index.get(id).ok_or(io::ErrorKind::NotFound)?.place;
        let bytes = self.read(place)?;
        match Found::body(&bytes).and_then(Record::decode) {
            Some(Record::Letter(letter) | Record::Carried { letter, .. }) => Ok(act(&letter)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn read(&mut self, place: index::Place) -> io::Result<Vec<u8>> {
        match self.log.read(place) {
            Ok(bytes) => Ok(bytes),
            Err(Trouble::Full(error) | Trouble::Broken(error)) => Err(error),
        }
    }

    /// Appends a record and takes note of it; its sequence.
    fn record(&mut self, record: &Record<'_>) -> Result<u64, Trouble> {
        let (sequence, place) = self.log.append(record)?;
        self.unneeded.extend(self.index.apply(sequence, record, place));
        Ok(sequence)
    }
}
