//! One SMTP command line, understood as stock `qmail-smtpd` understands it.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use base::limits;

/// A command: its verb, and whatever followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `HELO name`
    Helo(&'a [u8]),
    /// `EHLO name`
    Ehlo(&'a [u8]),
    /// `MAIL FROM:<address> parameters`, not parsed yet
    Mail(&'a [u8]),
    /// `RCPT TO:<address> parameters`, not parsed yet
    Rcpt(&'a [u8]),
    /// `DATA`
    Data,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `VRFY`
    Vrfy,
    /// `HELP`
    Help,
    /// `QUIT`
    Quit,
    /// Anything else
    Unknown,
}

impl<'a> Command<'a> {
    /// Parses a line: the verb reaches to the first space and may be in any case; the argument is
    /// the rest without the spaces before it.
    pub fn parse(line: &'a [u8]) -> Self {
        let end = line.iter().position(|&c| c == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
        let argument = without_spaces(rest);
        let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
        match () {
            () if is(b"helo") => Self::Helo(argument),
            () if is(b"ehlo") => Self::Ehlo(argument),
            () if is(b"mail") => Self::Mail(argument),
            () if is(b"rcpt") => Self::Rcpt(argument),
            () if is(b"data") => Self::Data,
            () if is(b"rset") => Self::Rset,
            () if is(b"noop") => Self::Noop,
            () if is(b"vrfy") => Self::Vrfy,
            () if is(b"help") => Self::Help,
            () if is(b"quit") => Self::Quit,
            () => Self::Unknown,
        }
    }
}

/// The addresses of this host, for `user@[192.0.2.1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// `control/localiphost`: the name that stands for such a literal; without it nothing changes.
    pub name: Option<Vec<u8>>,
    /// The literals.
    pub addresses: Vec<Ipv4Addr>,
}

/// What MAIL and RCPT say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The address, unquoted and without a source route; perhaps empty. Less than
    /// [`limits::SMTP_ADDRESS`] bytes, none of them a control character.
    pub address: Vec<u8>,
    /// The parameter `SIZE=` (RFC 1870), if it is there and a number; saturates.
    pub size: Option<u64>,
}

/// The address is too long or holds a control character: `555 syntax error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacceptable;

impl Path {
    /// Parses the argument of MAIL or RCPT. What looks broken is mostly taken, as stock does: no
    /// argument, no colon, or no `>` are no errors.
    ///
    /// # Errors
    /// [`Unacceptable`]. Control characters are refused, other than in stock: a CR in an address
    /// would be a line end for the next server.
    pub fn parse(argument: &[u8], own: &OwnAddresses) -> Result<Self, Unacceptable> {
        let (start, terminator) = beginning(argument);
        let (mut address, parameters) = unquote(without_route(start), terminator);
        own.rename(&mut address);
        if address.len() >= limits::SMTP_ADDRESS || address.iter().any(u8::is_ascii_control) {
            return Err(Unacceptable);
        }
        Ok(Self { address, size: size(parameters) })
    }
}

impl OwnAddresses {
    /// Replaces the literal after the last `@` by our name, if it is one of our addresses.
    fn rename(&self, address: &mut Vec<u8>) {
        let Some(name) = &self.name else { return };
        let domain = address.iter().rposition(|&c| c == b'@').map_or(0, |at| at.saturating_add(1));
        if address.get(domain..).and_then(literal).is_some_and(|ip| self.addresses.contains(&ip)) {
            address.truncate(domain);
            address.extend_from_slice(name);
        }
    }
}

/// The IPv4 address in `[a.b.c.d]`.
fn literal(domain: &[u8]) -> Option<Ipv4Addr> {
    let inside = domain.strip_prefix(b"[")?.strip_suffix(b"]")?;
    core::str::from_utf8(inside).ok()?.parse().ok()
}

/// Where the address begins, and the byte that ends it.
fn beginning(argument: &[u8]) -> (&[u8], u8) {
    if let Some(inside) = after(argument, b'<') {
        return (inside, b'>');
    }
    (without_spaces(after(argument, b':').unwrap_or_default()), b' ')
}

/// What follows the first `byte`.
fn after(text: &[u8], byte: u8) -> Option<&[u8]> {
    let at = text.iter().position(|&c| c == byte)?;
    text.get(at.checked_add(1)?..)
}

/// Skips a source route, `@relay,@relay:`; without its colon nothing is left.
fn without_route(text: &[u8]) -> &[u8] {
    if text.first() == Some(&b'@') { after(text, b':').unwrap_or_default() } else { text }
}

fn without_spaces(mut text: &[u8]) -> &[u8] {
    while let Some((b' ', rest)) = text.split_first() {
        text = rest;
    }
    text
}

/// Copies up to the terminator outside quotes; also gives what stands behind it.
fn unquote(text: &[u8], terminator: u8) -> (Vec<u8>, &[u8]) {
    let (mut address, mut quoted) = (Vec::new(), false);
    let mut bytes = text.iter();
    while let Some(&c) = bytes.next() {
        match c {
            b'\\' => address.extend(bytes.next()),
            b'"' => quoted = !quoted,
            _ if c == terminator && !quoted => break,
            _ => address.push(c),
        }
    }
    (address, bytes.as_slice())
}

/// The value of `SIZE=` among the parameters; the last one counts, others are not looked at.
fn size(parameters: &[u8]) -> Option<u64> {
    parameters.split(|&c| c == b' ').filter_map(one_size).next_back()
}

/// The value of one parameter, if that is `SIZE=` and a number.
fn one_size(parameter: &[u8]) -> Option<u64> {
    let (key, digits) = parameter.split_at_checked(5)?;
    if key.eq_ignore_ascii_case(b"SIZE=") { base::number::whole(digits) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn parse(argument: &[u8]) -> Result<Path, Unacceptable> {
        let own = OwnAddresses {
            name: Some(b"mail.example.org".to_vec()),
            addresses: vec![Ipv4Addr::new(192, 0, 2, 1)],
        };
        Path::parse(argument, &own)
    }

    #[test]
    fn verbs_may_be_in_any_case_and_end_at_a_space() {
        for (line, want) in [
            (&b"hElO  a b"[..], Command::Helo(b"a b")),
            (b"EHLO", Command::Ehlo(b"")),
            (b"MAIL FROM:<a>", Command::Mail(b"FROM:<a>")),
            (b"rcpt", Command::Rcpt(b"")),
            (b"DATA now", Command::Data),
            (b"QUIT ", Command::Quit),
            (b"DATA\t", Command::Unknown),
            (b" NOOP", Command::Unknown),
            (b"", Command::Unknown),
            (b"GET / HTTP/1.1", Command::Unknown),
            (b"STARTTLS", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), want);
        }
    }

    #[test]
    fn addresses_are_found_as_stock_finds_them() {
        for (argument, want) in [
            (&b""[..], &b""[..]),
            (b"FROM", b""),
            (b"FROM:", b""),
            (b"FROM:<>", b""),
            (b"FROM:<a@b>", b"a@b"),
            (b"FROM:<a@b", b"a@b"),
            (b"FROM: a@b SIZE=3", b"a@b"),
            (b"FROM:a@b", b"a@b"),
            (b"<a@b>", b"a@b"),
            (b"FROM: Joe <a@b>", b"a@b"),
            (b"TO:<@example.org>", b""),
            (b"TO:<@one,@two:a@b>", b"a@b"),
            (b"TO:@one:a@b", b"a@b"),
            (b"TO:<\"q u\"@h>", b"q u@h"),
            (b"TO:<\"a>b\"@h>", b"a>b@h"),
            (b"TO:<a\\>b@h>", b"a>b@h"),
            (b"TO:<a\\", b"a"),
            (b"TO:<\"a\\\"b\"@h>", b"a\"b@h"),
            (b"FROM:<;x;>", b";x;"),
            (b"FROM:<`id`|$(id)@h>", b"`id`|$(id)@h"),
            (b"TO:<a b@h>", b"a b@h"),
            (b"TO: a b@h", b"a"),
            (b"TO:<u@[192.0.2.1]>", b"u@mail.example.org"),
            (b"TO:<u@[192.0.2.2]>", b"u@[192.0.2.2]"),
            (b"TO:<u@[192.0.2.1]x>", b"u@[192.0.2.1]x"),
            (b"TO:<u@x@[192.0.2.1]>", b"u@x@mail.example.org"),
        ] {
            let got = parse(argument).unwrap();
            assert_eq!(got.address, want, "{:?}", core::str::from_utf8(argument));
        }
    }

    #[test]
    fn every_prefix_of_a_command_is_parsed_without_harm() {
        let line =
            b"MAIL FROM:<@a,@b:\"q\\\" u\"@[192.0.2.1]> SIZE=99999999999999999999999 BODY=8BITMIME";
        for end in 0..line.len() {
            if let Command::Mail(argument) = Command::parse(&line[..end]) {
                assert!(parse(argument).is_ok());
            }
        }
    }

    #[test]
    fn the_limit_counts_a_nul() {
        let of = |len: usize| [b"TO:<".to_vec(), vec![b'a'; len], b">".to_vec()].concat();
        assert_eq!(parse(&of(899)).unwrap().address.len(), 899);
        assert_eq!(parse(&of(900)), Err(Unacceptable));
    }

    #[test]
    fn control_characters_are_refused() {
        for c in (0..32).chain([127]) {
            assert_eq!(parse(&[b"TO:<a", &[c][..], b"@b>"].concat()), Err(Unacceptable));
        }
        assert!(parse("TO:<jürg@b>".as_bytes()).is_ok());
    }

    #[test]
    fn the_announced_size_is_read() {
        let size = |argument: &[u8]| parse(argument).unwrap().size;
        assert_eq!(size(b"FROM:<a@b> SIZE=1000 BODY=8BITMIME"), Some(1000));
        assert_eq!(size(b"FROM:<a@b> BODY=7BIT size=7"), Some(7));
        assert_eq!(size(b"FROM: a@b SIZE=3"), Some(3));
        assert_eq!(size(b"FROM:<a@b> SIZE=99999999999999999999999"), Some(u64::MAX));
        assert_eq!(size(b"FROM:<a@b> SIZE= SIZE=x SIZE SIZE=-1"), None);
        assert_eq!(size(b"FROM:<SIZE=5>"), None);
    }
}
