//! How many connections there are, in all and from each address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// The connections being served.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: u64,
    /// 0 is no limit.
    per_address: u64,
    total: u64,
    from: BTreeMap<IpAddr, u64>,
}

impl Crowd {
    /// Nobody yet; `limit` and `per_address` at once.
    pub(super) fn new(limit: u64, per_address: u64) -> Self {
        Self { limit, per_address, total: 0, from: BTreeMap::new() }
    }

    /// Whether nobody more is let in.
    pub(super) fn full(&self) -> bool {
        self.total >= self.limit
    }

    /// Lets a connection in, unless its address has as many as it may have.
    pub(super) fn enter(&mut self, from: IpAddr) -> bool {
        let count = self.from.entry(network(from)).or_insert(0);
        if self.per_address > 0 && *count >= self.per_address {
            return false;
        }
        *count = count.saturating_add(1);
        self.total = self.total.saturating_add(1);
        true
    }

    /// Takes a connection out.
    pub(super) fn leave(&mut self, from: IpAddr) {
        self.total = self.total.saturating_sub(1);
        let from = network(from);
        if let Some(count) = self.from.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.from.remove(&from);
            }
        }
    }

    /// `tcpserver: status: N/LIMIT`.
    pub(super) fn line(&self) -> Vec<u8> {
        format!("tcpserver: status: {}/{}\n", self.total, self.limit).into_bytes()
    }
}

/// What counts as one address: an IPv6 client has a whole /64 to call from.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_crowd_is_full_at_its_limit_and_has_room_again() {
        let mut crowd = Crowd::new(2, 0);
        assert_eq!(crowd.line(), b"tcpserver: status: 0/2\n");
        assert!(crowd.enter(ip("1.2.3.4")) && !crowd.full());
        assert!(crowd.enter(ip("1.2.3.4")) && crowd.full());
        crowd.leave(ip("1.2.3.4"));
        assert!(!crowd.full());
        assert!(Crowd::new(0, 0).full());
    }

    #[test]
    fn one_address_has_only_its_share() {
        let mut crowd = Crowd::new(10, 2);
        assert!(crowd.enter(ip("1.2.3.4")) && crowd.enter(ip("1.2.3.4")));
        assert!(!crowd.enter(ip("1.2.3.4")));
        assert!(crowd.enter(ip("1.2.3.5")));
        assert_eq!(crowd.line(), b"tcpserver: status: 3/10\n");
        crowd.leave(ip("1.2.3.4"));
        assert!(crowd.enter(ip("1.2.3.4")));
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
}
