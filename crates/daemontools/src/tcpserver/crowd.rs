//! How many connections there are, in all and from each address, and who may be served next.

use super::allowance::Company;
use super::limits::Numbers;
use base::network::Network;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A neighbourhood may have so many times the places that are left free: one alone fills eight
/// ninths of all, nine together nine tenths, and who comes from elsewhere finds a place.
const SHARE: u64 = 8;
/// A neighbourhood with this part of all places must hurry in more,
const CROWDED: u64 = 10;
/// but never in its first few.
const UNHURRIED: u64 = 4;

/// The connections there are.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: u64,
    /// 0 is no limit.
    per_address: u64,
    /// The same; `None`: nobody counts.
    per_network: Option<u64>,
    served: u64,
    /// Connections, served or not, by address.
    from: BTreeMap<IpAddr, u64>,
    /// The same by neighbourhood, if somebody counts.
    around: BTreeMap<IpAddr, u64>,
    /// Served connections, by neighbourhood.
    near: BTreeMap<IpAddr, u64>,
}

/// Why a connection is not let in: so many has its address, or its network, already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    whose: Network,
    has: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, bits) = (self.whose.ip(), self.whose.bits());
        if bits == 32 { write!(f, "{ip}") } else { write!(f, "{ip}/{bits}") }?;
        write!(f, " has {} already", self.has)
    }
}

impl Crowd {
    /// Nobody yet. Networks are counted if they may have a limit.
    pub(super) fn new(numbers: Numbers, networks: bool) -> Self {
        let (from, near, around) = Default::default();
        let (limit, per_address) = (numbers.total, numbers.address);
        let per_network = networks.then_some(numbers.network);
        Self { limit, per_address, per_network, served: 0, from, around, near }
    }

    /// Other limits, for those who come from now on.
    pub(super) fn limit(&mut self, numbers: Numbers) {
        (self.limit, self.per_address) = (numbers.total, numbers.address);
        self.per_network = self.per_network.map(|_| numbers.network);
    }

    /// Whether nobody more is served.
    pub(super) fn full(&self) -> bool {
        self.served >= self.limit
    }

    /// Lets a connection in, unless its address or network has as many as it may have.
    pub(super) fn enter(&mut self, from: IpAddr) -> Result<(), Full> {
        self.enter_around(from)?;
        let count = self.from.entry(network(from)).or_insert(0);
        if self.per_address > 0 && *count >= self.per_address {
            let whose = Network::of(from, if from.is_ipv4() { 32 } else { 64 });
            let has = *count;
            self.leave_around(from);
            return Err(Full { whose, has });
        }
        *count = count.saturating_add(1);
        Ok(())
    }

    fn enter_around(&mut self, from: IpAddr) -> Result<(), Full> {
        let Some(limit) = self.per_network else { return Ok(()) };
        let count = self.around.entry(neighbourhood(from)).or_insert(0);
        if limit > 0 && *count >= limit {
            let whose = Network::of(from, if from.is_ipv4() { 24 } else { 48 });
            return Err(Full { whose, has: *count });
        }
        *count = count.saturating_add(1);
        Ok(())
    }

    fn leave_around(&mut self, from: IpAddr) {
        if self.per_network.is_some() {
            less(&mut self.around, neighbourhood(from));
        }
    }

    /// Nobody is there any more.
    pub(super) fn forget(&mut self) {
        self.served = 0;
        for counts in [&mut self.from, &mut self.around, &mut self.near] {
            counts.clear();
        }
    }

    /// Takes a connection out that was let in and is not served.
    pub(super) fn leave(&mut self, from: IpAddr) {
        less(&mut self.from, network(from));
        self.leave_around(from);
    }

    /// How many connections there are from where one comes that was let in, itself included.
    pub(super) fn company(&self, from: IpAddr) -> Company {
        let count = |counts: &BTreeMap<IpAddr, u64>, of| counts.get(&of).copied().unwrap_or(0);
        let address = count(&self.from, network(from));
        Company { address, network: count(&self.around, neighbourhood(from)) }
    }

    /// Whether a connection from there may be served before others that wait.
    pub(super) fn may_serve(&self, near: IpAddr) -> bool {
        let free = self.limit.saturating_sub(self.served);
        let have = self.near.get(&near).copied().unwrap_or(0);
        have < free.saturating_mul(SHARE)
    }

    /// Whether who is served next from there must hurry: half of all places are taken, or its
    /// neighbourhood has many. So those who need not hurry hold half of the places at most.
    pub(super) fn hurries(&self, near: IpAddr) -> bool {
        let have = self.near.get(&near).copied().unwrap_or(0);
        let many = self.limit.checked_div(CROWDED).unwrap_or(0).max(UNHURRIED);
        have >= many || self.served.saturating_mul(2) >= self.limit
    }

    /// A connection that was let in is served from now on.
    pub(super) fn serve(&mut self, from: IpAddr) {
        self.served = self.served.saturating_add(1);
        let count = self.near.entry(neighbourhood(from)).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Takes a served connection out.
    pub(super) fn end(&mut self, from: IpAddr) {
        self.served = self.served.saturating_sub(1);
        less(&mut self.near, neighbourhood(from));
        self.leave(from);
    }

    /// `tcpserver: status: N/LIMIT`.
    pub(super) fn line(&self) -> Vec<u8> {
        format!("tcpserver: status: {}/{}\n", self.served, self.limit).into_bytes()
    }
}

fn less(counts: &mut BTreeMap<IpAddr, u64>, from: IpAddr) {
    if let Some(count) = counts.get_mut(&from) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&from);
        }
    }
}

/// What counts as one address: an IPv6 client has a whole /64 to call from.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// What is likely to be in one hand: 256 IPv4 addresses, or the /48 an IPv6 site gets.
pub(super) fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn crowd_of(total: u64, address: u64) -> Crowd {
        Crowd::new(Numbers { total, address, network: 0 }, false)
    }

    fn come(crowd: &mut Crowd, from: &str) -> bool {
        let from = ip(from);
        let may = crowd.may_serve(neighbourhood(from));
        if may {
            assert_eq!(crowd.enter(from), Ok(()));
            crowd.serve(from);
        }
        may
    }

    #[test]
    fn the_crowd_is_full_at_its_limit_and_has_room_again() {
        let mut crowd = crowd_of(2, 0);
        assert_eq!(crowd.line(), b"tcpserver: status: 0/2\n");
        assert!(come(&mut crowd, "1.2.3.4") && !crowd.full());
        assert!(come(&mut crowd, "1.2.3.4") && crowd.full());
        assert_eq!(crowd.line(), b"tcpserver: status: 2/2\n");
        crowd.end(ip("1.2.3.4"));
        assert!(!crowd.full());
        assert!(crowd_of(0, 0).full());
    }

    #[test]
    fn one_address_has_only_its_share_served_or_not() {
        let mut crowd = crowd_of(10, 2);
        let mut enters = |from: &str| crowd.enter(ip(from)).is_ok();
        assert!(enters("1.2.3.4") && enters("1.2.3.4"));
        crowd.serve(ip("1.2.3.4"));
        let full = crowd.enter(ip("1.2.3.4")).unwrap_err();
        assert_eq!(full.to_string(), "1.2.3.4 has 2 already");
        assert_eq!(crowd.enter(ip("1.2.3.5")), Ok(()));
        crowd.end(ip("1.2.3.4"));
        assert_eq!(crowd.enter(ip("1.2.3.4")), Ok(()));
        crowd.leave(ip("1.2.3.4"));
        crowd.leave(ip("1.2.3.4"));
        crowd.leave(ip("1.2.3.5"));
        assert!(crowd.from.is_empty() && crowd.near.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let mut crowd = crowd_of(10, 1);
        assert_eq!(crowd.enter(ip("2001:db8::1")), Ok(()));
        let full = crowd.enter(ip("2001:db8::ffff:1")).unwrap_err();
        assert_eq!(full.to_string(), "2001:db8::/64 has 1 already");
        assert_eq!(crowd.enter(ip("2001:db8:0:1::1")), Ok(()));
        crowd.leave(ip("2001:db8::1"));
        assert_eq!(crowd.from.len(), 1);
    }

    #[test]
    fn a_network_has_its_limit_too_and_it_may_change() {
        let numbers = |address, network| Numbers { total: 10, address, network };
        let mut crowd = Crowd::new(numbers(2, 3), true);
        let mut enters = |from: &str| crowd.enter(ip(from)).map_err(|full| full.to_string());
        assert_eq!(enters("192.0.2.1"), Ok(()));
        assert_eq!(enters("192.0.2.1"), Ok(()));
        assert_eq!(enters("192.0.2.1"), Err("192.0.2.1 has 2 already".to_owned()));
        assert_eq!(enters("192.0.2.2"), Ok(()));
        assert_eq!(enters("192.0.2.3"), Err("192.0.2.0/24 has 3 already".to_owned()));
        assert_eq!(enters("192.0.3.3"), Ok(()));
        crowd.limit(numbers(2, 0));
        assert_eq!(crowd.enter(ip("192.0.2.3")), Ok(()));
        crowd.limit(numbers(2, 1));
        for from in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.3"] {
            crowd.leave(ip(from));
        }
        assert!(crowd.from.is_empty() && crowd.around.is_empty());
    }

    #[test]
    fn no_neighbourhood_takes_every_place_and_no_ten_do() {
        let mut crowd = crowd_of(100, 0);
        let taken = (0..=255).filter(|n| come(&mut crowd, &format!("192.0.2.{n}"))).count();
        assert_eq!(taken, 89);
        for net in 0..10 {
            assert!(come(&mut crowd, &format!("10.0.{net}.1")), "{net}");
        }
        assert!(!come(&mut crowd, "192.0.2.1"));
    }

    #[test]
    fn those_in_no_hurry_hold_half_of_the_places_and_a_neighbourhood_a_tenth() {
        let mut crowd = crowd_of(100, 0);
        let mut patient = |from: &str| {
            let hurries = crowd.hurries(neighbourhood(ip(from)));
            come(&mut crowd, from) && !hurries
        };
        assert_eq!((0..100).filter(|_| patient("192.0.2.1")).count(), 10);
        assert!(!patient("10.0.0.1"), "89 are taken");
        let mut crowd = crowd_of(100, 0);
        let patient = |net: &u8| {
            let from = format!("10.0.{net}.1");
            let hurries = crowd.hurries(neighbourhood(ip(&from)));
            come(&mut crowd, &from) && !hurries
        };
        assert_eq!((0..90).filter(patient).count(), 50);
    }

    #[test]
    fn a_small_server_hurries_nobody_needlessly() {
        for (limit, want) in [(1, 1), (2, 1), (8, 4), (40, 4), (100, 10), (0, 0)] {
            let mut crowd = crowd_of(limit, 0);
            let mut count = 0;
            while !crowd.hurries(ip("192.0.2.0")) && come(&mut crowd, "192.0.2.1") {
                count += 1;
            }
            assert_eq!(count, want, "{limit}");
        }
    }

    #[test]
    fn alone_even_a_small_server_is_filled_but_for_one_place() {
        for (limit, want) in [(1, 1), (2, 2), (8, 8), (10, 9), (40, 36)] {
            let mut crowd = crowd_of(limit, 0);
            assert_eq!((0..100).filter(|_| come(&mut crowd, "192.0.2.1")).count(), want);
        }
    }
}
