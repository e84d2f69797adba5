//! One channel: what is due when, what is running in which slot, and when to try again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use base::event::{Channel, Load};
use base::limits;
use base::time::Moment;

/// One recipient that waits for its moment. Ordered by the moment, then by age in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// When it is due.
    pub(super) due: Moment,
    /// The letter.
    pub(super) letter: u64,
    /// Which of its recipients, from 0.
    pub(super) index: u32,
    /// Where that recipient stands in [`super::letter::Letter`].
    pub(super) at: u32,
}

/// A delivery that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    /// Its recipient.
    pub(super) item: Item,
    /// Its number in the log.
    pub(super) delivery: u64,
    /// When the next attempt is due if this one is put off.
    pub(super) next: Moment,
    /// The letter has been in the queue too long: there will be no next attempt.
    pub(super) dying: bool,
    /// It waits for the disk only and does not count among those at a time.
    pub(super) made: bool,
}

/// The recipients of one channel.
#[derive(Debug)]
pub(super) struct Line {
    waiting: BinaryHeap<Reverse<Item>>,
    /// Those that run and those that are made.
    slots: Vec<Option<Flight>>,
    free: BTreeSet<u32>,
    limit: u32,
    running: u32,
}

impl Line {
    /// A channel that makes up to `limit` deliveries at a time; with 0 it is held.
    pub(super) fn new(limit: u32) -> Self {
        let slots = if limit == 0 { 0 } else { limit.saturating_add(limits::SETTLING) };
        Self {
            waiting: BinaryHeap::new(),
            slots: (0..slots).map(|_| None).collect(),
            free: (0..slots).collect(),
            limit,
            running: 0,
        }
    }

    /// How busy it is.
    pub(super) fn load(&self) -> Load {
        Load { running: self.running, limit: self.limit }
    }

    /// Nothing runs and nothing waits for the disk.
    pub(super) fn idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Puts a recipient in the queue.
    pub(super) fn wait(&mut self, item: Item) {
        self.waiting.push(Reverse(item));
    }

    /// The lowest free slot, if one more delivery may run.
    fn room(&self) -> Option<u32> {
        if self.running < self.limit { self.free.first().copied() } else { None }
    }

    /// The next recipient that is due, if there is a slot for it.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<(u32, Item)> {
        let slot = self.room()?;
        if self.waiting.peek()?.0.due > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(item)| (slot, item))
    }

    /// When there will be something to start; `None` if nothing waits or every slot is taken.
    pub(super) fn wake(&self) -> Option<Moment> {
        self.room()?;
        self.waiting.peek().map(|Reverse(item)| item.due)
    }

    /// Takes the slot for a delivery.
    pub(super) fn depart(&mut self, slot: u32, flight: Flight) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(flight);
            self.free.remove(&slot);
            self.running = self.running.saturating_add(1);
        }
    }

    /// What runs there waits for the disk only from now on; false if nothing runs there.
    pub(super) fn made(&mut self, slot: u32) -> bool {
        let Some(Some(flight)) = self.slots.get_mut(slot as usize) else { return false };
        if !std::mem::replace(&mut flight.made, true) {
            self.running = self.running.saturating_sub(1);
        }
        true
    }

    /// Gives back the slot and says what ran there; `None` if nothing did.
    pub(super) fn land(&mut self, slot: u32) -> Option<Flight> {
        let flight = self.slots.get_mut(slot as usize)?.take()?;
        self.free.insert(slot);
        if !flight.made {
            self.running = self.running.saturating_sub(1);
        }
        Some(flight)
    }

    /// Expects no report any more. Their recipients are left as queued knows them; the next run
    /// delivers to them with [`base::wire::spawn::Delivery::perhaps`].
    pub(super) fn abandon(&mut self) {
        for (slot, place) in (0..).zip(&mut self.slots) {
            *place = None;
            self.free.insert(slot);
        }
        self.running = 0;
    }

    /// Makes everything due now: ALRM.
    pub(super) fn hurry(&mut self, now: Moment) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.waiting =
            waiting.map(|Reverse(item)| Reverse(Item { due: item.due.min(now), ..item })).collect();
    }

    /// How many recipients wait here.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// When a letter born at `birth` is tried again after an attempt at `now` (spec §6.1):
/// `birth + (⌊√age⌋ + c)²`, with c = 10 for local and 20 for remote recipients.
pub(super) fn retry(birth: Moment, now: Moment, channel: Channel) -> Moment {
    let age = now.since(birth) / 1_000_000;
    let step = match channel {
        Channel::Local => 10,
        Channel::Remote => 20,
    };
    let root = age.isqrt().saturating_add(step);
    birth.plus_secs(root.saturating_mul(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attempts of a letter that is deferred each time at once, in seconds from its birth.
    fn attempts(channel: Channel, lifetime: u64) -> Vec<u64> {
        let birth = Moment::from_micros(1_700_000_000_123_456);
        let mut now = birth;
        let mut ages = Vec::new();
        loop {
            let age = now.since(birth) / 1_000_000;
            ages.push(age);
            if age > lifetime {
                return ages;
            }
            now = retry(birth, now, channel);
        }
    }

    #[test]
    fn retries_follow_the_squares_to_the_last_attempt() {
        let local = attempts(Channel::Local, 604_800);
        assert_eq!(local.get(..5), Some(&[0, 100, 400, 900, 1600][..]));
        assert_eq!((local.len(), local.last()), (79, Some(&608_400)));
        let remote = attempts(Channel::Remote, 604_800);
        assert_eq!(remote.get(..5), Some(&[0, 400, 1600, 3600, 6400][..]));
        assert_eq!((remote.len(), remote.last()), (40, Some(&608_400)));
    }

    #[test]
    fn a_hundred_years_of_retries_stay_squares() {
        let century = 100 * 365 * 86_400;
        let ages = attempts(Channel::Remote, century);
        assert!(ages.iter().enumerate().all(|(k, &age)| age == (20 * k as u64).pow(2)));
        assert!(ages.len() > 2800);
    }

    #[test]
    fn a_letter_from_the_future_counts_as_new() {
        let birth = Moment::from_secs(1000);
        assert_eq!(retry(birth, Moment::from_secs(0), Channel::Local), Moment::from_secs(1100));
    }

    #[test]
    fn the_lowest_free_slot_is_taken_and_a_full_channel_waits() {
        let now = Moment::from_secs(1);
        let mut line = Line::new(2);
        for letter in [3, 1, 2] {
            line.wait(Item { due: now, letter, index: 0, at: 0 });
        }
        let fly = |line: &mut Line| {
            let (slot, item) = line.pop_due(now)?;
            let flight = Flight { item, delivery: 1, next: now, dying: false, made: false };
            line.depart(slot, flight);
            Some((slot, item.letter))
        };
        assert_eq!(fly(&mut line), Some((0, 1)));
        assert_eq!(fly(&mut line), Some((1, 2)));
        assert_eq!((fly(&mut line), line.wake()), (None, None));
        assert_eq!(line.land(0).map(|f| f.item.letter), Some(1));
        assert_eq!(line.land(0), None);
        assert_eq!(fly(&mut line), Some((0, 3)));
        assert_eq!(Line::new(0).pop_due(now), None);
    }

    #[test]
    fn a_delivery_that_waits_for_the_disk_keeps_its_slot_and_frees_its_place() {
        let now = Moment::from_secs(1);
        let mut line = Line::new(1);
        for letter in [1, 2] {
            line.wait(Item { due: now, letter, index: 0, at: 0 });
        }
        let fly = |line: &mut Line| {
            let (slot, item) = line.pop_due(now)?;
            line.depart(slot, Flight { item, delivery: 1, next: now, dying: false, made: false });
            Some(slot)
        };
        assert_eq!((fly(&mut line), fly(&mut line)), (Some(0), None));
        assert!(line.made(0) && line.made(0) && !line.made(7));
        assert_eq!((line.load().running, line.idle()), (0, false));
        assert_eq!(fly(&mut line), Some(1));
        assert!(line.land(0).is_some_and(|flight| flight.made));
        assert_eq!(line.load().running, 1);
        assert!(line.land(1).is_some() && line.idle());
    }
}
