//! Whose turn it is: those who have spoken wait by neighbourhood, and each neighbourhood has its turn.

use super::lounge::Ticket;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;

/// Those who have spoken and wait to be served, by neighbourhood: each has its turn.
#[derive(Debug, Default)]
pub(super) struct Queue {
    by_place: BTreeMap<IpAddr, VecDeque<Ticket>>,
    /// The neighbourhood that had its turn last.
    last: Option<IpAddr>,
}

impl Queue {
    /// One more waits.
    pub(super) fn push(&mut self, place: IpAddr, ticket: Ticket) {
        self.by_place.entry(place).or_default().push_back(ticket);
    }

    /// The next in turn from a neighbourhood that may be served.
    pub(super) fn pop(&mut self, may: impl Fn(IpAddr) -> bool) -> Option<Ticket> {
        let from = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.by_place.range((from, Bound::Unbounded));
        let round = later.chain(&self.by_place).map(|(place, _)| *place);
        let place = round.into_iter().find(|place| may(*place))?;
        self.last = Some(place);
        let tickets = self.by_place.get_mut(&place)?;
        let ticket = tickets.pop_front();
        if tickets.is_empty() {
            self.by_place.remove(&place);
        }
        ticket
    }

    /// Takes one out before its turn.
    pub(super) fn remove(&mut self, place: IpAddr, ticket: Ticket) {
        if let Some(tickets) = self.by_place.get_mut(&place) {
            tickets.retain(|other| *other != ticket);
            if tickets.is_empty() {
                self.by_place.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbourhoods_take_turns_and_those_that_may_not_are_passed_over() {
        let ticket = Ticket::from_number;
        let place = |n: u8| IpAddr::from([10, 0, n, 0]);
        let mut queue = Queue::default();
        for (n, number) in [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5)] {
            queue.push(place(n), ticket(number));
        }
        queue.remove(place(3), ticket(5));
        queue.push(place(3), ticket(6));
        let order: Vec<u64> =
            std::iter::from_fn(|| queue.pop(|_| true)).map(Ticket::number).collect();
        assert_eq!(order, [1, 4, 6, 2, 3]);
        queue.push(place(1), ticket(7));
        assert_eq!(queue.pop(|from| from != place(1)), None);
        queue.push(place(2), ticket(8));
        assert_eq!(queue.pop(|from| from != place(1)), Some(ticket(8)));
        assert_eq!(queue.pop(|_| true), Some(ticket(7)));
        assert!(queue.by_place.is_empty());
    }
}
