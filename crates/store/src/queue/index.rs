//! What is known of every letter in the queue, in memory; made again from the log at every start.

use std::collections::BTreeMap;

use base::time::Moment;
use base::wire::queue::Progress;

use super::record::{Bytes, Letter, Record};

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The segment's number.
    pub segment: u64,
    /// Bytes from the beginning of its file.
    pub offset: u32,
    /// Bytes of the whole record.
    pub len: u32,
}

/// One letter; under 100 bytes, whatever its size (a test says so).
#[derive(Debug)]
pub struct Known {
    /// When it was queued.
    pub birth: Moment,
    /// Its bytes, the `Received` line included.
    pub size: u64,
    /// Who queued it.
    pub uid: u32,
    /// Which process queued it.
    pub pid: u32,
    /// How many recipients it has.
    pub recipients: u32,
    /// Its bytes lie in `queue/big/<id>`.
    pub apart: bool,
    /// Its record.
    pub place: Place,
    /// `None` as long as nobody was tried.
    progress: Option<Box<[Progress]>>,
    failures: Option<Box<Paragraphs>>,
}

/// Where the failure paragraph of each failed recipient lies.
type Paragraphs = BTreeMap<u32, Place>;

/// How much of a segment is still needed.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    items: u64,
    bytes: u64,
}

/// One thing in a segment that is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A letter.
    Letter(u64),
    /// The failure paragraph of a letter's recipient.
    Paragraph(u64, u32),
}

/// Every letter, by its number.
#[derive(Debug, Default)]
pub struct Index {
    letters: BTreeMap<u64, Known>,
    usage: BTreeMap<u64, Usage>,
    /// Paragraphs whose letter's record has been carried past them: it comes later in the log.
    early: BTreeMap<u64, Paragraphs>,
}

impl Known {
    /// How far each recipient has come.
    pub fn progress(&self) -> impl Iterator<Item = Progress> + '_ {
        let known = self.progress.as_deref().unwrap_or_default();
        let untried = (self.recipients as usize).saturating_sub(known.len());
        known.iter().copied().chain(std::iter::repeat_n(Progress::Waiting, untried))
    }

    /// Has anybody been tried?
    pub(super) fn tried(&self) -> bool {
        self.progress.is_some()
    }

    /// Where the failure paragraphs lie, in the order of the recipients.
    pub fn paragraphs(&self) -> impl Iterator<Item = Place> + '_ {
        self.failures.iter().flat_map(|f| f.values()).copied()
    }

    /// The first recipient from `index` on with a paragraph, and where that lies.
    pub(super) fn paragraph_from(&self, index: u32) -> Option<(u32, Place)> {
        self.failures.as_ref()?.range(index..).next().map(|(index, place)| (*index, *place))
    }

    /// Where the paragraph of one recipient lies.
    pub(super) fn paragraph(&self, index: u32) -> Option<Place> {
        self.failures.as_ref()?.get(&index).copied()
    }

    fn set(&mut self, index: u32, progress: Progress) {
        let all = self.recipients as usize;
        let known = self.progress.get_or_insert_with(|| vec![Progress::Waiting; all].into());
        if let Some(slot) = known.get_mut(index as usize) {
            *slot = progress;
        }
    }

    fn new(letter: &Letter<'_>, place: Place) -> Self {
        Self {
            birth: letter.birth,
            size: letter.bytes.size(),
            uid: letter.uid,
            pid: letter.pid,
            recipients: u32::try_from(letter.envelope.recipients().count()).unwrap_or(u32::MAX),
            apart: matches!(letter.bytes, Bytes::Apart(_)),
            place,
            progress: None,
            failures: None,
        }
    }
}

impl Index {
    /// Takes note of a record that is (about to be) in the log. The letter it finishes is returned
    /// if its bytes lie apart: once the record is on disk, that file may go.
    pub(super) fn apply(
        &mut self,
        sequence: u64,
        record: &Record<'_>,
        place: Place,
    ) -> Option<u64> {
        match record {
            Record::Letter(letter) => {
                self.insert(sequence, Known::new(letter, place));
                letter.finishes.and_then(|old| self.remove(old))
            }
            Record::Carried { id, letter, progress } => {
                self.carried(*id, Known::new(letter, place), progress);
                None
            }
            Record::Done { id, index } => self.set(*id, *index, Progress::Done),
            Record::Deferred { id, index, next } => {
                self.set(*id, *index, Progress::Deferred(*next))
            }
            Record::Failed { id, index, .. } => {
                self.failed(*id, *index, place);
                None
            }
            Record::Finished(id) => self.remove(*id),
        }
    }

    /// The letter with this number.
    pub fn get(&self, id: u64) -> Option<&Known> {
        self.letters.get(&id)
    }

    /// The first letter with a number above `id`.
    pub fn after(&self, id: u64) -> Option<(u64, &Known)> {
        let from = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.letters.range(from).next().map(|(id, known)| (*id, known))
    }

    /// Every letter, oldest number first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Known)> {
        self.letters.iter().map(|(id, known)| (*id, known))
    }

    /// How many letters there are.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Is the queue empty?
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Does anything in this segment matter?
    pub(super) fn needs(&self, segment: u64) -> bool {
        self.usage.contains_key(&segment)
    }

    /// Bytes of all records that matter.
    pub(super) fn live_bytes(&self) -> u64 {
        self.usage.values().fold(0, |sum, u| sum.saturating_add(u.bytes))
    }

    /// Every segment that matters.
    pub(super) fn segments(&self) -> Vec<u64> {
        self.usage.keys().copied().collect()
    }

    /// Everything in a segment that matters.
    pub(super) fn items_in(&self, segment: u64) -> Vec<Item> {
        let mut items = Vec::new();
        for (&id, known) in &self.letters {
            if known.place.segment == segment {
                items.push(Item::Letter(id));
            }
            for (&recipient, place) in known.failures.iter().flat_map(|f| f.iter()) {
                if place.segment == segment {
                    items.push(Item::Paragraph(id, recipient));
                }
            }
        }
        items
    }

    /// The whole log has been read: what still waits for its letter waits in vain.
    pub(super) fn settle(&mut self) {
        for place in std::mem::take(&mut self.early).into_values().flat_map(Paragraphs::into_values)
        {
            self.release(place);
        }
    }

    fn set(&mut self, id: u64, index: u32, progress: Progress) -> Option<u64> {
        if let Some(known) = self.letters.get_mut(&id) {
            known.set(index, progress);
        }
        None
    }

    fn insert(&mut self, id: u64, known: Known) {
        self.hold(known.place);
        if let Some(before) = self.letters.insert(id, known) {
            self.release(before.place);
        }
    }

    fn carried(&mut self, id: u64, mut known: Known, progress: &[u8]) {
        known.failures = match self.letters.get_mut(&id) {
            Some(before) => before.failures.take(),
            None => self.early.remove(&id).map(Box::new),
        };
        for (index, said) in (0..).zip(progress_of(progress)) {
            known.set(index, said);
        }
        self.insert(id, known);
    }

    fn failed(&mut self, id: u64, index: u32, place: Place) {
        self.hold(place);
        let paragraphs = match self.letters.get_mut(&id) {
            Some(known) => {
                known.set(index, Progress::Failed);
                known.failures.get_or_insert_default()
            }
            None => self.early.entry(id).or_default(),
        };
        if let Some(before) = paragraphs.insert(index, place) {
            self.release(before);
        }
    }

    fn remove(&mut self, id: u64) -> Option<u64> {
        for place in self.early.remove(&id).unwrap_or_default().into_values() {
            self.release(place);
        }
        let known = self.letters.remove(&id)?;
        self.release(known.place);
        for place in known.paragraphs() {
            self.release(place);
        }
        known.apart.then_some(id)
    }

    fn hold(&mut self, place: Place) {
        let usage = self.usage.entry(place.segment).or_default();
        usage.items = usage.items.saturating_add(1);
        usage.bytes = usage.bytes.saturating_add(u64::from(place.len));
    }

    fn release(&mut self, place: Place) {
        let Some(usage) = self.usage.get_mut(&place.segment) else { return };
        usage.items = usage.items.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(u64::from(place.len));
        if usage.items == 0 {
            self.usage.remove(&place.segment);
        }
    }
}

/// Reads what [`base::wire::queue::progress_block`] wrote.
fn progress_of(block: &[u8]) -> impl Iterator<Item = Progress> + '_ {
    block.as_chunks::<9>().0.iter().map(|&[letter, ref at @ ..]| match letter {
        b'K' => Progress::Done,
        b'D' => Progress::Failed,
        b'Z' => Progress::Deferred(Moment::from_micros(u64::from_le_bytes(*at))),
        _ => Progress::Waiting,
    })
}

#[cfg(test)]
mod tests {
    use base::wire::queue::{Envelope, progress_block};

    use super::*;

    fn letter() -> Letter<'static> {
        Letter {
            birth: Moment::from_secs(1),
            uid: 0,
            pid: 0,
            finishes: None,
            envelope: Envelope::new(b"s\0a\0b\0").unwrap(),
            bytes: Bytes::Here(b"x"),
        }
    }

    fn place(segment: u64) -> Place {
        Place { segment, offset: 0, len: 10 }
    }

    #[test]
    fn a_segment_is_needed_as_long_as_a_letter_or_paragraph_in_it() {
        let mut index = Index::default();
        index.apply(1, &Record::Letter(letter()), place(1));
        index.apply(2, &Record::Failed { id: 1, index: 1, paragraph: b"p" }, place(2));
        assert!(index.needs(1) && index.needs(2));
        assert_eq!(index.items_in(2), [Item::Paragraph(1, 1)]);
        let progress = progress_block(index.get(1).unwrap().progress());
        let carried = Record::Carried { id: 1, letter: letter(), progress: &progress };
        index.apply(3, &carried, place(3));
        assert!(!index.needs(1) && index.needs(2) && index.needs(3));
        index.apply(4, &Record::Failed { id: 1, index: 1, paragraph: b"p" }, place(3));
        assert!(!index.needs(2));
        assert_eq!(index.get(1).unwrap().paragraphs().count(), 1);
        index.apply(5, &Record::Finished(1), place(3));
        assert!(index.is_empty() && !index.needs(3));
        assert_eq!(index.live_bytes(), 0);
    }

    #[test]
    fn paragraphs_before_their_carried_letter_are_kept_for_it() {
        let mut index = Index::default();
        index.apply(7, &Record::Failed { id: 1, index: 0, paragraph: b"p" }, place(2));
        index.apply(8, &Record::Failed { id: 3, index: 0, paragraph: b"p" }, place(2));
        index.apply(9, &Record::Carried { id: 1, letter: letter(), progress: &[] }, place(3));
        index.settle();
        assert_eq!(index.get(1).unwrap().paragraph(0), Some(place(2)));
        index.apply(10, &Record::Finished(1), place(3));
        assert!(!index.needs(2));
    }

    #[test]
    fn a_letter_with_one_recipient_takes_far_less_than_300_bytes() {
        // Twice the size: a B-tree's nodes are at least half full. Once tried, its progress.
        let tree = 2 * (size_of::<Known>() + size_of::<u64>());
        let tried = size_of::<Progress>() + 16;
        assert!(tree + tried <= 300, "{tree} + {tried}");
        assert!(size_of::<Known>() <= 100);
    }
}
