//! What we say to a server, and what its words mean.

use alloc::vec::Vec;

use base::address;

use super::{Mechanisms, Reply};

/// What the server offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// It wants to know sizes (RFC 1870).
    pub size: bool,
    /// It takes eight-bit letters (RFC 6152). We send them as they are in any case, as stock does.
    pub eight_bit: bool,
    /// It takes commands before it has answered the last (RFC 2920).
    pub pipelining: bool,
    /// It lets us log in (RFC 4954).
    pub login: Mechanisms,
}

impl Offers {
    /// What the answer to `EHLO` lists.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.lines().skip(1) {
            let word = line.split(|&c| c == b' ').next().unwrap_or_default();
            offers.size |= word.eq_ignore_ascii_case(b"SIZE");
            offers.eight_bit |= word.eq_ignore_ascii_case(b"8BITMIME");
            offers.pipelining |= word.eq_ignore_ascii_case(b"PIPELINING");
            offers.login.add(line);
        }
        offers
    }
}

/// `MAIL` for this sender, with the letter's size for a server that wants it; nothing if no command
/// can carry the sender.
pub(super) fn mail(sender: &[u8], size: Option<u64>) -> Option<Vec<u8>> {
    let size = size.map(|size| alloc::format!(" SIZE={size}")).unwrap_or_default();
    let sender = speakable(sender)?;
    Some([b"MAIL FROM:<", sender.as_slice(), b">", size.as_bytes(), b"\r\n"].concat())
}

/// `RCPT` for this recipient; nothing if no command can carry it.
pub(super) fn rcpt(recipient: &[u8]) -> Option<Vec<u8>> {
    Some([b"RCPT TO:<", speakable(recipient)?.as_slice(), b">\r\n"].concat())
}

/// An address as a command carries it; nothing if a byte of it would end the command, or the
/// brackets around it, early.
fn speakable(address: &[u8]) -> Option<Vec<u8>> {
    let (local, domain) = address::split(address);
    let bare = |part: &[u8]| part.iter().all(|&c| c > b' ' && !matches!(c, 0x7f | b'<' | b'>'));
    match domain {
        // Without a domain it goes out raw, as in stock.
        None => bare(local).then(|| address.to_vec()),
        Some(domain) if bare(domain) && !local.iter().any(u8::is_ascii_control) => {
            Some(address::quote2(address))
        }
        Some(_) => None,
    }
}

/// `D` for a refusal, `Z` for a later, nothing for a yes.
pub(super) const fn severity(code: u16) -> Option<u8> {
    match code {
        500.. => Some(b'D'),
        400..=499 => Some(b'Z'),
        _ => None,
    }
}
