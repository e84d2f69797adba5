//! What queued was told of recipients and has not yet acknowledged.

use std::collections::VecDeque;

use base::time::Moment;
use base::wire::queue::{Note, Request};

use super::letters::Known;

/// A note, kept so that it can be said again.
#[derive(Debug)]
pub(super) struct Kept {
    /// The letter.
    pub(super) letter: Known,
    index: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    Done,
    Deferred(Moment),
    Failed(Box<[u8]>),
}

impl Kept {
    /// Keeps what happened to a recipient.
    pub(super) fn new(letter: Known, index: u32, note: Note<'_>) -> Self {
        let what = match note {
            Note::Done => What::Done,
            Note::Deferred(at) => What::Deferred(at),
            Note::Failed(paragraph) => What::Failed(paragraph.into()),
        };
        Self { letter, index, what }
    }

    fn encode(&self, serial: u64, out: &mut Vec<u8>) {
        let note = match &self.what {
            What::Done => Note::Done,
            What::Deferred(at) => Note::Deferred(*at),
            What::Failed(paragraph) => Note::Failed(paragraph),
        };
        Request::Note { serial, letter: self.letter.id, index: self.index, note }.encode(out);
    }
}

/// The notes in the order of their serials, which is about that of their acknowledgements.
#[derive(Debug)]
pub(super) struct Notes {
    /// The serial of the first.
    first: u64,
    kept: VecDeque<Option<Kept>>,
    len: usize,
}

impl Notes {
    /// None; serials begin with 1.
    pub(super) fn new() -> Self {
        Self { first: 1, kept: VecDeque::new(), len: 0 }
    }

    /// How many queued has yet to acknowledge.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One of them is a failure.
    pub(super) fn has_failure(&self) -> bool {
        self.kept.iter().flatten().any(|note| matches!(note.what, What::Failed(_)))
    }

    /// Keeps a note, and says it if there is somebody to hear it.
    pub(super) fn add(&mut self, note: Kept, out: Option<&mut Vec<u8>>) {
        if let Some(out) = out {
            note.encode(self.first.saturating_add(self.kept.len() as u64), out);
        }
        self.kept.push_back(Some(note));
        self.len = self.len.saturating_add(1);
    }

    /// Takes out an acknowledged note; `None` if it was acknowledged before.
    pub(super) fn remove(&mut self, serial: u64) -> Option<Kept> {
        let at = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        let note = self.kept.get_mut(at)?.take()?;
        self.len = self.len.saturating_sub(1);
        self.trim();
        Some(note)
    }

    fn trim(&mut self) {
        while let Some(None) = self.kept.front() {
            self.kept.pop_front();
            self.first = self.first.saturating_add(1);
        }
    }

    /// Keeps those that are still of any use.
    pub(super) fn retain(&mut self, useful: impl Fn(&Kept) -> bool) {
        for place in &mut self.kept {
            if place.as_ref().is_some_and(|note| !useful(note)) {
                *place = None;
                self.len = self.len.saturating_sub(1);
            }
        }
        self.trim();
    }

    /// Says all of them again; queued takes each only once.
    pub(super) fn say_again(&self, out: &mut Vec<u8>) {
        for (serial, note) in (self.first..).zip(&self.kept) {
            if let Some(note) = note {
                note.encode(serial, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_come_in_any_order_and_twice() {
        let mut notes = Notes::new();
        let mut out = Vec::new();
        for id in 1..=3 {
            let kept = Kept::new(Known { id, place: 0 }, 0, Note::Done);
            notes.add(kept, Some(&mut out));
        }
        let id = |note: Option<Kept>| note.map(|note| note.letter.id);
        assert_eq!([id(notes.remove(2)), id(notes.remove(2))], [Some(2), None]);
        let said = out.len();
        notes.say_again(&mut out);
        assert_eq!((out.len() - said) * 3, said * 2);
        assert_eq!((id(notes.remove(1)), notes.kept.len()), (Some(1), 1));
        notes.retain(|note| note.letter.id != 3);
        assert_eq!((notes.len(), notes.kept.len(), notes.first), (0, 0, 4));
        assert!(notes.remove(0).is_none() && notes.remove(u64::MAX).is_none());
    }
}
