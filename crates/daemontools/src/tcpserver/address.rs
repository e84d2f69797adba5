//! The address and port to listen at, from the command line's words.

use super::names;
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

/// What a host word is, before any lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Address(IpAddr),
    /// Only digits, dots and brackets, but no address: nobody is asked.
    NoAddress,
    Name,
}

/// The address a host word means; `None` if it has none.
pub(super) fn host(word: &OsStr) -> io::Result<Option<IpAddr>> {
    let word = word.as_bytes();
    match literal(word) {
        Word::Address(ip) => Ok(Some(ip)),
        Word::NoAddress => Ok(None),
        Word::Name => {
            let four = names::addresses_of(word, false)?;
            Ok(four.into_iter().next())
        }
    }
}

fn literal(word: &[u8]) -> Word {
    let bare: Vec<u8> = word.iter().copied().filter(|byte| !matches!(byte, b'[' | b']')).collect();
    if matches!(&bare[..], b"" | b"0") {
        return Word::Address(Ipv4Addr::UNSPECIFIED.into());
    }
    if bare.contains(&b':') {
        let six = std::str::from_utf8(&bare).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
        return six.map_or(Word::NoAddress, |six| Word::Address(six.into()));
    }
    if !bare.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return Word::Name;
    }
    let parts: Vec<u8> = bare.split(|&byte| byte == b'.').map(modulo).collect();
    match parts.first_chunk::<4>() {
        Some(quad) if parts.len().is_multiple_of(4) => Word::Address(Ipv4Addr::from(*quad).into()),
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
pub(super) fn port(word: &OsStr) -> Option<u16> {
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
        let four = |text: &str| Word::Address(text.parse().unwrap());
        assert_eq!(literal(b"0"), four("0.0.0.0"));
        assert_eq!(literal(b""), four("0.0.0.0"));
        assert_eq!(literal(b"[127.0.0.1]"), four("127.0.0.1"));
        assert_eq!(literal(b"010.0.0.257"), four("10.0.0.1"));
        assert_eq!(literal(b"127.1"), Word::NoAddress);
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
}
