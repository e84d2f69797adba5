//! Letters of other queues, which come with a past, and letters that are held: in the queue, but
//! nobody's to deliver.
//!
//! Nothing in the log is of a new kind. An adopted letter is what a carried one is, said again with
//! all that is known of it, under a number that a record without meaning has taken; the paragraphs
//! of its failures are said in between. Whatever is torn off at the end, the last record, the
//! letter, is missing first, and paragraphs without a letter are forgotten at the next start. A
//! mark stands where a bounce names the letter it finishes.

use std::io;

use base::wire::queue::{Mark, Progress, progress_block};

use super::record::Record;
use super::trouble::Trouble;
use super::{Letter, NewLetter, Queue};
use crate::disk::Disk;

/// What came of holding a letter, or of letting it go.
#[derive(Debug)]
pub enum Held {
    /// It is promised when [`Queue::synced`] has reached this sequence.
    At(u64),
    /// There is no such letter.
    Missing,
    /// What the log says of it cannot be read, or is not sound; nothing has changed.
    Unreadable(io::Error),
}

/// What became of an adopted letter before it came.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// How far each recipient is.
    pub progress: &'a [Progress],
    /// Who failed, and the paragraph for the bounce.
    pub paragraphs: &'a [(u32, Vec<u8>)],
    /// What it is held for.
    pub mark: Mark,
}

impl<D: Disk> Queue<D> {
    /// Takes a letter that comes with a past, and holds it; its number, and the sequence that
    /// [`Queue::synced`] must reach before that is promised.
    ///
    /// # Errors
    /// As [`Queue::accept`].
    pub fn adopt(
        &mut self,
        new: &NewLetter<'_, D::File>,
        past: &Past<'_>,
    ) -> Result<(u64, u64), Trouble> {
        let letter = self.letter_of(new)?;
        self.log.reserve(Record::Letter(letter).encoded_len())?;
        let id = self.record(&Record::Finished(0))?;
        match self.adopt_as(id, letter, past) {
            Err(Trouble::Full(error)) => {
                self.record(&Record::Finished(id))?;
                Err(Trouble::Full(error))
            }
            outcome => outcome.map(|sequence| (id, sequence)),
        }
    }

    fn adopt_as(&mut self, id: u64, letter: Letter<'_>, past: &Past<'_>) -> Result<u64, Trouble> {
        for (index, paragraph) in past.paragraphs {
            self.record(&Record::Failed { id, index: *index, paragraph })?;
        }
        let progress = progress_block(past.progress.iter().copied());
        let letter = Letter { finishes: Some(past.mark.word()), ..letter };
        let sequence = self.record(&Record::Carried { id, letter, progress: &progress })?;
        self.come_late(id, sequence);
        Ok(sequence)
    }

    /// Holds a letter, or lets it go (`None`).
    ///
    /// # Errors
    /// [`Trouble::Full`]: nothing has changed. [`Trouble::Broken`]: stop.
    pub fn hold(&mut self, id: u64, mark: Option<Mark>) -> Result<Held, Trouble> {
        let place = self.index.get(id).map(|known| known.place);
        let Some(place) = place else { return Ok(Held::Missing) };
        if self.index.mark(id) == mark {
            return Ok(Held::At(self.log.next().saturating_sub(1)));
        }
        let body = match self.body_at(place) {
            Ok(body) => body,
            Err(error) => return Ok(Held::Unreadable(error)),
        };
        let Some(Record::Letter(letter) | Record::Carried { letter, .. }) = Record::decode(&body)
        else {
            return Ok(Held::Unreadable(io::ErrorKind::InvalidData.into()));
        };
        self.log.reserve(Record::Letter(letter).encoded_len())?;
        let sequence = self.carry_letter(id, letter, mark)?;
        self.log.release(|segment| self.index.needs(segment));
        self.come_late(id, sequence);
        Ok(Held::At(sequence))
    }

    fn come_late(&mut self, id: u64, sequence: u64) {
        let synced = self.log.synced;
        self.late.retain(|_, sequence| *sequence > synced);
        self.late.insert(id, sequence);
    }

    /// Is all that is known of this letter's coming on disk, so that it may be shown?
    pub fn is_on_disk(&self, id: u64) -> bool {
        self.late.get(&id).unwrap_or(&id) <= &self.log.synced
    }
}
