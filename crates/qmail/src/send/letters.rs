//! Letters as the scheduler remembers them: a few numbers and one slice each, because there may
//! be a million of them.

use base::event::Channel;
use base::time::Moment;

/// A letter's number in the queue, and where it stands in [`Letters`]. A place is used again: only
/// both together name a letter for longer than one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    /// Its number.
    pub(super) id: u64,
    /// Its place.
    pub(super) place: u32,
}

/// One open recipient: the place of its letter, and where it stands in the letter's slice. Each
/// open recipient is in exactly one queue, or flies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Recipient {
    /// The letter's place.
    pub(super) letter: u32,
    /// A value [`Writer::put`] gave.
    pub(super) at: u32,
}

/// What is kept of a letter while it is in the queue.
#[derive(Debug)]
pub(super) struct Letter {
    /// Its number in the queue.
    pub(super) id: u64,
    /// When it was queued; retries are counted from here.
    pub(super) birth: Moment,
    /// `sender\0`, then for each recipient a mark, its index and `address\0`, rewritten.
    envelope: Box<[u8]>,
    /// Recipients neither delivered nor given up.
    pub(super) open: u32,
    /// Notes on it that queued has not acknowledged.
    pub(super) unwritten: u32,
    /// Which of the [`super::lanes::FLOWS`] its sender falls into.
    pub(super) flow: u8,
    /// A recipient has failed: there will be a bounce.
    pub(super) failed: bool,
    /// How far it is.
    pub(super) stage: Stage,
}

/// How far a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Recipients are open.
    Here,
    /// Every recipient is settled and the letter is on its way out.
    Leaving,
    /// queued no longer knows it; its place is kept until every queue has let go of it.
    Gone,
}

/// What is remembered of one recipient beside the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which way it goes.
    pub(super) channel: Channel,
    /// An earlier attempt may have got through: one of an earlier run, of which we never heard, or
    /// one that was put off after some of its instructions were done.
    pub(super) perhaps: bool,
    /// Which recipient of the letter it is, from 0.
    pub(super) index: u32,
}

const REMOTE: u8 = 1;
const PERHAPS: u8 = 2;

/// Builds a [`Letter`]'s slice; the same one for letter after letter.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins with the sender.
    pub(super) fn begin(&mut self, sender: &[u8]) {
        self.0.clear();
        base::text0::put(&mut self.0, sender);
    }

    /// Adds a recipient and says where it stands.
    pub(super) fn put(&mut self, mark: Mark, address: &[u8]) -> u32 {
        let at = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let remote = if mark.channel == Channel::Remote { REMOTE } else { 0 };
        self.0.push(remote | if mark.perhaps { PERHAPS } else { 0 });
        let mut index = mark.index;
        while index >= 0x80 {
            self.0.push((index & 0x7f) as u8 | 0x80);
            index >>= 7;
        }
        self.0.push(index as u8);
        base::text0::put(&mut self.0, address);
        at
    }

    /// The slice. Room that one big letter took is given back.
    pub(super) fn finish(&mut self) -> Box<[u8]> {
        let slice = Box::from(&self.0[..]);
        if self.0.capacity() > 64 << 10 {
            self.0 = Vec::new();
        }
        slice
    }
}

impl Letter {
    /// A letter whose envelope is yet to come.
    pub(super) fn new(id: u64, birth: Moment, flow: u8) -> Self {
        let (envelope, failed, stage) = (Box::default(), false, Stage::Here);
        Self { id, birth, envelope, open: 0, unwritten: 0, flow, failed, stage }
    }

    /// Gives it its envelope, with so many recipients open.
    pub(super) fn fill(&mut self, envelope: Box<[u8]>, open: u32, failed: bool) {
        (self.envelope, self.open, self.failed) = (envelope, open, failed);
    }

    /// The envelope sender, VERP not expanded.
    pub(super) fn sender(&self) -> &[u8] {
        text(&self.envelope)
    }

    /// The recipient at this place (a value [`Writer::put`] gave).
    pub(super) fn recipient(&self, at: u32) -> (Mark, &[u8]) {
        let nobody = Mark { channel: Channel::Local, perhaps: false, index: 0 };
        let Some([mark, rest @ ..]) = self.envelope.get(at as usize..) else {
            return (nobody, b"");
        };
        let mut index = 0;
        for (n, &byte) in (0..5).zip(rest) {
            index |= u32::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                let address = rest.get(n + 1..).unwrap_or_default();
                let channel = if mark & REMOTE == 0 { Channel::Local } else { Channel::Remote };
                return (Mark { channel, perhaps: mark & PERHAPS != 0, index }, text(address));
            }
        }
        (nobody, b"")
    }

    /// Remembers that an attempt is made for the recipient at this place: the next one looks first
    /// what this one, or one of an earlier run, has left.
    pub(super) fn attempted(&mut self, at: u32) {
        if let Some(mark) = self.envelope.get_mut(at as usize) {
            *mark |= PERHAPS;
        }
    }
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&c| c == 0).next().unwrap_or_default()
}

/// Every letter, by its place.
#[derive(Debug, Default)]
pub(super) struct Letters {
    places: Vec<Option<Letter>>,
    free: Vec<u32>,
}

impl Letters {
    /// Takes a letter in; `None` if there are four thousand million already.
    pub(super) fn insert(&mut self, letter: Letter) -> Option<Known> {
        let id = letter.id;
        if let Some(place) = self.free.pop() {
            *self.places.get_mut(place as usize)? = Some(letter);
            return Some(Known { id, place });
        }
        let place = u32::try_from(self.places.len()).ok()?;
        self.places.push(Some(letter));
        Some(Known { id, place })
    }

    /// The letter at a place that something still waits for.
    pub(super) fn at(&self, place: u32) -> Option<&Letter> {
        self.places.get(place as usize)?.as_ref()
    }

    /// The same, to change it.
    pub(super) fn at_mut(&mut self, place: u32) -> Option<&mut Letter> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    /// A letter that is still here.
    pub(super) fn get_mut(&mut self, known: Known) -> Option<&mut Letter> {
        let letter = self.at_mut(known.place)?;
        (letter.id == known.id && letter.stage != Stage::Gone).then_some(letter)
    }

    /// The same, to look at.
    pub(super) fn get(&self, known: Known) -> Option<&Letter> {
        let letter = self.at(known.place)?;
        (letter.id == known.id && letter.stage != Stage::Gone).then_some(letter)
    }

    /// Forgets a letter: at once if nothing waits for it any more, else when [`Letters::let_go`]
    /// was called for each open recipient. False if it was not here.
    pub(super) fn forget(&mut self, known: Known) -> bool {
        let Some(letter) = self.get_mut(known) else { return false };
        letter.stage = Stage::Gone;
        if letter.open == 0 {
            self.vacate(known.place);
        }
        true
    }

    /// A queue lets go of a recipient of a letter that is gone; false if the letter is here.
    pub(super) fn let_go(&mut self, place: u32) -> bool {
        let Some(letter) = self.at_mut(place).filter(|l| l.stage == Stage::Gone) else {
            return false;
        };
        letter.open = letter.open.saturating_sub(1);
        if letter.open == 0 {
            self.vacate(place);
        }
        true
    }

    fn vacate(&mut self, place: u32) {
        if let Some(letter) = self.places.get_mut(place as usize) {
            *letter = None;
            self.free.push(place);
        }
    }

    /// Every letter that is here.
    pub(super) fn iter(&self) -> impl Iterator<Item = Known> {
        let letters = (0..).zip(&self.places).filter_map(|(n, l)| Some((n, l.as_ref()?)));
        letters
            .filter(|(_, letter)| letter.stage != Stage::Gone)
            .map(|(place, letter)| Known { id: letter.id, place })
    }

    /// None is left, not even one that is gone.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_stands_at_its_place() {
        let remote = Mark { channel: Channel::Remote, perhaps: true, index: 0 };
        let local = Mark { channel: Channel::Local, perhaps: false, index: 300_000 };
        let mut writer = Writer::default();
        writer.begin(b"s@x");
        let places = [writer.put(remote, b"a@b"), writer.put(local, b"")];
        let mut letter = Letter::new(1, Moment::from_secs(1), 0);
        letter.fill(writer.finish(), 2, false);
        assert_eq!(letter.sender(), b"s@x");
        assert_eq!(letter.recipient(places[0]), (remote, &b"a@b"[..]));
        assert_eq!(letter.recipient(places[1]), (local, &b""[..]));
        letter.attempted(places[1]);
        assert!(letter.recipient(places[1]).0.perhaps);
        assert_eq!(letter.recipient(places[0]), (remote, &b"a@b"[..]));
        assert_eq!(letter.recipient(10_000).1, b"");
    }

    #[test]
    fn a_place_is_used_again_only_when_nothing_waits_for_its_letter() {
        let letter = |id, open| {
            let mut letter = Letter::new(id, Moment::default(), 0);
            letter.fill(Box::default(), open, false);
            letter
        };
        let mut letters = Letters::default();
        let first = letters.insert(letter(1, 2)).unwrap();
        assert!(letters.forget(first) && !letters.forget(first));
        assert!(letters.get(first).is_none() && letters.iter().next().is_none());
        let second = letters.insert(letter(2, 0)).unwrap();
        assert_ne!(second.place, first.place);
        assert!(letters.let_go(first.place) && letters.let_go(first.place));
        assert!(!letters.let_go(second.place));
        assert_eq!(letters.insert(letter(3, 0)).unwrap().place, first.place);
        assert!(letters.get(first).is_none());
        assert!(letters.forget(second) && !letters.is_empty());
    }
}
