//! POP3 (RFC 1939, RFC 2449, RFC 5034) as two machines, as `qmail-popup` and `qmail-pop3d` are two
//! programs: [`login`] never sees a letter and [`maildrop`] never a secret.

pub mod letter;
pub mod login;
pub mod maildrop;

use alloc::vec::Vec;

/// Every plain yes. The space behind it is stock's, and clients have seen it for ever.
pub const OK: &[u8] = b"+OK \r\n";

/// What both machines can do (RFC 2449 §6). Letters do not expire: only their user deletes them.
const CAPABILITIES: &[u8] =
    b"TOP\r\nUIDL\r\nUSER\r\nPIPELINING\r\nRESP-CODES\r\nEXPIRE NEVER\r\nIMPLEMENTATION qmail-rs\r\n";

/// The line that ends a list.
const END: &[u8] = b".\r\n";

/// A `-ERR` line.
fn no(text: &str) -> Vec<u8> {
    [b"-ERR ", text.as_bytes(), b"\r\n"].concat()
}

/// A plain `+OK `.
fn yes() -> Vec<u8> {
    OK.to_vec()
}

/// The answer to `CAPA`, with what else this machine can do.
fn capabilities(more: &[u8]) -> Vec<u8> {
    [OK, CAPABILITIES, more, END].concat()
}

/// The verb in upper case (empty if it is longer than any) and its argument without leading spaces.
fn split(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let (verb, rest) = word(line);
    let verb = if verb.len() <= 8 { verb.to_ascii_uppercase() } else { Vec::new() };
    (verb, rest)
}

/// The text up to the first space, and what follows that space and its like.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&c| c == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    let skip = rest.iter().take_while(|&&c| c == b' ').count();
    (word, rest.get(skip..).unwrap_or_default())
}
