//! What a bounce says to programs: one group of fields for each recipient
//! (`message/delivery-status`, RFC 3464 §2.3), made of the words that people read.

use alloc::vec::Vec;

use base::{limits, plain};

use super::TOO_LONG;

/// The line length RFC 5322 §2.1.1 asks for.
const LINE: usize = 76;
/// A word that is longer is broken.
const WORD: usize = 500;
/// The longest address that a line has room for.
const ADDRESS: usize = 900;
/// Stands in the text of a delivery before what the other host said.
const SAID: &[u8] = b"Remote host said: ";
/// The line qmail-remote ends with; it is ours, not the other host's.
const GIVING_UP: &[u8] = b"Giving up on ";

/// The group of one recipient, an empty line at its end; `paragraph` is what
/// [`super::paragraph`] made.
pub fn status(paragraph: &[u8]) -> Vec<u8> {
    let (first, text) = split_line(paragraph);
    let address = first.strip_prefix(b"<").unwrap_or(first);
    let address = address.strip_suffix(b">:").unwrap_or(address);
    let mut out = b"Final-Recipient: rfc822; ".to_vec();
    plain::put(&mut out, address.get(..ADDRESS).unwrap_or(address), b'?');
    out.extend_from_slice(b"\nAction: failed\nStatus: ");
    out.extend_from_slice(code(text));
    out.push(b'\n');
    diagnostic(&mut out, text);
    out.push(b'\n');
    out
}

/// The first line without its LF, and the rest.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&c| c == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (line, rest.get(1..).unwrap_or_default())
}

/// The status code of a report: that of our own words (`#5.1.1`), else the one the other host put
/// behind its reply code (RFC 2034), else one that says no more than is known.
fn code(text: &[u8]) -> &[u8] {
    let ours = text.split(|&c| c == b'#').skip(1).find_map(code_at);
    let theirs = || after(text, SAID).and_then(|reply| code_at(reply.get(4..)?));
    let guess: &[u8] =
        if text.ends_with(&[TOO_LONG, b"\n"].concat()) { b"4.4.7" } else { b"5.0.0" };
    ours.or_else(theirs).unwrap_or(guess)
}

/// A code of failure (`4.` or `5.`, RFC 3463 §2) at the beginning of some text.
fn code_at(text: &[u8]) -> Option<&[u8]> {
    let number = |from: usize| {
        let digits = text.get(from..)?.iter().take_while(|c| c.is_ascii_digit()).count();
        (1..=3).contains(&digits).then(|| from.saturating_add(digits))
    };
    if !text.starts_with(b"4.") && !text.starts_with(b"5.") {
        return None;
    }
    let subject = number(2)?;
    if text.get(subject) != Some(&b'.') {
        return None;
    }
    text.get(..number(subject.saturating_add(1))?)
}

/// What stands behind some words, the first time that they stand there.
fn after<'a>(text: &'a [u8], words: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(words.len()).position(|window| window == words)?;
    text.get(at.saturating_add(words.len())..)
}

/// The words themselves (RFC 3464 §2.3.6): the other host's reply, or all of the report.
fn diagnostic(out: &mut Vec<u8>, text: &[u8]) {
    let (kind, words) = match after(text, SAID) {
        Some(reply) => (&b"smtp;"[..], without_last_line(reply)),
        None => (&b"x-qmail;"[..], text),
    };
    let words = words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut pieces = words.flat_map(|word| word.chunks(WORD)).peekable();
    if pieces.peek().is_none() {
        return;
    }
    out.extend_from_slice(b"Diagnostic-Code: ");
    out.extend_from_slice(kind);
    let (mut column, mut room) = (17_usize.saturating_add(kind.len()), limits::BOUNCE_DIAGNOSTIC);
    for piece in pieces {
        if piece.len() >= room {
            out.extend_from_slice(b" ...");
            break;
        }
        let wide = column.saturating_add(1).saturating_add(piece.len());
        out.extend_from_slice(if wide > LINE { b"\n " } else { b" " });
        column = if wide > LINE { piece.len().saturating_add(1) } else { wide };
        plain::put(out, piece, b'?');
        room = room.saturating_sub(piece.len());
    }
    out.push(b'\n');
}

/// Other hosts say nothing of our giving up.
fn without_last_line(reply: &[u8]) -> &[u8] {
    let ours = |at: &usize| {
        let begins = at.checked_sub(1).is_none_or(|before| reply.get(before) == Some(&b'\n'));
        begins && reply.get(*at..).is_some_and(|line| line.starts_with(GIVING_UP))
    };
    (0..reply.len()).rev().find(ours).and_then(|at| reply.get(..at)).unwrap_or(reply)
}

#[cfg(test)]
mod tests {
    use super::super::paragraph;
    use super::*;
    use alloc::string::String;

    fn group(address: &[u8], report: &[u8]) -> String {
        String::from_utf8(status(&paragraph(address, report))).unwrap()
    }

    #[test]
    fn the_status_is_that_of_our_own_words() {
        assert_eq!(
            group(b"a@b", b"Sorry, no mailbox here by that name. (#5.1.1)\n"),
            "Final-Recipient: rfc822; a@b\n\
             Action: failed\n\
             Status: 5.1.1\n\
             Diagnostic-Code: x-qmail; Sorry, no mailbox here by that name. (#5.1.1)\n\n"
        );
    }

    #[test]
    fn the_other_hosts_reply_is_told_without_our_own_line() {
        assert_eq!(
            group(
                b"a@b",
                b"1.2.3.4 does not like recipient.\n\
                  Remote host said: 550-5.7.1 We are\n550 5.7.1 closed\nGiving up on 1.2.3.4.\n"
            ),
            "Final-Recipient: rfc822; a@b\n\
             Action: failed\n\
             Status: 5.7.1\n\
             Diagnostic-Code: smtp; 550-5.7.1 We are 550 5.7.1 closed\n\n"
        );
        let said = group(b"a@b", b"Remote host said: 550 no Giving up on us\nGiving up on x.\n");
        assert!(said.contains("Status: 5.0.0\n"), "{said}");
        assert!(said.ends_with("smtp; 550 no Giving up on us\n\n"), "{said}");
    }

    #[test]
    fn what_was_too_long_in_the_queue_and_says_no_more_expired() {
        let status = |text: &[u8]| {
            let report = [text, TOO_LONG].concat();
            let group = group(b"a@b", &report);
            let line = group.lines().find_map(|line| line.strip_prefix("Status: "));
            String::from(line.unwrap())
        };
        assert_eq!(status(b"Connected to 1.2.3.4 but connection died. (#4.4.2)\n"), "4.4.2");
        assert_eq!(status(b"busy\n"), "4.4.7");
    }

    #[test]
    fn nothing_that_is_no_code_of_failure_counts_as_one() {
        for text in ["#2.0.0", "#5.1", "#5.1234.1", "#5..1", "#", "#5.1.", "# 5.1.1", "#x5.1.1"] {
            assert_eq!(code(text.as_bytes()), b"5.0.0", "{text}");
        }
        assert_eq!(code(b"see #17, (#5.71.234)"), b"5.71.234");
        assert_eq!(code(b"#5.1.12345"), b"5.0.0");
    }

    #[test]
    fn a_report_without_words_has_no_diagnosis() {
        assert_eq!(group(b"", b""), "Final-Recipient: rfc822; \nAction: failed\nStatus: 5.0.0\n\n");
    }

    #[test]
    fn lines_are_short_and_plain_and_the_whole_is_bounded() {
        let report = [&b"x\xffy\x07z\t \n".repeat(700)[..], &[b'w'; 4_000]].concat();
        let group = group(b"a\xe9@b", &report);
        assert!(group.is_ascii() && group.len() < 2 * limits::BOUNCE_DIAGNOSTIC);
        assert!(group.lines().all(|line| line.len() <= 998) && group.ends_with(" ...\n\n"));
        assert_eq!(group.matches("\n\n").count(), 1, "nothing ends the group early");
        let long = super::super::tests::group(&[b'a'; 1_002], b"no");
        assert!(long.lines().all(|line| line.len() <= 998));
    }
}
