//! The PROXY protocol's header, versions 1 and 2: what a proxy says first of the connection that it
//! passes on (HAProxy's "The PROXY protocol", §2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::{self, FromStr};

use crate::limits;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: [u8; 6] = *b"PROXY ";
/// The longest line of version 1, its CRLF included.
const LINE: usize = 107;
/// Bytes of version 2 before its addresses.
const FIXED: usize = 16;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own, to see whether somebody answers, or of one it does not know: the ends of
    /// the connection are what they are.
    Own,
    /// Of a client of the proxy.
    Client {
        /// Where the client is.
        from: SocketAddr,
        /// Where it connected to.
        to: SocketAddr,
    },
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Part of a header, to the last of them; the rest must follow.
    Part,
    /// They begin with a header.
    Whole {
        /// Whose connection it is.
        origin: Origin,
        /// Bytes of the header; what follows is the client's.
        length: usize,
    },
}

/// The bytes are no header, nor the beginning of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeader;

/// Reads the header that `bytes` begin with; none is longer than [`limits::PROXY_HEADER`].
///
/// # Errors
/// [`NoHeader`], as soon as that is certain.
pub fn parse(bytes: &[u8]) -> Result<Heard, NoHeader> {
    if begins(bytes, &SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, &WORD) {
        text(bytes)
    } else {
        Err(NoHeader)
    }
}

/// Whether the two agree as far as both go.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(one, other)| one == other)
}

/// Version 2: addresses as bytes.
fn binary(bytes: &[u8]) -> Result<Heard, NoHeader> {
    let Some((head, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(Heard::Part) };
    let [.., command, family, high, low] = *head;
    let size = usize::from(u16::from_be_bytes([high, low]));
    let length = size.saturating_add(FIXED);
    if length > limits::PROXY_HEADER || !matches!(command, 0x20 | 0x21) {
        return Err(NoHeader);
    }
    let Some(body) = rest.get(..size) else { return Ok(Heard::Part) };
    let origin = match (command, family) {
        // LOCAL: whatever follows is not to be looked at.
        (0x20, _) => Some(Origin::Own),
        // No family, or a socket of the proxy's own machine.
        (_, 0x00 | 0x31) => Some(Origin::Own),
        (_, 0x11) => four(body),
        (_, 0x21) => six(body),
        _ => None,
    };
    Ok(Heard::Whole { origin: origin.ok_or(NoHeader)?, length })
}

/// Two IPv4 addresses, two ports.
fn four(body: &[u8]) -> Option<Origin> {
    let (from, rest) = body.split_first_chunk::<4>()?;
    let (to, rest) = rest.split_first_chunk::<4>()?;
    ends(Ipv4Addr::from(*from).into(), Ipv4Addr::from(*to).into(), rest)
}

/// Two IPv6 addresses, two ports.
fn six(body: &[u8]) -> Option<Origin> {
    let (from, rest) = body.split_first_chunk::<16>()?;
    let (to, rest) = rest.split_first_chunk::<16>()?;
    ends(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), rest)
}

fn ends(from: IpAddr, to: IpAddr, ports: &[u8]) -> Option<Origin> {
    let [a, b, c, d] = *ports.first_chunk::<4>()?;
    let (here, there) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(Origin::Client { from: SocketAddr::new(from, here), to: SocketAddr::new(to, there) })
}

/// Version 1: one line.
fn text(bytes: &[u8]) -> Result<Heard, NoHeader> {
    let start = bytes.get(..LINE).unwrap_or(bytes);
    let Some(end) = start.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() < LINE { Ok(Heard::Part) } else { Err(NoHeader) };
    };
    let line = start.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(NoHeader)?;
    let line = str::from_utf8(line).map_err(|_| NoHeader)?;
    let origin = words(line).ok_or(NoHeader)?;
    Ok(Heard::Whole { origin, length: end.saturating_add(1) })
}

/// `PROXY UNKNOWN ...`, or `PROXY TCP4|TCP6 FROM TO PORT PORT` with one blank between.
fn words(line: &str) -> Option<Origin> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Own);
    }
    let address = match family {
        "TCP4" => address::<Ipv4Addr>,
        "TCP6" => address::<Ipv6Addr>,
        _ => return None,
    };
    let (from, to) = (address(words.next()?)?, address(words.next()?)?);
    let (here, there) = (port(words.next()?)?, port(words.next()?)?);
    let origin =
        Origin::Client { from: SocketAddr::new(from, here), to: SocketAddr::new(to, there) };
    words.next().is_none().then_some(origin)
}

fn address<T: FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<T>().ok().map(Into::into)
}

/// Digits, without one 0 too many.
fn port(word: &str) -> Option<u16> {
    let plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (!word.starts_with('0') || word == "0");
    word.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn client(from: &str, to: &str) -> Origin {
        Origin::Client { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    fn whole(origin: Origin, length: usize) -> Result<Heard, NoHeader> {
        Ok(Heard::Whole { origin, length })
    }

    fn binary_header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0, 25];

    #[test]
    fn a_line_names_both_ends_and_what_follows_is_the_clients() {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n";
        let bytes = [&header[..], b"EHLO x\r\n"].concat();
        let want = client("192.0.2.1:12345", "198.51.100.2:25");
        assert_eq!(parse(&bytes), whole(want, header.len()));
        let six = b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
        assert_eq!(parse(six), whole(client("[2001:db8::1]:0", "[::1]:65535"), six.len()));
    }

    #[test]
    fn bytes_name_both_ends_and_what_is_appended_is_passed_over() {
        let want = client("192.0.2.1:12345", "198.51.100.2:25");
        let plain = binary_header(0x21, 0x11, &FOUR);
        assert_eq!(parse(&plain), whole(want, 28));
        let long = binary_header(0x21, 0x11, &[&FOUR[..], &[4; 300]].concat());
        assert_eq!(parse(&[&long[..], b"EHLO"].concat()), whole(want, 328));
        let mut six = Ipv6Addr::LOCALHOST.octets().to_vec();
        six.extend(Ipv6Addr::UNSPECIFIED.octets());
        six.extend([0, 1, 0, 2]);
        let header = binary_header(0x21, 0x21, &six);
        assert_eq!(parse(&header), whole(client("[::1]:1", "[::]:2"), 52));
    }

    #[test]
    fn a_proxy_may_speak_for_itself_or_not_know() {
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), whole(Origin::Own, 15));
        assert_eq!(parse(b"PROXY UNKNOWN what ever\r\nx"), whole(Origin::Own, 25));
        for (command, family) in [(0x20, 0), (0x20, 0x11), (0x20, 0xff), (0x21, 0), (0x21, 0x31)] {
            let header = binary_header(command, family, b"abc");
            assert_eq!(parse(&header), whole(Origin::Own, 19), "{command} {family}");
        }
    }

    #[test]
    fn every_beginning_of_a_header_is_part_of_one() {
        let one = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec();
        for header in [one, binary_header(0x21, 0x11, &FOUR)] {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(Heard::Part), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        for bytes in [
            &b"E"[..],
            b"PROXx",
            b"\r\n\r\n\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25 \r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.2 12345 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 012 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +12 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 25\r\n",
            b"PROXY TCP4 192.0.2.01 198.51.100.2 1 25\r\n",
            b"PROXY TCP4 ::1 ::1 1 25\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.2 1 25\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n",
            b"PROXY \xff\r\n",
            b"PROXY \r\n",
        ] {
            assert_eq!(parse(bytes), Err(NoHeader), "{bytes:?}");
        }
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; LINE]].concat();
        assert_eq!(parse(&long[..LINE]), Err(NoHeader));
        assert_eq!(parse(&long[..LINE - 1]), Ok(Heard::Part));
    }

    #[test]
    fn a_header_of_bytes_with_the_wrong_command_family_or_length_is_none() {
        for (command, family, body) in [
            (0x11, 0x11, &FOUR[..]),
            (0x22, 0x11, &FOUR),
            (0x21, 0x12, &FOUR),
            (0x21, 0x32, &FOUR),
            (0x21, 0x11, &FOUR[1..]),
            (0x21, 0x21, &FOUR),
            (0x21, 0x11, &[0; limits::PROXY_HEADER]),
        ] {
            let header = binary_header(command, family, body);
            assert_eq!(parse(&header), Err(NoHeader), "{command} {family} {}", body.len());
        }
    }
}
