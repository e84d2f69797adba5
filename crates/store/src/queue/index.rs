//! What is known of every letter in the queue, in memory; made again from the log at every start.
//!
//! A million letters must fit, so a letter has 40 bytes here and the rest is looked up in its
//! record: where that lies, how many recipients there are, and, for the one recipient that most
//! letters have, how far it has come. What few letters have (more recipients, failures, a file of
//! their own) stands in tables beside.

use std::collections::BTreeMap;

use base::time::Moment;
use base::wire::queue::{Mark, Progress};

use super::record::{Bytes, Letter, Record};

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number.
    pub segment: u64,
    /// Bytes from the beginning of its file.
    pub offset: u32,
    /// Bytes of the whole record.
    pub len: u32,
}

/// One letter, as it is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    place: Place,
    /// How many recipients it has.
    recipients: u32,
    /// Whoever was tried: of one recipient the progress, packed; of more, [`TRIED`].
    progress: u64,
}

/// More than one recipient, and somebody was tried: see [`Index::many`].
const TRIED: u64 = 1;

/// One letter, as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// How many recipients it has.
    pub recipients: u32,
    /// Its record.
    pub place: Place,
    one: u64,
    many: &'a [u64],
}

/// How much of a segment is still needed.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    items: u64,
    bytes: u64,
}

/// One thing in the log that is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A letter.
    Letter(u64),
    /// The failure paragraph of a letter's recipient.
    Paragraph(u64, u32),
}

/// A letter's bytes in a file of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Apart {
    /// The file is `queue/big/<name>`.
    pub(super) name: u64,
    pub(super) size: u64,
}

/// Every letter, by its number.
#[derive(Debug, Default)]
pub struct Index {
    letters: BTreeMap<u64, Kept>,
    /// How far each recipient has come, packed, of letters with more than one.
    many: BTreeMap<u64, Box<[u64]>>,
    /// Where each failed recipient's paragraph lies. While the log is being read there may be some
    /// here whose letter has been carried past them and comes later.
    failures: BTreeMap<(u64, u32), Place>,
    apart: BTreeMap<u64, Apart>,
    /// Letters that nobody may deliver yet, or any more.
    held: BTreeMap<u64, Mark>,
    /// Imported letters that are held, by their marks. No exported ones: all of one export have one
    /// mark.
    imported: BTreeMap<Mark, u64>,
    usage: BTreeMap<u64, Usage>,
    /// Bytes of all records that matter.
    bytes: u64,
}

/// Progress in eight bytes: a letter, and a moment for `Z`. 0 is waiting.
fn pack(progress: Progress) -> u64 {
    const KIND: u32 = 56;
    match progress {
        Progress::Waiting => 0,
        Progress::Done => u64::from(b'K') << KIND,
        Progress::Failed => u64::from(b'D') << KIND,
        // 56 bits of microseconds reach to the year 4253.
        Progress::Deferred(at) => u64::from(b'Z') << KIND | at.micros().min((1 << KIND) - 1),
    }
}

fn unpack(packed: u64) -> Progress {
    let [moment @ .., kind] = packed.to_le_bytes();
    let [a, b, c, d, e, f, g] = moment;
    match kind {
        b'K' => Progress::Done,
        b'D' => Progress::Failed,
        b'Z' => {
            Progress::Deferred(Moment::from_micros(u64::from_le_bytes([a, b, c, d, e, f, g, 0])))
        }
        _ => Progress::Waiting,
    }
}

impl<'a> Known<'a> {
    /// How far each recipient has come.
    pub fn progress(&self) -> impl Iterator<Item = Progress> + use<'a> {
        let one = (self.recipients == 1).then_some(self.one);
        let told = self.many.len().saturating_add(usize::from(one.is_some()));
        let untried = (self.recipients as usize).saturating_sub(told);
        let known = one.into_iter().chain(self.many.iter().copied()).map(unpack);
        known.chain(std::iter::repeat_n(Progress::Waiting, untried))
    }

    /// Has anybody been tried?
    pub(super) fn tried(&self) -> bool {
        self.one != 0
    }
}

impl Index {
    /// Takes note of a record that is (about to be) in the log. Returned is the name of the file
    /// with the bytes of the letter it finishes, if they lie apart: once the record is on disk,
    /// that file may go.
    pub(super) fn apply(
        &mut self,
        sequence: u64,
        record: &Record<'_>,
        place: Place,
    ) -> Option<u64> {
        match record {
            Record::Letter(letter) => {
                self.insert(sequence, letter, place);
                return letter.finishes.and_then(|old| self.remove(old));
            }
            Record::Carried { id, letter, progress } => {
                self.insert(*id, letter, place);
                self.set_mark(*id, letter.finishes.and_then(Mark::of));
                for (index, said) in (0..).zip(progress_of(progress)) {
                    self.set(*id, index, said);
                }
            }
            Record::Done { id, index } => self.set(*id, *index, Progress::Done),
            Record::Deferred { id, index, next } => {
                self.set(*id, *index, Progress::Deferred(*next));
            }
            Record::Failed { id, index, .. } => self.failed(*id, *index, place),
            Record::Finished(id) => return self.remove(*id),
        }
        None
    }

    /// The letter with this number.
    pub fn get(&self, id: u64) -> Option<Known<'_>> {
        self.letters.get(&id).map(|kept| self.known(id, kept))
    }

    /// The first letter with a number above `id`.
    pub fn after(&self, id: u64) -> Option<(u64, Known<'_>)> {
        let from = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.letters.range(from).next().map(|(id, kept)| (*id, self.known(*id, kept)))
    }

    /// Every letter, oldest number first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Known<'_>)> {
        self.letters.iter().map(|(id, kept)| (*id, self.known(*id, kept)))
    }

    fn known(&self, id: u64, kept: &Kept) -> Known<'_> {
        let many = if kept.progress == TRIED { self.many.get(&id) } else { None };
        Known {
            recipients: kept.recipients,
            place: kept.place,
            one: kept.progress,
            many: many.map(|many| &**many).unwrap_or_default(),
        }
    }

    /// What a letter is held for, if it is.
    pub fn mark(&self, id: u64) -> Option<Mark> {
        self.held.get(&id).copied()
    }

    /// The first held letter with a number above `id`.
    pub fn held_after(&self, id: u64) -> Option<(u64, Mark)> {
        let from = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.held.range(from).next().map(|(id, mark)| (*id, *mark))
    }

    /// The imported letter that is held by this mark; none for an export's.
    pub fn held_as(&self, mark: Mark) -> Option<u64> {
        self.imported.get(&mark).copied()
    }

    fn set_mark(&mut self, id: u64, mark: Option<Mark>) {
        let was = match mark {
            Some(mark) => self.held.insert(id, mark),
            None => self.held.remove(&id),
        };
        if let Some(was) = was.filter(|was| self.held_as(*was) == Some(id)) {
            self.imported.remove(&was);
        }
        if let Some(mark) = mark.filter(|mark| !mark.is_export()) {
            self.imported.insert(mark, id);
        }
    }

    /// How many letters there are.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Is the queue empty?
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// The file that a letter's bytes lie in, if they lie apart.
    pub(super) fn apart(&self, id: u64) -> Option<Apart> {
        self.apart.get(&id).copied()
    }

    /// Every letter whose bytes lie apart.
    pub(super) fn all_apart(&self) -> impl Iterator<Item = (u64, Apart)> {
        self.apart.iter().map(|(id, apart)| (*id, *apart))
    }

    /// Where the failure paragraphs of a letter lie, in the order of its recipients.
    pub fn paragraphs(&self, id: u64) -> impl Iterator<Item = (u32, Place)> {
        self.paragraphs_from(id, 0)
    }

    /// Those from one recipient on.
    pub(super) fn paragraphs_from(
        &self,
        id: u64,
        index: u32,
    ) -> impl Iterator<Item = (u32, Place)> {
        self.failures
            .range((id, index)..=(id, u32::MAX))
            .map(|((_, index), place)| (*index, *place))
    }

    /// Where one thing that is still needed lies.
    pub(super) fn place(&self, item: Item) -> Option<Place> {
        match item {
            Item::Letter(id) => self.letters.get(&id).map(|kept| kept.place),
            Item::Paragraph(id, index) => self.failures.get(&(id, index)).copied(),
        }
    }

    /// Does anything in this segment matter?
    pub(super) fn needs(&self, segment: u64) -> bool {
        self.usage.contains_key(&segment)
    }

    /// Bytes of all records that matter.
    pub(super) fn live_bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything that lies in older segments than this one, in the order of the log.
    pub(super) fn older_than(&self, segment: u64) -> Vec<Item> {
        let letters = self.letters.iter().map(|(id, kept)| (kept.place, Item::Letter(*id)));
        let failures = self.failures.iter();
        let failures = failures.map(|((id, index), place)| (*place, Item::Paragraph(*id, *index)));
        let all = letters.chain(failures).filter(|(place, _)| place.segment < segment);
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, item)| item).collect()
    }

    /// The whole log has been read: a paragraph that still waits for its letter waits in vain.
    pub(super) fn settle(&mut self) {
        let vain = self.failures.iter().filter(|((id, _), _)| !self.letters.contains_key(id));
        let vain: Vec<_> = vain.map(|(key, _)| *key).collect();
        for key in vain {
            if let Some(place) = self.failures.remove(&key) {
                self.release(place);
            }
        }
    }

    fn set(&mut self, id: u64, index: u32, progress: Progress) {
        let Some(kept) = self.letters.get_mut(&id).filter(|kept| index < kept.recipients) else {
            return;
        };
        let packed = pack(progress);
        if kept.recipients == 1 {
            kept.progress = packed;
            return;
        }
        kept.progress = TRIED;
        let all = kept.recipients as usize;
        let many = self.many.entry(id).or_insert_with(|| vec![0; all].into());
        if let Some(slot) = many.get_mut(index as usize) {
            *slot = packed;
        }
    }

    fn insert(&mut self, id: u64, letter: &Letter<'_>, place: Place) {
        self.hold(place);
        let recipients = u32::try_from(letter.envelope.recipients().count()).unwrap_or(u32::MAX);
        if let Bytes::Apart { name, size } = letter.bytes {
            self.apart.insert(id, Apart { name: name.unwrap_or(id), size });
        }
        if let Some(before) = self.letters.insert(id, Kept { place, recipients, progress: 0 }) {
            self.release(before.place);
        }
    }

    fn failed(&mut self, id: u64, index: u32, place: Place) {
        self.hold(place);
        self.set(id, index, Progress::Failed);
        if let Some(before) = self.failures.insert((id, index), place) {
            self.release(before);
        }
    }

    fn remove(&mut self, id: u64) -> Option<u64> {
        if !self.failures.is_empty() {
            let said: Vec<_> = self.paragraphs(id).collect();
            for (index, place) in said {
                self.failures.remove(&(id, index));
                self.release(place);
            }
        }
        let kept = self.letters.remove(&id)?;
        self.set_mark(id, None);
        self.release(kept.place);
        if kept.progress == TRIED {
            self.many.remove(&id);
        }
        self.apart.remove(&id).map(|apart| apart.name)
    }

    fn hold(&mut self, place: Place) {
        let usage = self.usage.entry(place.segment).or_default();
        usage.items = usage.items.saturating_add(1);
        usage.bytes = usage.bytes.saturating_add(u64::from(place.len));
        self.bytes = self.bytes.saturating_add(u64::from(place.len));
    }

    fn release(&mut self, place: Place) {
        let Some(usage) = self.usage.get_mut(&place.segment) else { return };
        usage.items = usage.items.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(u64::from(place.len));
        self.bytes = self.bytes.saturating_sub(u64::from(place.len));
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
        assert_eq!(index.older_than(3), [Item::Letter(1), Item::Paragraph(1, 1)]);
        let progress = progress_block(index.get(1).unwrap().progress());
        let carried = Record::Carried { id: 1, letter: letter(), progress: &progress };
        index.apply(3, &carried, place(3));
        assert!(!index.needs(1) && index.needs(2) && index.needs(3));
        assert_eq!(index.older_than(3), [Item::Paragraph(1, 1)]);
        index.apply(4, &Record::Failed { id: 1, index: 1, paragraph: b"p" }, place(3));
        assert!(!index.needs(2));
        assert_eq!(index.paragraphs(1).count(), 1);
        index.apply(5, &Record::Finished(1), place(3));
        assert!(index.is_empty() && !index.needs(3));
        assert_eq!((index.live_bytes(), index.many.len(), index.failures.len()), (0, 0, 0));
    }

    #[test]
    fn paragraphs_before_their_carried_letter_are_kept_for_it() {
        let mut index = Index::default();
        index.apply(7, &Record::Failed { id: 1, index: 0, paragraph: b"p" }, place(2));
        index.apply(8, &Record::Failed { id: 3, index: 0, paragraph: b"p" }, place(2));
        index.apply(9, &Record::Carried { id: 1, letter: letter(), progress: &[] }, place(3));
        index.settle();
        assert_eq!(index.paragraphs(1).collect::<Vec<_>>(), [(0, place(2))]);
        assert_eq!(index.paragraphs(3).count(), 0);
        index.apply(10, &Record::Finished(1), place(3));
        assert!(!index.needs(2));
    }

    #[test]
    fn progress_is_kept_for_one_recipient_and_for_many() {
        let late = Progress::Deferred(Moment::from_micros(1_795_355_198_123_456));
        for p in [Progress::Waiting, Progress::Done, Progress::Failed, late] {
            assert_eq!(unpack(pack(p)), p);
        }
        let mut index = Index::default();
        index.apply(1, &Record::Letter(letter()), place(1));
        assert!(index.get(1).unwrap().progress().eq([Progress::Waiting; 2]));
        assert!(!index.get(1).unwrap().tried());
        index.set(1, 1, late);
        index.set(1, 2, Progress::Done);
        assert!(index.get(1).unwrap().progress().eq([Progress::Waiting, late]));
        let one = Letter { envelope: Envelope::new(b"s\0a\0").unwrap(), ..letter() };
        index.apply(2, &Record::Letter(one), place(1));
        assert!(index.get(2).unwrap().progress().eq([Progress::Waiting]));
        index.set(2, 0, late);
        assert!(index.get(2).unwrap().progress().eq([late]) && index.get(2).unwrap().tried());
        assert!(index.many.len() == 1);
    }

    #[test]
    fn a_letter_with_one_recipient_takes_at_most_110_bytes() {
        // The nodes of a B-tree that grows at its end are six elevenths full, and have a head.
        let kept = size_of::<Kept>() + size_of::<u64>();
        let tree = (kept * 11 + 16 + 8) / 6;
        assert!(tree <= 110, "{tree}");
    }
}
