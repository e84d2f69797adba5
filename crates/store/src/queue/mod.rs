//! The queue: an append-only log with group commit, an index in memory, large letters apart.
//!
//! ```text
//! queue/log/<n>     segments: one block of header, then records; files are used again and again
//! queue/big/<id>    the bytes of a letter too large for a record
//! ```
//!
//! What is promised: a letter [`Queue::accept`]ed is there, whole and once, after every crash that
//! comes after [`Queue::synced`] has reached its number; a crash before it leaves it there whole or
//! not at all. What recipients came to may be forgotten until then. Nobody stands still for the
//! disk: [`Queue::begin_sync`] gives the sync away and [`Queue::poll`] hears of it;
//! [`Queue::commit`] does both and waits. `tests/crash` cuts the power at every step of all of
//! this.
//!
//! A segment is used again when nothing in it matters any more. What stays long is carried forward
//! once the log is more than twice as long as what matters in it. Decision page
//! `docs/decisions/queue-log.md` has the reasons.

mod adopt;
mod alarm;
mod big;
mod carry;
mod crc;
mod errands;
mod index;
mod log;
mod reading;
mod recent;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod trouble;
mod turn;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::io;

use base::limits;
use base::time::Moment;
use base::wire::queue::{Envelope, Note};

pub use adopt::{Held, Past};
pub use alarm::Alarm;
pub use big::Spill;
pub use crc::crc32c;
pub use errands::{Left, Secured};
pub use index::{Index, Known, Place};
pub use reading::Described;
pub use segment::BLOCK;
pub use trouble::Trouble;
pub use work::{Done, Helper, Lane, Work, Worker};

use crate::disk::Disk;
use carry::Carry;
use errands::Errand;
use log::Log;
use record::{Bytes, Letter, Record};
use work::{Hands, Job};

/// Sizes of a queue; a test's are small.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of a segment, a multiple of [`BLOCK`].
    pub segment: u64,
    /// Letters up to this size lie in the log.
    pub inline: usize,
    /// The longest envelope.
    pub envelope: usize,
    /// Free segment files to keep: made once, they serve for every later burst.
    pub spares: usize,
    /// Carry letters forward only in a log of more segments than this.
    pub carry_above: usize,
    /// Go on after an [`Alarm`] with what is there.
    pub salvage: bool,
    /// A random number that nobody else knows, another at every start: what strangers write into
    /// letters must not read as records of the log.
    pub secret: u64,
}

impl Config {
    /// Sizes so small that a few letters fill segments: for a pretended disk.
    pub const SMALL: Self = Self {
        segment: 5 * BLOCK,
        inline: 600,
        envelope: 4096,
        spares: 2,
        carry_above: 2,
        salvage: false,
        secret: 7,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment: limits::LOG_SEGMENT,
            inline: limits::INLINE_LETTER,
            envelope: limits::LOGGED_ENVELOPE,
            spares: 8,
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
    /// Files in `big/` to remove once it is durable that they are not needed: by this record.
    unneeded: VecDeque<(u64, u64)>,
    /// The name of the next file in `big/`.
    name: u64,
    /// Letters whose last record comes later than their number says, and which it is.
    late: BTreeMap<u64, u64>,
}

impl<D: Disk> Queue<D> {
    /// Opens the queue below `disk`, or founds it; whatever an earlier run left unfinished is put
    /// in order. The alarms passed over are returned too (only with [`Config::salvage`]).
    ///
    /// # Errors
    /// An [`Alarm`]; then nothing was changed that mattered.
    pub fn open(disk: D, config: Config) -> Result<(Self, Vec<Alarm>), Alarm> {
        let recover::Recovered { log, index, passed } = recover::recover(disk, config)?;
        let (carry, unneeded, late) = (Carry::default(), VecDeque::new(), BTreeMap::new());
        let mut queue = Self { config, log, index, carry, unneeded, name: 0, late };
        let passed = queue.check_big(passed)?;
        // A name may have been used by letters that are gone; their files are, too.
        queue.name = big::sweep(&queue.log.disk, &queue.index)?.max(queue.log.next());
        if !passed.is_empty() {
            let outcome = queue.carry_all();
            outcome.map_err(|t| Alarm::Disk {
                doing: "write anew what was salvaged".to_owned(),
                error: io::Error::other(t.to_string()),
            })?;
        }
        Ok((queue, passed))
    }

    /// From now on somebody else waits for the disk. Before, the queue itself does.
    pub fn set_helper(&mut self, helper: Box<dyn Helper<D::File>>) {
        self.log.hands = Hands::Helper(helper);
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

    /// The last record that is in its file: a crash of the program alone cannot lose it.
    pub fn written(&self) -> u64 {
        self.log.written
    }

    /// The last record that is on disk.
    pub fn synced(&self) -> u64 {
        self.log.synced
    }

    /// Has anything been taken or written that no sync under way will make durable?
    pub fn is_dirty(&self) -> bool {
        self.log.is_dirty()
    }

    /// Is a sync of the log under way?
    pub fn is_syncing(&self) -> bool {
        !self.log.flights.is_empty()
    }

    /// Begins a file for a letter that is too large for memory or for the log.
    ///
    /// # Errors
    /// What the disk says; nothing has changed.
    pub fn spill(&mut self) -> io::Result<Spill<D::File>> {
        self.name = self.name.saturating_add(1);
        big::begin(&self.log.disk, self.name)
    }

    /// Appends to such a file.
    ///
    /// # Errors
    /// What the disk says. [`Queue::discard`] the file then.
    pub fn push(&mut self, spill: &mut Spill<D::File>, bytes: &[u8]) -> io::Result<()> {
        big::push(&self.log.disk, spill, bytes)
    }

    /// Begins to make its bytes durable, and its name if it is `whole`. [`Queue::take_secured`]
    /// has the news under this tag; until then nothing more may be pushed to it.
    pub fn secure(&mut self, spill: &Spill<D::File>, whole: bool, tag: u64) {
        let job = Job::Secure { file: spill.file.clone(), whole };
        self.log.send(Errand::Secure { tag }, job);
    }

    /// Makes such a file durable, and waits for it.
    ///
    /// # Errors
    /// What the disk says. [`Queue::discard`] the file then.
    pub fn secure_now(&mut self, spill: &mut Spill<D::File>) -> io::Result<()> {
        self.log.disk.sync(&spill.file)?;
        self.log.disk.sync_dir(std::path::Path::new("big"))?;
        self.log.disk.sync_made()?;
        spill.secured(true);
        Ok(())
    }

    /// The large letters of which news has come; see [`Queue::poll`].
    pub fn take_secured(&mut self) -> Vec<Secured> {
        self.log.take_secured()
    }

    /// The spare files that could not be removed; see [`Queue::poll`].
    pub fn take_left(&mut self) -> Vec<Left> {
        self.log.take_left()
    }

    /// Forgets such a file.
    pub fn discard(&mut self, spill: &Spill<D::File>) {
        big::discard(&self.log.disk, spill);
    }

    /// Takes a letter; its number. It is promised when [`Queue::synced`] has reached that. A
    /// spilled file must be whole and secured before.
    ///
    /// # Errors
    /// [`Trouble::Full`]: the letter is not taken, all else is well. A spilled file is then still
    /// to be discarded. [`Trouble::Broken`]: stop.
    pub fn accept(&mut self, new: &NewLetter<'_, D::File>) -> Result<u64, Trouble> {
        let record = Record::Letter(self.letter_of(new)?);
        self.log.reserve(record.encoded_len())?;
        self.record(&record)
    }

    /// The letter as the log will hold it.
    fn letter_of<'a>(&self, new: &NewLetter<'a, D::File>) -> Result<Letter<'a>, Trouble> {
        let bytes = match new.content {
            Content::Inline(bytes) => Bytes::Here(bytes),
            Content::Spilled(spill) if !spill.is_secured() => {
                return Err(Trouble::Full(io::Error::other("the letter's file is not secured")));
            }
            Content::Spilled(spill) => Bytes::Apart { name: Some(spill.name), size: spill.len() },
        };
        let NewLetter { birth, uid, pid, finishes, envelope, .. } = *new;
        let long = envelope.as_bytes().len() > self.config.envelope;
        let large = matches!(bytes, Bytes::Here(here) if here.len() > self.config.inline);
        if long || large {
            return Err(Trouble::Full(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Letter { birth, uid, pid, finishes, envelope, bytes })
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

    /// Writes what was taken, without making it durable. What belongs to a segment that is just
    /// being begun stays in memory until its header is on disk: see [`Queue::written`].
    ///
    /// # Errors
    /// [`Trouble`]
    pub fn flush(&mut self) -> Result<(), Trouble> {
        self.log.flush()
    }

    /// Writes what was taken and begins to make it durable, unless a sync is under way: then ask
    /// again when that is done. True if one was begun now.
    ///
    /// # Errors
    /// [`Trouble::Broken`]: nothing may be acknowledged any more; stop and start again.
    pub fn begin_sync(&mut self) -> Result<bool, Trouble> {
        self.log.begin_sync()
    }

    /// Hears what has become of the work given away; look at [`Queue::synced`],
    /// [`Queue::written`] and [`Queue::take_secured`] then.
    ///
    /// # Errors
    /// [`Trouble::Broken`]: nothing may be acknowledged any more. [`Trouble::Full`]: no spare
    /// segment could be made; ask again, there may be more to hear.
    pub fn poll(&mut self) -> Result<(), Trouble> {
        self.log.poll()?;
        self.remove_unneeded();
        Ok(())
    }

    /// Without a helper: does the next piece of the log's work, of which [`Queue::poll`] will
    /// hear. False if there is none.
    pub fn carry_out(&mut self) -> bool {
        self.log.hands.carry_out(&self.log.disk)
    }

    /// Makes everything taken so far durable, and waits for it.
    ///
    /// # Errors
    /// [`Trouble::Broken`]: nothing may be acknowledged any more; stop and start again.
    pub fn commit(&mut self) -> Result<(), Trouble> {
        self.log.commit()?;
        self.remove_unneeded();
        Ok(())
    }

    fn remove_unneeded(&mut self) {
        let mut names = Vec::new();
        while self.unneeded.front().is_some_and(|(sequence, _)| *sequence <= self.log.synced) {
            names.extend(self.unneeded.pop_front().map(|(_, name)| name));
        }
        if !names.is_empty() {
            self.log.send(Errand::Remove, Job::Remove(names));
        }
    }

    /// Work for a quiet moment: free segments, spare ones ready, a few letters carried forward.
    /// True if there is more to carry.
    ///
    /// # Errors
    /// [`Trouble`]; `Full` is no reason to stop.
    pub fn tend(&mut self) -> Result<bool, Trouble> {
        self.log.release(|segment| self.index.needs(segment));
        self.log.tend()?;
        let more = self.carry_some()?;
        self.log.flush_much()?;
        Ok(more)
    }

    /// Appends a record and takes note of it; its sequence.
    fn record(&mut self, record: &Record<'_>) -> Result<u64, Trouble> {
        let (sequence, place) = self.log.append(record)?;
        let unneeded = self.index.apply(sequence, record, place);
        self.unneeded.extend(unneeded.map(|name| (sequence, name)));
        Ok(sequence)
    }
}
