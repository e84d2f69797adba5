//! Those who have been greeted and have said nothing: a descriptor and these few bytes each.
//!
//! When room is short, who has waited longest of the address that has most here goes: so whoever
//! comes from an address with few is never the one to go while another has more.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use sys::brood::Greeting;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Somebody who waits, with what is needed to serve them later.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) sock: OwnedFd,
    /// The client's address as it counts (see [`super::crowd::network`]) is that of its party;
    /// this is its own.
    pub(super) from: IpAddr,
    pub(super) port: u16,
    /// Where it connected to, if a proxy has told.
    pub(super) local: Option<Box<SocketAddr>>,
    /// When it came: seconds since the listener's start.
    pub(super) since: u32,
    /// What it is told; `None`: its program greets it.
    pub(super) greeting: Option<Rc<Greeting>>,
    /// It has been told.
    pub(super) greeted: bool,
    /// It spoke before it was greeted.
    pub(super) early: bool,
    /// It waits for its turn, not for its first byte any more.
    pub(super) queues: bool,
}

/// Names a guest; never names another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    seat: u32,
    serial: u32,
}

impl Ticket {
    /// As one number, for the poller.
    pub(super) fn number(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.seat)
    }

    /// The ticket a number stands for.
    pub(super) fn from_number(number: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        Self { serial: u32::from_be_bytes([a, b, c, d]), seat: u32::from_be_bytes([e, f, g, h]) }
    }

    /// What makes this guest's greeting unlike any other.
    pub(super) fn serial(self) -> u32 {
        self.serial
    }
}

/// A guest's place in two lists: of all, and of its party; each from the oldest to the newest.
#[derive(Debug)]
struct Seat {
    guest: Option<Guest>,
    serial: u32,
    party: u32,
    all: Links,
    own: Links,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Links {
    older: u32,
    newer: u32,
}

/// The two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    oldest: u32,
    newest: u32,
}

const NO_LINKS: Links = Links { older: NONE, newer: NONE };
const NOBODY: Ends = Ends { oldest: NONE, newest: NONE };

/// Everybody from one address.
#[derive(Debug)]
struct Party {
    address: IpAddr,
    size: u32,
    ends: Ends,
}

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    Own,
}

/// All who wait.
#[derive(Debug)]
pub(super) struct Lounge {
    limit: usize,
    count: usize,
    serial: u32,
    seats: Vec<Seat>,
    free_seats: Vec<u32>,
    parties: Vec<Party>,
    free_parties: Vec<u32>,
    by_address: HashMap<IpAddr, u32>,
    by_size: BTreeSet<(u32, u32)>,
    all: Ends,
}

impl Lounge {
    /// Room for `limit`, nobody there.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            count: 0,
            serial: 0,
            seats: Vec::new(),
            free_seats: Vec::new(),
            parties: Vec::new(),
            free_parties: Vec::new(),
            by_address: HashMap::new(),
            by_size: BTreeSet::new(),
            all: NOBODY,
        }
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    /// The ticket the next guest will get.
    pub(super) fn next(&self) -> Ticket {
        let seat = self.free_seats.last().copied();
        let seat = seat.unwrap_or_else(|| u32::try_from(self.seats.len()).unwrap_or(NONE));
        Ticket { seat, serial: self.serial.wrapping_add(1) }
    }

    /// Takes a guest in; `address` is what counts as one address.
    pub(super) fn admit(&mut self, guest: Guest, address: IpAddr) -> Ticket {
        let ticket = self.next();
        self.serial = ticket.serial;
        let party = self.join(address);
        let seat =
            Seat { guest: Some(guest), serial: ticket.serial, party, all: NO_LINKS, own: NO_LINKS };
        match self.free_seats.pop().and_then(|free| self.seats.get_mut(free as usize)) {
            Some(free) => *free = seat,
            None => self.seats.push(seat),
        }
        self.append(Which::All, ticket.seat);
        self.append(Which::Own, ticket.seat);
        self.count = self.count.saturating_add(1);
        ticket
    }

    /// The guest of a ticket, if still there.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Guest> {
        let seat = self.seats.get_mut(ticket.seat as usize)?;
        seat.guest.as_mut().filter(|_| seat.serial == ticket.serial)
    }

    /// Takes a guest out.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Guest> {
        self.get_mut(ticket)?;
        self.unlink(Which::All, ticket.seat);
        self.unlink(Which::Own, ticket.seat);
        let seat = self.seats.get_mut(ticket.seat as usize)?;
        let (guest, party) = (seat.guest.take(), seat.party);
        self.free_seats.push(ticket.seat);
        self.count = self.count.saturating_sub(1);
        self.part(party);
        guest
    }

    /// Who has been here longest, and since when.
    pub(super) fn oldest(&self) -> Option<(Ticket, u32)> {
        self.named(self.all.oldest)
    }

    /// Who has to go first if somebody has to.
    pub(super) fn victim(&self) -> Option<Ticket> {
        let (_, party) = self.by_size.last()?;
        let ends = self.parties.get(*party as usize)?.ends;
        self.named(ends.oldest).map(|(ticket, _)| ticket)
    }

    fn named(&self, number: u32) -> Option<(Ticket, u32)> {
        let seat = self.seats.get(number as usize)?;
        let since = seat.guest.as_ref()?.since;
        Some((Ticket { seat: number, serial: seat.serial }, since))
    }

    /// One more of this address; its party's number.
    fn join(&mut self, address: IpAddr) -> u32 {
        let number = self.by_address.get(&address).copied();
        let number = number.unwrap_or_else(|| self.found(address));
        self.resize(number, |size| size.saturating_add(1));
        number
    }

    /// A party of nobody yet.
    fn found(&mut self, address: IpAddr) -> u32 {
        let party = Party { address, size: 0, ends: NOBODY };
        let number = match self.free_parties.pop() {
            Some(number) => {
                if let Some(free) = self.parties.get_mut(number as usize) {
                    *free = party;
                }
                number
            }
            None => {
                self.parties.push(party);
                u32::try_from(self.parties.len().saturating_sub(1)).unwrap_or(NONE)
            }
        };
        self.by_address.insert(address, number);
        number
    }

    /// One less of a party.
    fn part(&mut self, number: u32) {
        if self.resize(number, |size| size.saturating_sub(1)) == 0
            && let Some(party) = self.parties.get(number as usize)
        {
            self.by_address.remove(&party.address);
            self.free_parties.push(number);
        }
    }

    fn resize(&mut self, number: u32, change: impl FnOnce(u32) -> u32) -> u32 {
        let Some(party) = self.parties.get_mut(number as usize) else { return 0 };
        self.by_size.remove(&(party.size, number));
        party.size = change(party.size);
        if party.size > 0 {
            self.by_size.insert((party.size, number));
        }
        party.size
    }

    /// The ends of the list a seat is in.
    fn ends(&mut self, which: Which, seat: u32) -> Option<&mut Ends> {
        match which {
            Which::All => Some(&mut self.all),
            Which::Own => {
                let party = self.seats.get(seat as usize)?.party;
                Some(&mut self.parties.get_mut(party as usize)?.ends)
            }
        }
    }

    fn links(&mut self, which: Which, seat: u32) -> Option<&mut Links> {
        let seat = self.seats.get_mut(seat as usize)?;
        Some(match which {
            Which::All => &mut seat.all,
            Which::Own => &mut seat.own,
        })
    }

    /// Puts a seat at the newest end of a list.
    fn append(&mut self, which: Which, seat: u32) {
        let Some(ends) = self.ends(which, seat) else { return };
        let older = std::mem::replace(&mut ends.newest, seat);
        if older == NONE {
            ends.oldest = seat;
        }
        if let Some(links) = self.links(which, older) {
            links.newer = seat;
        }
        if let Some(links) = self.links(which, seat) {
            *links = Links { older, newer: NONE };
        }
    }

    /// Takes a seat out of a list.
    fn unlink(&mut self, which: Which, seat: u32) {
        let Some(links) = self.links(which, seat) else { return };
        let Links { older, newer } = std::mem::replace(links, NO_LINKS);
        match self.links(which, older) {
            Some(links) => links.newer = newer,
            None => {
                if let Some(ends) = self.ends(which, seat) {
                    ends.oldest = newer;
                }
            }
        }
        match self.links(which, newer) {
            Some(links) => links.older = older,
            None => {
                if let Some(ends) = self.ends(which, seat) {
                    ends.newest = older;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn guest(from: IpAddr, since: u32) -> Guest {
        let (sock, _) = sys::fd::pipe().unwrap();
        let (port, local, greeting, greeted, early, queues) = Default::default();
        Guest { sock, from, port, local, since, greeting, greeted, early, queues }
    }

    fn admit(lounge: &mut Lounge, last: u8, since: u32) -> Ticket {
        lounge.admit(guest(ip(last), since), ip(last))
    }

    /// Who goes, one after the other: last byte of the address, and since when.
    fn all_go(lounge: &mut Lounge) -> Vec<(u8, u32)> {
        std::iter::from_fn(|| {
            let guest = lounge.victim().and_then(|ticket| lounge.remove(ticket))?;
            let IpAddr::V4(from) = guest.from else { return None };
            Some((from.octets()[3], guest.since))
        })
        .collect()
    }

    #[test]
    fn the_longest_of_the_largest_party_goes_first() {
        let mut lounge = Lounge::new(9);
        for (last, since) in [(1, 0), (2, 1), (2, 2), (3, 3), (2, 4), (3, 5)] {
            admit(&mut lounge, last, since);
        }
        let gone = all_go(&mut lounge);
        assert_eq!(gone[..2], [(2, 1), (3, 3)]);
        let mut singles = gone[2..].to_vec();
        singles.sort_unstable();
        assert_eq!(singles, [(1, 0), (2, 2), (2, 4), (3, 5)]);
        assert_eq!((lounge.count, lounge.oldest()), (0, None));
        assert!(lounge.by_address.is_empty() && lounge.by_size.is_empty());
    }

    #[test]
    fn a_newcomer_stays_while_another_address_has_more() {
        let mut lounge = Lounge::new(100);
        for since in 0..99 {
            admit(&mut lounge, 1, since);
        }
        let newcomer = admit(&mut lounge, 2, 99);
        assert!(lounge.is_full());
        for _ in 0..98 {
            let victim = lounge.victim().unwrap();
            assert_ne!(victim, newcomer);
            lounge.remove(victim).unwrap();
        }
        assert!(lounge.get_mut(newcomer).is_some());
    }

    #[test]
    fn a_ticket_never_names_another_guest() {
        let mut lounge = Lounge::new(9);
        let first = admit(&mut lounge, 1, 0);
        assert_eq!(Ticket::from_number(first.number()), first);
        lounge.remove(first).unwrap();
        let second = admit(&mut lounge, 2, 0);
        assert_eq!(second.seat, first.seat);
        assert!(lounge.get_mut(first).is_none() && lounge.remove(first).is_none());
        assert_eq!(lounge.count, 1);
    }

    #[test]
    fn the_oldest_is_told_whoever_leaves() {
        let mut lounge = Lounge::new(9);
        let tickets: Vec<Ticket> = (0..5).map(|n| admit(&mut lounge, n as u8 % 2, n)).collect();
        lounge.remove(tickets[2]).unwrap();
        lounge.remove(tickets[0]).unwrap();
        assert_eq!(lounge.oldest(), Some((tickets[1], 1)));
        lounge.remove(tickets[4]).unwrap();
        lounge.remove(tickets[1]).unwrap();
        assert_eq!(lounge.oldest(), Some((tickets[3], 3)));
        let last = admit(&mut lounge, 7, 9);
        lounge.remove(tickets[3]).unwrap();
        assert_eq!(lounge.oldest(), Some((last, 9)));
    }

    #[test]
    fn a_seat_is_small() {
        // With its entries in the tables of addresses: under 200 bytes if all addresses differ.
        assert!(size_of::<Seat>() <= 80, "{}", size_of::<Seat>());
        assert!(size_of::<Party>() <= 40);
    }
}
