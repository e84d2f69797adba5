//! What `bounce/N` holds (qmail-bounce(5)).

use base::limits;

/// What is to be told of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paragraph<'a> {
    /// Whom it names; of a virtual domain's recipient without its prefix.
    pub address: &'a [u8],
    /// All of it, with the empty line after it.
    pub text: &'a [u8],
}

/// The longest that queued takes.
const LONGEST: usize = limits::REPORT + 2 * limits::ADDRESS;

/// Cuts the file into its paragraphs. What does not begin like one belongs to the one before it.
///
/// # Errors
/// What is wrong.
pub fn paragraphs(bounce: &[u8]) -> Result<Vec<Paragraph<'_>>, &'static str> {
    let (mut found, mut rest) = (Vec::<Paragraph<'_>>::new(), bounce);
    while !rest.is_empty() {
        let Some(address) = address(rest) else {
            return Err("does not begin with <recipient>: and a line end");
        };
        let mut len = length(rest);
        while rest.get(len..).is_some_and(|next| !next.is_empty() && self::address(next).is_none())
        {
            len = len.saturating_add(length(rest.get(len..).unwrap_or_default()));
        }
        let (text, next) = rest.split_at_checked(len).unwrap_or((rest, b""));
        found.push(Paragraph { address, text });
        rest = next;
    }
    Ok(found)
}

/// Bytes up to and with the next empty line.
fn length(text: &[u8]) -> usize {
    let end = text.windows(2).position(|pair| pair == b"\n\n");
    end.map_or(text.len(), |at| at.saturating_add(2))
}

/// Whom a paragraph names that begins here.
fn address(text: &[u8]) -> Option<&[u8]> {
    let line = text.split(|&c| c == b'\n').next()?;
    line.strip_prefix(b"<")?.strip_suffix(b">:")
}

/// A paragraph as queued takes it: whole lines, an empty one at the end, not too long.
pub(super) fn fitting(text: &[u8]) -> Vec<u8> {
    let most = LONGEST.saturating_sub(2);
    let cut = text.get(..most).unwrap_or(text);
    let mut fitting = cut.to_vec();
    while !fitting.ends_with(b"\n\n") {
        fitting.push(b'\n');
    }
    fitting
}
