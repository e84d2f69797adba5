//! One channel: what is due when, what is running in which slot, and when to try again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::event::{Channel, Load};
use base::limits;
use base::outcome::Outcome;
use base::time::Moment;

use super::destination::{Destinations, Gate, share, sign};
use super::lanes::{Lane, Lanes, Turn};
use super::letters::{Known, Letters, Recipient};

/// Recipients that have come due again and are taken out of the order of their moments before one
/// of them has had its turn.
const RIPE: usize = 4_096;

/// A delivery that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Its letter.
    pub(super) letter: Known,
    /// Its recipient.
    pub(super) recipient: Recipient,
    /// Its number in the log.
    pub(super) delivery: u64,
    /// When it began.
    pub(super) began: Moment,
    /// When the next attempt is due if this one is put off.
    pub(super) next: Moment,
    /// The letter has been in the queue too long: there will be no next attempt.
    pub(super) dying: bool,
    /// Its destination.
    pub(super) destination: u32,
    /// It does not count against the places that are kept for people.
    pub(super) lane: Lane,
    /// It waits for the disk only and does not count among those at a time.
    pub(super) made: bool,
}

/// The recipients of one channel.
#[derive(Debug)]
pub(super) struct Line {
    channel: Channel,
    /// Those that were put off, by the moment they are due.
    timers: BinaryHeap<Reverse<(Moment, Recipient)>>,
    /// Those that are due.
    lanes: Lanes,
    /// Where they go.
    pub(super) destinations: Destinations,
    /// Those that run and those that are made.
    slots: Vec<Option<Flight>>,
    free: Vec<u32>,
    limit: u32,
    running: u32,
    /// Of those that run, such as are not people's.
    behind: u32,
}

impl Line {
    /// A channel that makes up to `limit` deliveries at a time; with 0 it is held.
    pub(super) fn new(channel: Channel, limit: u32) -> Self {
        let slots = if limit == 0 { 0 } else { limit.saturating_add(limits::SETTLING) };
        Self {
            channel,
            timers: BinaryHeap::new(),
            lanes: Lanes::new(),
            destinations: Destinations::default(),
            slots: (0..slots).map(|_| None).collect(),
            free: (0..slots).rev().collect(),
            limit,
            running: 0,
            behind: 0,
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

    /// A recipient waits for its moment.
    pub(super) fn wait(&mut self, due: Moment, recipient: Recipient) {
        self.timers.push(Reverse((due, recipient)));
    }

    /// A recipient that was never tried waits for its turn.
    pub(super) fn queue(&mut self, lane: Lane, flow: u8, recipient: Recipient) {
        self.lanes.push(lane, flow, recipient);
    }

    /// Those whose moment has come wait for their turn.
    pub(super) fn ripen(&mut self, letters: &mut Letters, now: Moment) {
        while self.lanes.len(Lane::Again) < RIPE
            && let Some(&Reverse((due, recipient))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            if !letters.let_go(recipient.letter) {
                let flow = letters.at(recipient.letter).map_or(0, |letter| letter.flow);
                self.lanes.push(Lane::Again, flow, recipient);
            }
        }
        self.destinations.wake(&mut self.lanes, now);
    }

    /// Whose turn it is, if one more delivery may run.
    pub(super) fn next(&mut self) -> Option<Turn> {
        if self.running >= self.limit || self.free.is_empty() {
            return None;
        }
        self.lanes.next(self.behind < share(self.limit))
    }

    /// Decides on whose turn it is.
    pub(super) fn admit(&mut self, turn: &Turn, destination: u32, now: Moment) -> Gate {
        let gate = self.destinations.admit(destination, turn, &mut self.lanes, now);
        if gate != Gate::Wait {
            self.lanes.done(turn);
        }
        gate
    }

    /// Whose turn it is will not come.
    pub(super) fn drop(&mut self, turn: &Turn, destination: u32, now: Moment) {
        self.destinations.renounce(destination, turn, &mut self.lanes, now);
        self.lanes.done(turn);
    }

    /// The next recipient whose destination is down for long, and that destination.
    pub(super) fn shed(&mut self, now: Moment) -> Option<(u32, Recipient)> {
        self.destinations.shed(&mut self.lanes, now)
    }

    /// When there will be something to start; `None` if only events can change that.
    pub(super) fn wake(&self) -> Option<Moment> {
        let timers = self.timers.peek().map(|Reverse((due, _))| *due);
        let timers = timers.filter(|_| self.lanes.len(Lane::Again) < RIPE);
        [timers, self.destinations.due()].into_iter().flatten().min()
    }

    /// The slot the next delivery will have.
    pub(super) fn slot(&self) -> Option<u32> {
        self.free.last().copied()
    }

    /// Takes that slot for a delivery.
    pub(super) fn depart(&mut self, flight: Flight) {
        let Some(slot) = self.free.pop() else { return };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(flight);
        }
        self.running = self.running.saturating_add(1);
        self.behind = self.behind.saturating_add(flight.lane.is_behind().into());
    }

    /// What runs there waits for the disk only from now on; false if nothing runs there.
    pub(super) fn made(&mut self, slot: u32, now: Moment) -> bool {
        let Some(Some(flight)) = self.slots.get_mut(slot as usize) else { return false };
        if !std::mem::replace(&mut flight.made, true) {
            let flight = *flight;
            self.give_back(&flight, Some(Outcome::Done), b"", now);
        }
        true
    }

    /// Gives back the slot and says what ran there; `None` if nothing did.
    pub(super) fn land(
        &mut self,
        slot: u32,
        (outcome, text): (Option<Outcome>, &[u8]),
        now: Moment,
    ) -> Option<Flight> {
        let flight = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        if !flight.made {
            self.give_back(&flight, outcome, text, now);
        }
        Some(flight)
    }

    fn give_back(&mut self, flight: &Flight, outcome: Option<Outcome>, text: &[u8], now: Moment) {
        let behind = flight.lane.is_behind();
        self.running = self.running.saturating_sub(1);
        self.behind = self.behind.saturating_sub(behind.into());
        let (at, began) = (flight.destination, flight.began);
        self.destinations.leave(at, behind);
        let sign = sign(self.channel, outcome, text, now.since(began));
        self.destinations.judge(at, (sign, text), began, &mut self.lanes, now);
    }

    /// Expects no report any more. Their recipients are left as queued knows them; the next run
    /// delivers to them with [`base::wire::spawn::Delivery::perhaps`].
    pub(super) fn abandon(&mut self) {
        for (slot, place) in (0..).zip(&mut self.slots) {
            if place.take().is_some() {
                self.free.push(slot);
            }
        }
        (self.running, self.behind) = (0, 0);
    }

    /// Makes everything due now, and every destination worth an attempt: ALRM.
    pub(super) fn hurry(&mut self, rules: impl Fn(&[u8]) -> (u32, Moment), now: Moment) {
        self.change(|due| due.min(now));
        self.destinations.renew(rules, true, &mut self.lanes, now);
    }

    /// Looks every destination up again: HUP.
    pub(super) fn renew(&mut self, rules: impl Fn(&[u8]) -> (u32, Moment), now: Moment) {
        self.destinations.renew(rules, false, &mut self.lanes, now);
    }

    /// The clock was set: what waits waits as long as before.
    pub(super) fn shift(&mut self, now: Moment, by: impl Fn(Moment) -> Moment) {
        self.change(&by);
        self.destinations.shift(now, &by);
        for flight in self.slots.iter_mut().flatten() {
            (flight.began, flight.next) = (by(flight.began), by(flight.next));
        }
    }

    fn change(&mut self, due: impl Fn(Moment) -> Moment) {
        let mut timers = std::mem::take(&mut self.timers).into_vec();
        for Reverse((moment, _)) in &mut timers {
            *moment = due(*moment);
        }
        self.timers = timers.into();
    }

    /// How many recipients wait here.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let lanes = [Lane::People, Lane::Bounces, Lane::Lists, Lane::Again];
        self.timers.len() + lanes.into_iter().map(|lane| self.lanes.len(lane)).sum::<usize>()
    }
}

/// When a letter born at `birth` is tried again after an attempt at `now` (qmail-send(8)):
/// `birth + (⌊√age⌋ + c)²`, with c = 10 for local and 20 for remote recipients. A letter from the
/// future (the clock was set back) is as old as it can be: new.
pub(super) fn retry(birth: Moment, now: Moment, channel: Channel) -> Moment {
    let birth = birth.min(now);
    let age = now.since(birth) / 1_000_000;
    let root = age.isqrt().saturating_add(step(channel));
    birth.plus_secs(root.saturating_mul(root))
}

/// The farthest that any attempt of a letter tried for `lifetime` seconds can be away, seconds.
pub(super) fn farthest(lifetime: u64, channel: Channel) -> u64 {
    let step = step(channel);
    lifetime.isqrt().saturating_mul(2).saturating_add(step).saturating_mul(step)
}

fn step(channel: Channel) -> u64 {
    match channel {
        Channel::Local => 10,
        Channel::Remote => 20,
    }
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
            let next = retry(birth, now, channel);
            assert!(next.since(now) <= farthest(lifetime, channel) * 1_000_000);
            now = next;
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
        let birth = Moment::from_secs(100_000_000);
        let now = Moment::from_secs(1000);
        assert_eq!(retry(birth, now, Channel::Local), Moment::from_secs(1100));
    }

    #[test]
    fn a_delivery_that_waits_for_the_disk_keeps_its_slot_and_frees_its_place() {
        let now = Moment::from_secs(1);
        let mut line = Line::new(Channel::Local, 1);
        let fly = |line: &mut Line| {
            line.queue(Lane::People, 0, Recipient { letter: 0, at: 0 });
            let turn = line.next()?;
            let destination = line.destinations.find(b"joe", now, |_| (1, Moment::default()));
            assert_eq!(line.admit(&turn, destination, now), Gate::Open);
            let slot = line.slot();
            line.depart(Flight {
                letter: Known { id: 1, place: 0 },
                recipient: turn.recipient,
                delivery: 1,
                began: now,
                next: now,
                dying: false,
                destination,
                lane: turn.lane,
                made: false,
            });
            slot
        };
        assert_eq!((fly(&mut line), fly(&mut line)), (Some(0), None));
        assert!(line.made(0, now) && line.made(0, now) && !line.made(7, now));
        assert_eq!((line.load().running, line.idle()), (0, false));
        assert_eq!(fly(&mut line), Some(1));
        let done = (Some(Outcome::Done), &b""[..]);
        assert!(line.land(0, done, now).is_some_and(|flight| flight.made));
        assert_eq!(line.load().running, 1);
        assert!(line.land(1, done, now).is_some() && line.land(1, done, now).is_none());
        assert!(line.idle() && Line::new(Channel::Remote, 0).next().is_none());
    }
}
