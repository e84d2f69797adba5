//! Bytes into command lines: bounded, whatever a stranger sends.
//!
//! A line ends at LF; a CR before it is dropped; a NUL ends the text (stock `qmail-smtpd`). Bare LF
//! is a fine end for a *command*; inside a letter it is not (see [`crate::dot`]).

use alloc::vec::Vec;

use base::limits;

use crate::scan;

/// What [`Lines::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its end; it holds neither LF nor NUL, though perhaps a CR.
    Text(&'a [u8]),
    /// A line over the limit has ended; its text is gone.
    TooLong,
    /// More than [`limits::ENDLESS_LINE`] bytes have come without an end: nobody we want to hear.
    Endless,
}

/// Cuts a stream into lines and never holds more than `max` bytes of it.
///
/// The caller keeps a cursor into what it has read and calls [`Lines::take`] until it says `None`;
/// then everything is consumed and it is time to read more. What lies behind a taken line stays in
/// the cursor, so that a conversation may go on in another framing (a letter, another program).
#[derive(Debug)]
pub struct Lines {
    /// The beginning of a line whose end has not come yet, at most `max` bytes.
    held: Vec<u8>,
    /// The line's beginning has been thrown away already.
    skipping: bool,
    /// Bytes of the line so far.
    length: usize,
    /// The caller has seen `held`: the next call starts afresh.
    spent: bool,
    max: usize,
}

impl Lines {
    /// Lines of at most `max` bytes, their CRLF included (`base::limits::COMMAND_LINE`).
    pub const fn new(max: usize) -> Self {
        Self { held: Vec::new(), skipping: false, length: 0, spent: false, max }
    }

    /// Takes the next line off the front of `input`; `None` if its end is not there yet.
    ///
    /// An overlong line is skipped as it comes and reported once, when it ends. One that does not
    /// is reported as [`Line::Endless`]; then nothing more should be read.
    pub fn take<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Line<'a>> {
        if core::mem::take(&mut self.spent) {
            self.held.clear();
        }
        let Some(end) = scan::first(input, b'\n') else {
            self.keep(core::mem::take(input));
            return self.gives_up().then_some(Line::Endless);
        };
        let (line, rest) = input.split_at_checked(end)?;
        *input = rest.get(1..)?;
        Some(self.finish(line))
    }

    /// How many bytes of an unfinished line are held.
    pub fn held(&self) -> usize {
        if self.spent { 0 } else { self.held.len() }
    }

    /// Holds a line's beginning, or gives the line up.
    fn keep(&mut self, part: &[u8]) {
        self.length = self.length.saturating_add(part.len());
        // The LF still to come counts too.
        self.skipping |= self.held.len().saturating_add(part.len()) >= self.max;
        if self.skipping {
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(part);
        }
    }

    /// Whether the line is too long to wait for its end; then it is forgotten.
    fn gives_up(&mut self) -> bool {
        let endless = self.length > limits::ENDLESS_LINE;
        if endless {
            (self.length, self.skipping) = (0, false);
        }
        endless
    }

    /// The line whose last part is `part`.
    fn finish<'a>(&'a mut self, part: &'a [u8]) -> Line<'a> {
        if self.held.is_empty() && !self.skipping && part.len() < self.max {
            return Line::Text(trimmed(part));
        }
        self.keep(part);
        if self.gives_up() {
            return Line::Endless;
        }
        (self.spent, self.length) = (true, 0);
        if core::mem::take(&mut self.skipping) {
            Line::TooLong
        } else {
            Line::Text(trimmed(&self.held))
        }
    }
}

/// A line without the CR before its LF and without whatever follows a NUL.
fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    scan::first(line, 0).and_then(|nul| line.get(..nul)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(max: usize, chunks: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(max);
        let mut got = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(line) = lines.take(&mut rest) {
                got.push(match line {
                    Line::Text(text) => Some(text.to_vec()),
                    Line::TooLong | Line::Endless => None,
                });
            }
            assert!(rest.is_empty());
            assert!(lines.held() < max);
        }
        got
    }

    #[test]
    fn a_line_ends_at_lf_and_loses_its_cr() {
        let got = all(100, &[b"HELO a\r\nNOOP\nfoo\rbar\r\r\n\r\n\n"]);
        let want: [&[u8]; 5] = [b"HELO a", b"NOOP", b"foo\rbar\r", b"", b""];
        assert!(got.iter().map(|l| l.as_deref().unwrap()).eq(want));
    }

    #[test]
    fn a_nul_ends_the_text() {
        assert_eq!(all(100, &[b"NOOP\0DATA\r\n"]), [Some(b"NOOP".to_vec())]);
    }

    #[test]
    fn chunking_changes_nothing() {
        let stream = b"MAIL FROM:<a@b>\r\nvery long line indeed, too long\nNOOP\r\n\nx\0y\n";
        let whole = all(20, &[stream]);
        assert_eq!(whole.len(), 5);
        assert_eq!(whole[1], None);
        for size in 1..stream.len() {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(all(20, &chunks), whole, "chunks of {size}");
        }
    }

    #[test]
    fn the_limit_counts_the_line_end() {
        let mut line = [b'x'; 20];
        line[19] = b'\n';
        assert!(all(20, &[&line])[0].is_some());
        assert!(all(19, &[&line])[0].is_none());
        line[18] = b'\r';
        assert_eq!(all(20, &[&line[..7], &line[7..]])[0].as_ref().unwrap().len(), 18);
    }

    #[test]
    fn a_long_line_takes_no_memory_and_is_reported_once() {
        let mut lines = Lines::new(1_000);
        for _ in 0..15 {
            let mut chunk: &[u8] = &[b'x'; 4_096];
            assert_eq!(lines.take(&mut chunk), None);
            assert!(lines.held.capacity() <= 1_000);
        }
        let mut end: &[u8] = b"\r\nQUIT\r\n";
        assert_eq!(lines.take(&mut end), Some(Line::TooLong));
        assert_eq!(lines.take(&mut end), Some(Line::Text(b"QUIT")));
        assert_eq!(lines.take(&mut end), None);
    }

    #[test]
    fn a_line_without_an_end_is_not_waited_for() {
        let long = [b'x'; limits::ENDLESS_LINE + 1];
        for size in [long.len(), 4_096, 1] {
            let mut lines = Lines::new(1_000);
            let mut pieces = long.chunks(size);
            let said = pieces.any(|mut piece| lines.take(&mut piece) == Some(Line::Endless));
            assert_eq!((said, pieces.count()), (true, 0), "{size}");
        }
        let mut rest = &[&long[..], b"\nNOOP\n"].concat()[..];
        assert_eq!(Lines::new(1_000).take(&mut rest), Some(Line::Endless));
        let mut rest = &[&long[1..], b"\n"].concat()[..];
        assert_eq!(Lines::new(1_000).take(&mut rest), Some(Line::TooLong));
    }

    #[test]
    fn what_follows_a_line_stays_with_the_caller() {
        let mut lines = Lines::new(100);
        let mut input: &[u8] = b"DATA\r\nbody";
        assert_eq!(lines.take(&mut input), Some(Line::Text(b"DATA")));
        assert_eq!(input, b"body");
    }
}
