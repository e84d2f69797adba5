//! Recipients that are due and wait for their turn. A lane for each class, in each lane a flow for
//! each sender (as far as [`FLOWS`] tell them apart): the flows of a lane take turns, so whoever
//! sends a hundred thousand letters waits behind himself.

use super::letters::Recipient;

/// Senders are told apart by this many flows in each lane.
pub(super) const FLOWS: u8 = 64;
/// And by this many where recipients wait for one destination.
const PARKED_FLOWS: u8 = 16;
/// No node.
const NONE: u32 = u32::MAX;

/// What a recipient waits as. The best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// A person's letter, not yet tried.
    People,
    /// A bounce, not yet tried.
    Bounces,
    /// A list's letter, not yet tried.
    Lists,
    /// Any letter that has been put off before.
    Again,
}

impl Lane {
    const ALL: [Self; 4] = [Self::People, Self::Bounces, Self::Lists, Self::Again];

    /// It may not take the places that are kept for people.
    pub(super) fn is_behind(self) -> bool {
        self != Self::People
    }
}

/// A recipient whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Who.
    pub(super) recipient: Recipient,
    /// From which lane.
    pub(super) lane: Lane,
    /// From which flow.
    pub(super) flow: u8,
    /// Its destination has already counted it among those that run.
    pub(super) promised: bool,
    node: u32,
}

#[derive(Debug)]
struct Node {
    recipient: Recipient,
    next: u32,
    promised: bool,
}

/// First in, first out.
#[derive(Clone, Copy, Debug)]
struct Row {
    head: u32,
    tail: u32,
}

const EMPTY: Row = Row { head: NONE, tail: NONE };

/// The nodes of every row of a channel.
#[derive(Debug)]
struct Nodes {
    nodes: Vec<Node>,
    /// The first unused one.
    free: u32,
}

impl Nodes {
    fn make(&mut self, recipient: Recipient) -> Option<u32> {
        let node = Node { recipient, next: NONE, promised: false };
        if self.free == NONE {
            let at = u32::try_from(self.nodes.len()).ok().filter(|&at| at != NONE)?;
            self.nodes.push(node);
            return Some(at);
        }
        let at = self.free;
        let place = self.nodes.get_mut(at as usize)?;
        self.free = std::mem::replace(place, node).next;
        Some(at)
    }

    fn unmake(&mut self, at: u32) {
        let free = self.free;
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.next = free;
            self.free = at;
        }
    }

    fn push(&mut self, row: &mut Row, at: u32) {
        match self.nodes.get_mut(row.tail as usize) {
            Some(last) => last.next = at,
            None => row.head = at,
        }
        row.tail = at;
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.next = NONE;
        }
    }

    fn push_front(&mut self, row: &mut Row, at: u32) {
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.next = row.head;
        }
        if row.head == NONE {
            row.tail = at;
        }
        row.head = at;
    }

    fn pop(&self, row: &mut Row) -> Option<u32> {
        let at = row.head;
        row.head = self.nodes.get(at as usize)?.next;
        if row.head == NONE {
            row.tail = NONE;
        }
        Some(at)
    }
}

/// The flows of one lane, which take turns.
#[derive(Debug)]
struct Ring {
    rows: [Row; FLOWS as usize],
    /// One bit for each row that is not empty.
    filled: u64,
    /// Whose turn is next.
    next: u8,
    len: usize,
}

impl Ring {
    const NEW: Self = Self { rows: [EMPTY; FLOWS as usize], filled: 0, next: 0, len: 0 };

    fn push(&mut self, nodes: &mut Nodes, flow: u8, at: u32, front: bool) {
        let flow = flow % FLOWS;
        if let Some(row) = self.rows.get_mut(usize::from(flow)) {
            if front {
                nodes.push_front(row, at);
            } else {
                nodes.push(row, at);
            }
            self.filled |= 1 << flow;
            self.len = self.len.saturating_add(1);
        }
    }

    fn pop(&mut self, nodes: &Nodes) -> Option<(u8, u32)> {
        if self.filled == 0 {
            return None;
        }
        let ahead = self.filled.rotate_right(self.next.into()).trailing_zeros();
        let flow = (self.next + ahead as u8) % FLOWS;
        self.next = (flow + 1) % FLOWS;
        let row = self.rows.get_mut(usize::from(flow))?;
        let at = nodes.pop(row)?;
        if row.head == NONE {
            self.filled &= !(1 << flow);
        }
        self.len = self.len.saturating_sub(1);
        Some((flow, at))
    }
}

/// Which lane is next: every other turn the best one that may go, in between each of the others.
#[derive(Clone, Copy, Debug, Default)]
struct Taking(u8);

impl Taking {
    fn choose(&mut self, all: bool, waits: impl Fn(Lane) -> bool) -> Option<Lane> {
        self.0 = (self.0 + 1) % 6;
        let first = if self.0.is_multiple_of(2) { 1 + usize::from(self.0 / 2) } else { 0 };
        let lanes = Lane::ALL.into_iter().cycle().skip(first).take(Lane::ALL.len());
        lanes.filter(|lane| all || !lane.is_behind()).find(|&lane| waits(lane))
    }
}

/// All lanes of a channel.
#[derive(Debug)]
pub(super) struct Lanes {
    nodes: Nodes,
    rings: Box<[Ring; 4]>,
    taking: Taking,
}

impl Lanes {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        let nodes = Nodes { nodes: Vec::new(), free: NONE };
        Self { nodes, rings: Box::new([Ring::NEW; 4]), taking: Taking::default() }
    }

    fn ring(&mut self, lane: Lane) -> (&mut Ring, &mut Nodes) {
        let [people, bounces, lists, again] = &mut *self.rings;
        let ring = match lane {
            Lane::People => people,
            Lane::Bounces => bounces,
            Lane::Lists => lists,
            Lane::Again => again,
        };
        (ring, &mut self.nodes)
    }

    /// A recipient comes to wait.
    pub(super) fn push(&mut self, lane: Lane, flow: u8, recipient: Recipient) {
        if let Some(at) = self.nodes.make(recipient) {
            let (ring, nodes) = self.ring(lane);
            ring.push(nodes, flow, at, false);
        }
    }

    /// How many wait in a lane.
    pub(super) fn len(&self, lane: Lane) -> usize {
        let [people, bounces, lists, again] = &*self.rings;
        match lane {
            Lane::People => people.len,
            Lane::Bounces => bounces.len,
            Lane::Lists => lists.len,
            Lane::Again => again.len,
        }
    }

    /// Whose turn it is; without `all` only people count. It must then be [`Lanes::done`] or
    /// [`Lanes::park`]ed.
    pub(super) fn next(&mut self, all: bool) -> Option<Turn> {
        let mut taking = self.taking;
        let lane = taking.choose(all, |lane| self.len(lane) > 0)?;
        self.taking = taking;
        let (ring, nodes) = self.ring(lane);
        let (flow, node) = ring.pop(nodes)?;
        let &Node { recipient, promised, .. } = nodes.nodes.get(node as usize)?;
        Some(Turn { recipient, lane, flow, promised, node })
    }

    /// It waits no longer.
    pub(super) fn done(&mut self, turn: &Turn) {
        self.nodes.unmake(turn.node);
    }

    /// It waits for its destination; one to which a place was promised waits in front.
    pub(super) fn park(&mut self, parked: &mut Parked, turn: &Turn) {
        if let Some(node) = self.nodes.nodes.get_mut(turn.node as usize) {
            node.promised = false;
        }
        let row = parked.row(turn.lane, turn.flow);
        if turn.promised {
            self.nodes.push_front(row, turn.node);
        } else {
            self.nodes.push(row, turn.node);
        }
    }

    /// One that waited for its destination is next in its lane, with a place promised; without
    /// `all` only one of the people. The lane it is in.
    pub(super) fn unpark(&mut self, parked: &mut Parked, all: bool) -> Option<Lane> {
        let (lane, flow, at) = parked.next(&self.nodes, all)?;
        if let Some(node) = self.nodes.nodes.get_mut(at as usize) {
            node.promised = true;
        }
        let (ring, nodes) = self.ring(lane);
        ring.push(nodes, flow, at, true);
        Some(lane)
    }

    /// Takes one that waits for a destination which is down out of everything.
    pub(super) fn shed(&mut self, parked: &mut Parked) -> Option<Recipient> {
        let (_, _, at) = parked.next(&self.nodes, true)?;
        let recipient = self.nodes.nodes.get(at as usize)?.recipient;
        self.nodes.unmake(at);
        Some(recipient)
    }
}

/// Those who wait for one destination: a row for each lane and flow that has any.
#[derive(Debug, Default)]
pub(super) struct Parked {
    rows: Vec<(Lane, u8, Row)>,
    taking: Taking,
}

impl Parked {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn row(&mut self, lane: Lane, flow: u8) -> &mut Row {
        let flow = flow % PARKED_FLOWS;
        let found = self.rows.iter().position(|&(l, f, _)| (l, f) == (lane, flow));
        let at = found.unwrap_or(self.rows.len());
        if found.is_none() {
            self.rows.push((lane, flow, EMPTY));
        }
        // It is there: it was found, or pushed just now.
        &mut self.rows[at].2
    }

    fn next(&mut self, nodes: &Nodes, all: bool) -> Option<(Lane, u8, u32)> {
        let mut taking = self.taking;
        let lane = taking.choose(all, |lane| self.rows.iter().any(|&(l, ..)| l == lane))?;
        self.taking = taking;
        let first = self.rows.iter().position(|&(l, ..)| l == lane)?;
        let (lane, flow, mut row) = self.rows.remove(first);
        let at = nodes.pop(&mut row);
        if row.head != NONE {
            self.rows.push((lane, flow, row));
        }
        Some((lane, flow, at?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(letter: u32) -> Recipient {
        Recipient { letter, at: 0 }
    }

    fn take(lanes: &mut Lanes, all: bool) -> Option<u32> {
        let turn = lanes.next(all)?;
        lanes.done(&turn);
        Some(turn.recipient.letter)
    }

    #[test]
    fn senders_take_turns_and_each_keeps_its_order() {
        let mut lanes = Lanes::new();
        for letter in 0..100 {
            lanes.push(Lane::People, 63, recipient(letter));
        }
        lanes.push(Lane::People, 3, recipient(1000));
        lanes.push(Lane::People, 3, recipient(1001));
        let order: Vec<_> = std::iter::from_fn(|| take(&mut lanes, true)).take(6).collect();
        assert_eq!(order, [1000, 0, 1001, 1, 2, 3]);
        assert_eq!(std::iter::from_fn(|| take(&mut lanes, true)).count(), 96);
        assert_eq!(lanes.nodes.nodes.len(), 102);
        lanes.push(Lane::Lists, 0, recipient(7));
        assert_eq!((lanes.nodes.nodes.len(), lanes.len(Lane::Lists)), (102, 1));
    }

    #[test]
    fn every_other_turn_is_the_peoples_and_every_lane_moves() {
        let mut lanes = Lanes::new();
        for (n, lane) in (0..).zip(Lane::ALL) {
            for _ in 0..600 {
                lanes.push(lane, 0, recipient(n));
            }
        }
        assert_eq!(take(&mut lanes, false), Some(0), "some places are for people only");
        let mut counts = [0; 4];
        for _ in 0..600 {
            counts[take(&mut lanes, true).unwrap() as usize] += 1;
        }
        assert_eq!(counts, [300, 100, 100, 100]);
    }

    #[test]
    fn those_who_wait_for_a_destination_come_back_in_order_and_to_the_front() {
        let (mut lanes, mut parked) = (Lanes::new(), Parked::default());
        for letter in 0..4 {
            lanes.push(Lane::Lists, 1, recipient(letter));
        }
        for _ in 0..3 {
            let turn = lanes.next(true).unwrap();
            lanes.park(&mut parked, &turn);
        }
        assert_eq!(lanes.unpark(&mut parked, false), None);
        assert_eq!(lanes.unpark(&mut parked, true), Some(Lane::Lists));
        let turn = lanes.next(true).unwrap();
        assert_eq!((turn.recipient.letter, turn.promised), (0, true));
        lanes.park(&mut parked, &turn);
        assert_eq!(lanes.shed(&mut parked), Some(recipient(0)));
        lanes.unpark(&mut parked, true);
        lanes.unpark(&mut parked, true);
        assert!(parked.is_empty() && lanes.unpark(&mut parked, true).is_none());
        let order: Vec<_> = std::iter::from_fn(|| take(&mut lanes, true)).collect();
        assert_eq!(order, [2, 1, 3]);
    }
}
