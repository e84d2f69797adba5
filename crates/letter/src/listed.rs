//! Addresses as sendmail's files list them: `.forward`, `/etc/aliases`, include files.
//!
//! Such a list is read as an address field of a header is (RFC 822 §6), from right to left, but
//! colons and semicolons only separate, and some words are no addresses.

use alloc::vec::Vec;

use base::address::Address;

use crate::addrlist;
use crate::rewrite::Rules;
use crate::token822::{self, Token, Unparsable};

/// One thing a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// An address, as far as it is written out; maybe empty (`<>`).
    Address(Vec<Token>),
    /// `|command`, without an `@` outside quotes: what stands behind the bar.
    Program(Vec<u8>),
    /// `/path`, without an `@` outside quotes.
    File(Vec<u8>),
    /// `:include:path`.
    Include(Vec<u8>),
}

/// Tokens between two separators.
struct Segment<'a> {
    tokens: &'a [Token],
    /// `:include:` stands before them.
    include: bool,
}

/// Why a text is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// It is not made of tokens, or its brackets do not match.
    Unparsable,
    /// `:include:` with nothing behind it.
    NoFile,
}

impl From<Unparsable> for Unlisted {
    fn from(_: Unparsable) -> Self {
        Self::Unparsable
    }
}

/// Everything a text lists, the right-most first.
///
/// # Errors
/// [`Unlisted`].
pub fn read(text: &[u8]) -> Result<Vec<Listed>, Unlisted> {
    let tokens = token822::parse(text)?;
    let mut listed = Vec::new();
    for segment in segments(&tokens).into_iter().rev() {
        segment.read(&mut listed)?;
    }
    Ok(listed)
}

/// Splits at colons and semicolons that do not stand in brackets; `include` between two colons is
/// no segment but says what the next one is.
fn segments(tokens: &[Token]) -> Vec<Segment<'_>> {
    let mut inside = false;
    let pieces = tokens.split(|token| {
        inside = match token {
            Token::Left => true,
            Token::Right => false,
            _ => inside,
        };
        !inside && matches!(token, Token::Colon | Token::Semi)
    });
    let (mut segments, mut include, mut at) = (Vec::new(), false, 0usize);
    for tokens_here in pieces {
        let colon = |at: Option<usize>| at.and_then(|at| tokens.get(at)) == Some(&Token::Colon);
        let opened = colon(at.checked_sub(1));
        at = at.saturating_add(tokens_here.len());
        let closed = colon(Some(at));
        at = at.saturating_add(1);
        let is_mark = matches!(tokens_here, [Token::Atom(word)] if word == b"include");
        if is_mark && opened && closed && !include {
            include = true;
        } else {
            segments.push(Segment { tokens: tokens_here, include });
            include = false;
        }
    }
    segments
}

impl Segment<'_> {
    /// Appends what the segment lists, the right-most first.
    fn read(&self, listed: &mut Vec<Listed>) -> Result<(), Unlisted> {
        let from = listed.len();
        addrlist::rewrite(self.tokens.to_vec(), |address| {
            listed.push(judge(core::mem::take(address)));
            Ok(())
        })?;
        if !self.include {
            return Ok(());
        }
        let named = !matches!(self.tokens.first(), None | Some(Token::Comma));
        let file = listed.pop().filter(|_| named && listed.len() >= from);
        match file.map(Listed::into_text) {
            Some(path) if !path.is_empty() => {
                listed.push(Listed::Include(path));
                Ok(())
            }
            _ => Err(Unlisted::NoFile),
        }
    }
}

/// What an address of a list really is.
fn judge(address: Vec<Token>) -> Listed {
    if !address.contains(&Token::At) {
        let text = token822::unquote(&address);
        match text.split_first() {
            Some((b'|', command)) => return Listed::Program(command.to_vec()),
            Some((b'/', _)) => return Listed::File(text),
            _ => {}
        }
    }
    Listed::Address(address)
}

impl Listed {
    /// The bytes as a file's name has them.
    fn into_text(self) -> Vec<u8> {
        match self {
            Self::Address(tokens) => token822::unquote(&tokens),
            Self::Program(command) => [&b"|"[..], &command].concat(),
            Self::File(path) | Self::Include(path) => path,
        }
    }
}

/// The longest recipient of an alias table, an include file or a mailing list, in bytes.
pub const RECIPIENT: usize = 800;

/// Why an address of a list is no recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecipient {
    /// Nothing is left of it.
    Empty,
    /// More than [`RECIPIENT`] bytes.
    TooLong,
    /// A NUL, which would end the record it is kept in.
    Nul,
    /// A list inside brackets, and the like.
    Unparsable,
}

/// An address of a list, completed by this host's rules.
///
/// # Errors
/// [`BadRecipient`].
pub fn recipient(rules: &Rules, mut address: Vec<Token>) -> Result<Vec<u8>, BadRecipient> {
    let written = token822::unquote(&address);
    match rules.checked(&mut address).map(Address::into_bytes) {
        _ if written.contains(&0) => Err(BadRecipient::Nul),
        Ok(whole) if whole.is_empty() => Err(BadRecipient::Empty),
        Ok(whole) if whole.len() > RECIPIENT => Err(BadRecipient::TooLong),
        Ok(whole) => Ok(whole),
        Err(Unparsable) if written.len() > RECIPIENT => Err(BadRecipient::TooLong),
        Err(Unparsable) => Err(BadRecipient::Unparsable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    /// `address`, `|program`, `/file`, `:include`, in the order met.
    fn met(text: &str) -> Option<Vec<String>> {
        let listed = read(text.as_bytes()).ok()?;
        let show = |listed: Listed| {
            let mark = if matches!(listed, Listed::Include(_)) { ":" } else { "" };
            [mark, &String::from_utf8(listed.into_text()).unwrap()].concat()
        };
        Some(listed.into_iter().map(show).collect())
    }

    fn reads(text: &str, want: &[&str]) {
        assert_eq!(
            met(text).as_deref(),
            Some(&want.iter().map(|s| String::from(*s)).collect::<Vec<_>>()[..]),
            "{text}"
        );
    }

    #[test]
    fn colons_and_semicolons_only_separate() {
        reads("root: alice, bill", &["bill", "alice", "root"]);
        reads("root alice", &["alice", "root"]);
        reads("a:;b", &["b", "a"]);
        reads("hostmaster:\n   fred,\n\n\tjoe\n", &["joe", "fred", "hostmaster"]);
        reads("", &[]);
    }

    #[test]
    fn addresses_are_those_of_a_header() {
        reads("root: bob (Bob, the postmaster)", &["bob", "root"]);
        reads("bob (x) @heaven.af.mil", &["bob@heaven.af.mil"]);
        reads("joe: Joe Shmoe <shmoe@heaven.af.mil>", &["shmoe@heaven.af.mil", "joe"]);
        reads("\"a b\"@x.org", &["a b@x.org"]);
        reads("\\joe", &["joe"]);
        reads("<@a,@b:u@v>", &["@a,@b:u@v"]);
        reads("<>", &[""]);
    }

    #[test]
    fn programs_and_files_have_no_at_outside_quotes() {
        assert_eq!(read(b"\"|exec x@y\""), Ok(alloc::vec![Listed::Program(b"exec x@y".to_vec())]));
        assert_eq!(read(b"|p"), Ok(alloc::vec![Listed::Program(b"p".to_vec())]));
        assert_eq!(read(b"/var/mail/x"), Ok(alloc::vec![Listed::File(b"/var/mail/x".to_vec())]));
        assert!(matches!(read(b"|p@x.org").unwrap()[..], [Listed::Address(_)]));
        assert!(matches!(read(b"\"/a\"@x.org").unwrap()[..], [Listed::Address(_)]));
    }

    #[test]
    fn include_names_the_file_that_follows() {
        reads("sos: :include:/etc/lists/sos", &[":/etc/lists/sos", "sos"]);
        reads("sos: : include : \"/a b\", c", &["c", ":/a b", "sos"]);
        reads("a, :include:x.y, :include:z", &[":z", ":x.y", "a"]);
        reads("include: a", &["a", "include"]);
        for bad in [":include:", ":include:, a", "x: :include:;", ":include: :include: a"] {
            assert_eq!(met(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["(a", "\"a", "a>", "<a", "a: <b, c", "a ) b"] {
            assert_eq!(met(bad), None, "{bad}");
        }
    }

    #[test]
    fn recipients_are_completed_and_bounded() {
        let rules = Rules::new(b"h.o", b"o", b"p.o").unwrap();
        let complete = |text: &str| match read(text.as_bytes()).unwrap().pop() {
            Some(Listed::Address(tokens)) => recipient(&rules, tokens),
            other => panic!("{other:?}"),
        };
        assert_eq!(complete("joe"), Ok(b"joe@h.o".to_vec()));
        assert_eq!(complete("joe@"), Ok(b"joe@h.o".to_vec()));
        assert_eq!(complete("joe@x"), Ok(b"joe@x.o".to_vec()));
        assert_eq!(complete("joe@x+"), Ok(b"joe@x.p.o".to_vec()));
        assert_eq!(complete("<>"), Err(BadRecipient::Empty));
        assert_eq!(complete("<a,b>"), Err(BadRecipient::Unparsable));
        assert_eq!(complete("a\0b@x.o"), Err(BadRecipient::Nul));
        let long = "x".repeat(RECIPIENT);
        assert_eq!(complete(&long), Err(BadRecipient::TooLong));
        assert_eq!(complete(&long.repeat(2)), Err(BadRecipient::TooLong));
    }
}
