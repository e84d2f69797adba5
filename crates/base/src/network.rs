//! Networks of IP addresses, as `192.0.2.0/24` or `2001:db8::/32` (RFC 4632 §3.1, RFC 4291 §2.3).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str;

/// An address and how many of its first bits count; the others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    ip: IpAddr,
    bits: u8,
}

impl Network {
    /// The network an address is in that has so many bits in common; at most all of them.
    pub fn of(ip: IpAddr, bits: u8) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let bits = bits.min(32);
                let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
                Self { ip: Ipv4Addr::from_bits(ip.to_bits() & mask).into(), bits }
            }
            IpAddr::V6(ip) => {
                let bits = bits.min(128);
                let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
                Self { ip: Ipv6Addr::from_bits(ip.to_bits() & mask).into(), bits }
            }
        }
    }

    /// Reads `ADDRESS/BITS`; `None` if it is none. Bits of the address that do not count need not
    /// be 0. IPv4 written as IPv6 (`::ffff:192.0.2.0/120`) is IPv4.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (ip, bits) = str::from_utf8(text).ok()?.split_once('/')?;
        let plain = (1..=3).contains(&bits.len()) && bits.bytes().all(|c| c.is_ascii_digit());
        let bits: u8 = bits.parse().ok().filter(|_| plain)?;
        let (ip, bits) = match ip.parse().ok()? {
            IpAddr::V4(ip) => (IpAddr::V4(ip), bits),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(four) if bits >= 96 => (four.into(), bits.saturating_sub(96)),
                _ => (ip.into(), bits),
            },
        };
        (bits <= if ip.is_ipv4() { 32 } else { 128 }).then(|| Self::of(ip, bits))
    }

    /// Its first address.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// How many bits its addresses have in common.
    pub const fn bits(self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn read(text: &str) -> Option<alloc::string::String> {
        Network::parse(text.as_bytes()).map(|network| network.to_string())
    }

    #[test]
    fn a_network_is_written_with_the_bits_that_count() {
        for (text, want) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("192.0.2.255/25", "192.0.2.128/25"),
            ("2001:DB8:0::1/32", "2001:db8::/32"),
            ("2001:db8::1/128", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:0:0/64", "::/64"),
        ] {
            assert_eq!(read(text).as_deref(), Some(want));
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "::/+1",
            "::/",
            "::/0001",
            "x/8",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_in_as_many_networks_as_it_has_bits_and_one() {
        let ip: IpAddr = "255.255.255.255".parse().unwrap();
        let mut all: alloc::vec::Vec<_> = (0..=32).map(|bits| Network::of(ip, bits)).collect();
        all.dedup();
        assert_eq!(all.len(), 33);
        assert_eq!(Network::of(ip, 200), Network::of(ip, 32));
    }
}
