//! How many connections there are, in all and from each address, and who may be served next.

use std::collections::BTreeMap;
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
    served: u64,
    /// Connections, served or not, by address.
    from: BTreeMap<IpAddr, u64>,
    /// Served connections, by neighbourhood.
    near: BTreeMap<IpAddr, u64>,
}

impl Crowd {
    /// Nobody yet; `limit` served at once and `per_address` connections.
    pub(super) fn new(limit: u64, per_address: u64) -> Self {
        let (from, near) = Default::default();
        Self { limit, per_address, served: 0, from, near }
    }

    /// Whether nobody more is served.
    pub(super) fn full(&self) -> bool {
        self.served >= self.limit
    }

    /// Lets a connection in, unless its address has as many as it may have.
    pub(super) fn enter(&mut self, from: IpAddr) -> bool {
        let count = self.from.entry(network(from)).or_insert(0);
        if self.per_address > 0 && *count >= self.per_address {
            return false;
        }
        *count = count.saturating_add(1);
        true
    }

    /// Takes a connection out that was let in and is not served.
    pub(super) fn leave(&mut self, from: IpAddr) {
        less(&mut self.from, network(from));
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

    fn come(crowd: &mut Crowd, from: &str) -> bool {
        let from = ip(from);
        let may = crowd.may_serve(neighbourhood(from));
        if may {
            assert!(crowd.enter(from));
            crowd.serve(from);
        }
        may
    }

    #[test]
    fn the_crowd_is_full_at_its_limit_and_has_room_again() {
        let mut crowd = Crowd::new(2, 0);
        assert_eq!(crowd.line(), b"tcpserver: status: 0/2\n");
        assert!(come(&mut crowd, "1.2.3.4") && !crowd.full());
        assert!(come(&mut crowd, "1.2.3.4") && crowd.full());
        assert_eq!(crowd.line(), b"tcpserver: status: 2/2\n");
        crowd.end(ip("1.2.3.4"));
        assert!(!crowd.full());
        assert!(Crowd::new(0, 0).full());
    }

    #[test]
    fn one_address_has_only_its_share_served_or_not() {
        let mut crowd = Crowd::new(10, 2);
        assert!(crowd.enter(ip("1.2.3.4")) && crowd.enter(ip("1.2.3.4")));
        crowd.serve(ip("1.2.3.4"));
        assert!(!crowd.enter(ip("1.2.3.4")));
        assert!(crowd.enter(ip("1.2.3.5")));
        crowd.end(ip("1.2.3.4"));
        assert!(crowd.enter(ip("1.2.3.4")));
        crowd.leave(ip("1.2.3.4"));
        crowd.leave(ip("1.2.3.4"));
        crowd.leave(ip("1.2.3.5"));
        assert!(crowd.from.is_empty() && crowd.near.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let mut crowd = Crowd::new(10, 1);
        assert!(crowd.enter(ip("2001:db8::1")));
        assert!(!crowd.enter(ip("2001:db8::ffff:1")));
        assert!(crowd.enter(ip("2001:db8:0:1::1")));
        crowd.leave(ip("2001:db8::1"));
        assert_eq!(crowd.from.len(), 1);
    }

    #[test]
    fn no_neighbourhood_takes_every_place_and_no_ten_do() {
        let mut crowd = Crowd::new(100, 0);
        let taken = (0..=255).filter(|n| come(&mut crowd, &format!("192.0.2.{n}"))).count();
        assert_eq!(taken, 89);
        for net in 0..10 {
            assert!(come(&mut crowd, &format!("10.0.{net}.1")), "{net}");
        }
        assert!(!come(&mut crowd, "192.0.2.1"));
    }

    #[test]
    fn those_in_no_hurry_hold_half_of_the_places_and_a_neighbourhood_a_tenth() {
        let mut crowd = Crowd::new(100, 0);
        let mut patient = |from: &str| {
            let hurries = crowd.hurries(neighbourhood(ip(from)));
            come(&mut crowd, from) && !hurries
        };
        assert_eq!((0..100).filter(|_| patient("192.0.2.1")).count(), 10);
        assert!(!patient("10.0.0.1"), "89 are taken");
        let mut crowd = Crowd::new(100, 0);
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
            let mut crowd = Crowd::new(limit, 0);
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
            let mut crowd = Crowd::new(limit, 0);
            assert_eq!((0..100).filter(|_| come(&mut crowd, "192.0.2.1")).count(), want);
        }
    }
}
