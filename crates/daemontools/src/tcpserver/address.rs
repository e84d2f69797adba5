//! Addresses and ports, from the command line's words.

use super::names;
use crate::message::Piece;
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

/// The number of the interface that `-I` names, or 0; `fatal` says that there is none, and gives the
/// exit code.
pub(crate) fn scope(
    interface: Option<&OsStr>,
    fatal: impl FnOnce(&[Piece<'_>], &io::Error) -> i32,
) -> Result<u32, i32> {
    let Some(name) = interface else { return Ok(0) };
    let number = sys::net::interface(&name.to_string_lossy());
    number.map_err(|e| fatal(&[&"unable to find interface ", &name], &e))
}

/// What a host word is, before any lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// Nothing, or 0: every address, or this host.
    Zero,
    /// `:0`: every address of both families.
    Both,
    /// One, or several: each four numbers are one.
    Addresses(Vec<IpAddr>),
    /// Only digits, dots and brackets, but no address: nobody is asked.
    NoAddress,
    Name,
}

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Families {
    /// All.
    #[default]
    Both,
    /// Those of IPv4 only (`-4`).
    Four,
    /// Those of IPv6 only (`-6`).
    Six,
}

impl Families {
    /// Whether IPv4 is wanted.
    pub(crate) fn four(self) -> bool {
        self != Self::Six
    }

    /// Whether IPv6 is wanted.
    pub(crate) fn six(self) -> bool {
        self != Self::Four
    }

    /// Whether this address is wanted.
    pub(crate) fn have(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.four() } else { self.six() }
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ip: IpAddr,
    /// An IPv6 socket takes IPv4 connections too.
    pub(super) both: bool,
}

/// Where a server listens that is told to at `word`; `None` if that has no address.
pub(super) fn place(word: &OsStr, families: Families) -> io::Result<Option<Place>> {
    let only = |ip| Some(Place { ip, both: false });
    Ok(match literal(word.as_bytes()) {
        Word::Both if families.six() => {
            Some(Place { ip: Ipv6Addr::UNSPECIFIED.into(), both: families.four() })
        }
        Word::Zero | Word::Both => only(Ipv4Addr::UNSPECIFIED.into()),
        Word::Addresses(all) => all.into_iter().find(|ip| families.have(*ip)).and_then(only),
        Word::NoAddress => None,
        Word::Name => {
            names::addresses_of_host(word.as_bytes(), families)?.first().and_then(|ip| only(*ip))
        }
    })
}

/// The addresses a client tries that is told to connect to `word`.
pub(crate) fn addresses(word: &OsStr, families: Families) -> io::Result<Vec<IpAddr>> {
    Ok(match literal(word.as_bytes()) {
        Word::Zero if families == Families::Six => vec![Ipv6Addr::LOCALHOST.into()],
        Word::Zero => vec![Ipv4Addr::LOCALHOST.into()],
        Word::Both if families == Families::Four => vec![Ipv4Addr::LOCALHOST.into()],
        Word::Both => vec![Ipv6Addr::LOCALHOST.into()],
        Word::Addresses(all) => all.into_iter().filter(|ip| families.have(*ip)).collect(),
        Word::NoAddress => Vec::new(),
        Word::Name => names::addresses_of_host(word.as_bytes(), families)?,
    })
}

/// Whether somebody has to be asked for the addresses of a word.
pub(crate) fn is_name(word: &OsStr) -> bool {
    literal(word.as_bytes()) == Word::Name
}

/// The address a word is, without asking anybody; `None` if it is none.
pub(crate) fn address(word: &OsStr) -> Option<IpAddr> {
    match literal(word.as_bytes()) {
        Word::Zero => Some(Ipv4Addr::UNSPECIFIED.into()),
        Word::Both => Some(Ipv6Addr::UNSPECIFIED.into()),
        Word::Addresses(all) => all.first().copied(),
        Word::NoAddress | Word::Name => None,
    }
}

fn literal(word: &[u8]) -> Word {
    let bare: Vec<u8> = word.iter().copied().filter(|byte| !matches!(byte, b'[' | b']')).collect();
    match &bare[..] {
        b"" | b"0" => return Word::Zero,
        b":0" => return Word::Both,
        _ => {}
    }
    if bare.contains(&b':') {
        let six = std::str::from_utf8(&bare).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
        return six.map_or(Word::NoAddress, |six| Word::Addresses(vec![six.into()]));
    }
    if !bare.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return Word::Name;
    }
    let parts: Vec<u8> = bare.split(|&byte| byte == b'.').map(modulo).collect();
    match parts.as_chunks::<4>() {
        (quads, []) => Word::Addresses(quads.iter().map(|quad| IpAddr::from(*quad)).collect()),
        _ => Word::NoAddress,
    }
}

/// Digits as a number modulo 256.
fn modulo(digits: &[u8]) -> u8 {
    digits
        .iter()
        .fold(0_u8, |sum, digit| sum.wrapping_mul(10).wrapping_add(digit.wrapping_sub(b'0')))
}

/// The port a word means: digits (modulo 65,536), or a service for TCP in `/etc/services`.
pub(crate) fn port(word: &OsStr) -> Option<u16> {
    let word = word.as_bytes();
    if word.iter().all(u8::is_ascii_digit) {
        let digit = |sum: u16, byte: &u8| {
            sum.wrapping_mul(10).wrapping_add(u16::from(byte.wrapping_sub(b'0')))
        };
        return Some(word.iter().fold(0, digit));
    }
    let file = sys::file::open_read("/etc/services").ok()?;
    service(&sys::fd::read_to_end(file, 1 << 20).ok()?, word)
}

/// The port of a service or its alias: lines of `name port/tcp alias ...`.
fn service(file: &[u8], name: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(file);
    let name = std::str::from_utf8(name).ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let first = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?.parse().ok()?;
        (first == name || words.any(|alias| alias == name)).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_original_reads_them() {
        let four = |text: &str| Word::Addresses(vec![text.parse().unwrap()]);
        assert_eq!(literal(b"0"), Word::Zero);
        assert_eq!(literal(b""), Word::Zero);
        assert_eq!(literal(b":0"), Word::Both);
        assert_eq!(literal(b"0.0.0.0"), four("0.0.0.0"));
        assert_eq!(literal(b"[127.0.0.1]"), four("127.0.0.1"));
        assert_eq!(literal(b"010.0.0.257"), four("10.0.0.1"));
        assert_eq!(literal(b"127.1"), Word::NoAddress);
        let two = ["1.2.3.4", "5.6.7.8"].map(|text| text.parse().unwrap());
        assert_eq!(literal(b"1.2.3.4.5.6.7.8"), Word::Addresses(two.into()));
        assert_eq!(literal(b"1.2.3.4.5"), Word::NoAddress);
        assert_eq!(literal(b"::1"), four("::1"));
        assert_eq!(literal(b"[::]"), four("::"));
        assert_eq!(literal(b"1:2"), Word::NoAddress);
        assert_eq!(literal(b"localhost"), Word::Name);
    }

    #[test]
    fn a_port_is_digits_or_a_service_for_tcp() {
        assert_eq!(port(OsStr::new("25")), Some(25));
        assert_eq!(port(OsStr::new("65537")), Some(1));
        let file = b"smtp 25/tcp mail # x\ndomain 53/udp\npop3 110/tcp pop-3\n";
        assert_eq!(service(file, b"smtp"), Some(25));
        assert_eq!(service(file, b"pop-3"), Some(110));
        assert_eq!(service(file, b"domain"), None);
        assert_eq!(service(file, b"x"), None);
    }

    #[test]
    fn a_server_listens_on_one_family_or_on_both_and_a_client_calls_this_host() {
        let at = |word: &str, families| {
            let place = place(OsStr::new(word), families).unwrap();
            place.map(|place| (place.ip.to_string(), place.both))
        };
        let is = |ip: &str, both| Some((ip.to_owned(), both));
        assert_eq!(at("0", Families::Both), is("0.0.0.0", false));
        assert_eq!(at(":0", Families::Both), is("::", true));
        assert_eq!(at(":0", Families::Four), is("0.0.0.0", false));
        assert_eq!(at(":0", Families::Six), is("::", false));
        assert_eq!(at("::", Families::Both), is("::", false));
        assert_eq!(at("::1", Families::Four), None);
        assert_eq!(at("127.1", Families::Both), None);
        let calls = |word: &str, families| addresses(OsStr::new(word), families).unwrap();
        assert_eq!(calls("0", Families::Both), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(calls("", Families::Six), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(calls("[::1]", Families::Both), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(calls("127.1", Families::Both).is_empty());
    }
}
