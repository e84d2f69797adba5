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

use super::log::Trouble;
use super::record::Record;
use super::{Letter, NewLetter, Queue};
use crate::disk::Disk;

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

    /// Holds a letter, or lets it go (`None`); the sequence that [`Queue::synced`] must reach
    /// before that is promised. `None` if there is no such letter.
    ///
    /// # Errors
    /// [`Trouble::Full`]: nothing has changed. [`Trouble::Broken`]: stop.
    pub fn hold(&mut self, id: u64, mark: Option<Mark>) -> Result<Option<u64>, Trouble> {
        let Some(place) = self.index.get(id).map(|known| known.place) else { return Ok(None) };
        if self.index.mark(id) == mark {
            return Ok(Some(self.log.next().saturating_sub(1)));
        }
        let body = self.body_at(place);
        let Some(Record::Letter(letter) | Record::Carried { letter, .. }) =
            body.as_deref().and_then(Record::decode)
        else {
            return Err(Trouble::Full(io::ErrorKind::InvalidData.into()));
        };
        self.log.reserve(Record::Letter(letter).encoded_len())?;
        let sequence = self.carry_letter(id, letter, mark)?;
        self.log.release(|segment| self.index.needs(segment));
        self.come_late(id, sequence);
        Ok(Some(sequence))
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
