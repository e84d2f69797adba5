//! Mail addresses: checked bytes, where they split, and how they are quoted.

use alloc::vec::Vec;
use core::fmt;

use crate::limits;

/// An envelope address that can pass through every pipe of ours: at most [`limits::ADDRESS`]
/// bytes, no NUL and no line feed. It may be empty (a bounce's sender) and need hold no `@`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address(Vec<u8>);

/// Why some bytes are no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    /// More than [`limits::ADDRESS`] bytes.
    TooLong,
    /// A NUL, which would end the record it is carried in.
    Nul,
    /// A line feed, which would end the header line or SMTP command it is written in.
    LineFeed,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "address is longer than 1002 bytes",
            Self::Nul => "address contains a NUL",
            Self::LineFeed => "address contains a line feed",
        })
    }
}

impl core::error::Error for BadAddress {}

impl Address {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadAddress> {
        let bytes = bytes.into();
        if bytes.len() > limits::ADDRESS {
            return Err(BadAddress::TooLong);
        }
        match bytes.iter().find(|&&c| c == 0 || c == b'\n') {
            None => Ok(Self(bytes)),
            Some(0) => Err(BadAddress::Nul),
            Some(_) => Err(BadAddress::LineFeed),
        }
    }

    /// The bytes, unquoted.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, unquoted.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// What stands before the last `@`, or everything.
    pub fn local(&self) -> &[u8] {
        split(&self.0).0
    }

    /// What stands after the last `@`.
    pub fn domain(&self) -> Option<&[u8]> {
        split(&self.0).1
    }
}

impl AsRef<[u8]> for Address {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Splits an address at its last `@`: local part, and domain if there is one.
pub fn split(address: &[u8]) -> (&[u8], Option<&[u8]>) {
    let at = address.iter().rposition(|&c| c == b'@');
    match at.and_then(|at| address.split_at_checked(at)) {
        Some((local, domain)) => (local, domain.get(1..)),
        None => (address, None),
    }
}

/// Whether a byte may stand bare in a local part (RFC 5321 `atext`, and the dot).
pub const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

/// Whether a local part must be quoted in SMTP or a header: it is empty, begins or ends with a
/// dot, has two dots in a row or a byte that may not stand bare.
pub fn needs_quotes(local: &[u8]) -> bool {
    local.is_empty()
        || local.starts_with(b".")
        || local.ends_with(b".")
        || local.windows(2).any(|pair| pair == b"..")
        || !local.iter().all(|&c| is_bare(c))
}

/// A local part as it is written in SMTP or a header: as it is, or in quotes with a backslash
/// before CR, LF, `"` and `\`.
pub fn quote(local: &[u8]) -> Vec<u8> {
    if !needs_quotes(local) {
        return local.to_vec();
    }
    let mut quoted = Vec::with_capacity(local.len().saturating_add(2));
    quoted.push(b'"');
    for &c in local {
        if matches!(c, b'\r' | b'\n' | b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(c);
    }
    quoted.push(b'"');
    quoted
}

/// An address with its local part quoted if need be. The domain is copied; the empty address stays
/// empty; an address without `@` is quoted as a local part (in SMTP it passes raw: the caller
/// asks [`split`] first).
pub fn quote2(address: &[u8]) -> Vec<u8> {
    if address.is_empty() {
        return Vec::new();
    }
    let (local, domain) = split(address);
    let mut quoted = quote(local);
    if let Some(domain) = domain {
        quoted.push(b'@');
        quoted.extend_from_slice(domain);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bounded_and_has_neither_nul_nor_line_feed() {
        assert_eq!(Address::new(&b"a\0"[..]), Err(BadAddress::Nul));
        assert_eq!(Address::new(&b"a\n@b"[..]), Err(BadAddress::LineFeed));
        assert_eq!(Address::new(alloc::vec![b'a'; 1003]), Err(BadAddress::TooLong));
        assert_eq!(Address::new(alloc::vec![b'a'; 1002]).map(|a| a.as_bytes().len()), Ok(1002));
        assert!(Address::new(&b""[..]).is_ok());
    }

    #[test]
    fn the_last_at_divides() {
        let a = Address::new(&b"a@b@c"[..]).unwrap();
        assert_eq!((a.local(), a.domain()), (&b"a@b"[..], Some(&b"c"[..])));
        assert_eq!(split(b"nobody"), (&b"nobody"[..], None));
        assert_eq!(split(b"x@"), (&b"x"[..], Some(&b""[..])));
    }

    #[test]
    fn quotes_stand_where_they_must() {
        for (bare, quoted) in [
            (&b"joe"[..], &b"joe"[..]),
            (b"joe.q-ext=x", b"joe.q-ext=x"),
            (b"", b"\"\""),
            (b".a", b"\".a\""),
            (b"a.", b"\"a.\""),
            (b"a..b", b"\"a..b\""),
            (b"q u", b"\"q u\""),
            (b"a\"\\\r", b"\"a\\\"\\\\\\\r\""),
            (b"\xfc", b"\"\xfc\""),
        ] {
            assert_eq!(quote(bare), quoted);
        }
        assert_eq!(quote2(b"q u@h o"), b"\"q u\"@h o");
        assert_eq!(quote2(b""), b"");
        assert_eq!(quote2(b"@h"), b"\"\"@h");
        assert_eq!(quote2(b"q u"), b"\"q u\"");
    }
}
