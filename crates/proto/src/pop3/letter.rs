//! A letter on its way to a POP3 client: the wire form, cut where `TOP` wants it. How long it is,
//! [`base::crlf::Length`] says.

use alloc::vec::Vec;

use crate::dot::Encoder;
use crate::scan;

/// Turns a stored letter into what follows `+OK `: lines in CRLF, dots doubled, a lone dot.
///
/// No empty line is put before the dot (stock puts one): sizes would be wrong by it.
#[derive(Debug)]
pub struct Wire {
    encoder: Encoder,
    cut: Option<Cut>,
}

impl Wire {
    /// The whole letter, or with `body_lines` its header, the empty line and so many lines
    /// (RFC 1939 §7, `TOP`).
    pub fn new(body_lines: Option<u64>) -> Self {
        Self { encoder: Encoder::new(), cut: body_lines.map(Cut::new) }
    }

    /// Appends the wire form of the letter's next bytes; false once no more of them are wanted.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(cut) = &mut self.cut else {
            self.encoder.encode(bytes, out);
            return true;
        };
        let wanted = cut.wanted(bytes);
        self.encoder.encode(bytes.get(..wanted).unwrap_or(bytes), out);
        cut.part != Part::Body(0)
    }

    /// Ends a last line that has no end, then the letter.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.encoder.close_line(out);
        // It cannot refuse: the last line has just been ended.
        let _ended = self.encoder.finish(out);
    }
}

/// Where `TOP` stops.
#[derive(Debug)]
struct Cut {
    part: Part,
    body_lines: u64,
}

/// Which part of the letter comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The header; true while the line holds nothing (but CRs).
    Header(bool),
    /// The body, with so many lines still wanted.
    Body(u64),
}

impl Cut {
    const fn new(body_lines: u64) -> Self {
        Self { part: Part::Header(true), body_lines }
    }

    /// How many of the letter's next bytes are wanted.
    fn wanted(&mut self, bytes: &[u8]) -> usize {
        let mut wanted = 0_usize;
        while self.part != Part::Body(0) {
            let rest = bytes.get(wanted..).unwrap_or_default();
            let end = scan::first(rest, b'\n');
            let line = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
            let empty = line.iter().all(|&c| c == b'\r');
            let Some(end) = end else {
                if let Part::Header(blank) = &mut self.part {
                    *blank &= empty;
                }
                return bytes.len();
            };
            self.part = match self.part {
                Part::Header(true) if empty => Part::Body(self.body_lines),
                Part::Header(_) => Part::Header(true),
                Part::Body(left) => Part::Body(left.saturating_sub(1)),
            };
            wanted = wanted.saturating_add(end).saturating_add(1);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::crlf::Length;

    const LETTER: &[u8] = b"Subject: a\nX: b\n\none\n.two\n\nfour\n";

    fn wire(letter: &[u8], lines: Option<u64>, chunk: usize) -> Vec<u8> {
        let (mut wire, mut out) = (Wire::new(lines), Vec::new());
        for part in letter.chunks(chunk) {
            if !wire.feed(part, &mut out) {
                break;
            }
        }
        wire.finish(&mut out);
        out
    }

    #[test]
    fn top_stops_where_it_should_however_the_letter_is_cut() {
        for chunk in 1..LETTER.len() {
            let top = |n| wire(LETTER, Some(n), chunk);
            assert_eq!(top(0), b"Subject: a\r\nX: b\r\n\r\n.\r\n");
            assert_eq!(top(1), b"Subject: a\r\nX: b\r\n\r\none\r\n.\r\n");
            assert_eq!(top(3), b"Subject: a\r\nX: b\r\n\r\none\r\n..two\r\n\r\n.\r\n");
            assert_eq!(top(99), wire(LETTER, None, chunk));
        }
    }

    #[test]
    fn a_header_alone_has_no_body_to_cut() {
        assert_eq!(wire(b"a: b\n", Some(0), 2), b"a: b\r\n.\r\n");
        assert_eq!(wire(b"", None, 1), b".\r\n");
        assert_eq!(wire(b"a: b\r\n\r\nx\r\n", Some(0), 3), b"a: b\r\n\r\n.\r\n");
    }

    #[test]
    fn the_last_line_gets_its_end_and_nothing_more() {
        assert_eq!(wire(b"a\n\nb", None, 1), b"a\r\n\r\nb\r\n.\r\n");
        assert_eq!(wire(b"a\n\nb\n", None, 1), b"a\r\n\r\nb\r\n.\r\n");
    }

    #[test]
    fn the_length_is_what_is_sent() {
        let letters: [&[u8]; 9] =
            [LETTER, b"", b"x", b"x\n", b"\r", b"a\rb\r\r\nc\r", b"\r\n\r\n", b"\n\n", b"a\r\rb\n"];
        for letter in letters {
            for chunk in 1..=letter.len().max(1) {
                let mut length = Length::default();
                letter.chunks(chunk).for_each(|part| length.feed(part));
                let sent = wire(letter, None, chunk);
                let stuffed = letter.split(|&c| c == b'\n').filter(|l| l.starts_with(b".")).count();
                assert_eq!(length.total() as usize, sent.len() - 3 - stuffed, "{letter:?}");
            }
        }
    }
}
