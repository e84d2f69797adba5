//! Letters in an mbox file: the `From ` line before each, and the mark on lines that look like it
//! (dot-qmail(5)).

use alloc::vec::Vec;

use base::time::Moment;

/// The line that begins a letter, with its LF: `From sender date`, in UTC. Nobody is
/// `MAILER-DAEMON`, and nothing in the sender may look like another word or line.
pub fn from_line(sender: &[u8], at: Moment) -> Vec<u8> {
    let sender = if sender.is_empty() { b"MAILER-DAEMON" } else { sender };
    let word = sender.iter().map(|&c| if matches!(c, b' ' | b'\t' | b'\n') { b'-' } else { c });
    let date = crate::date::from_line(at);
    b"From ".iter().copied().chain(word).chain(*b" ").chain(date.bytes()).chain(*b"\n").collect()
}

/// Quotes lines that look like the beginning of the next letter: `>*From ` gets one more `>`.
#[derive(Debug, Default)]
pub struct Quoted {
    line: Line,
    /// The last byte was no LF.
    open: bool,
}

/// How much of the current line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So far only `>`s, already written, and this many bytes of `From `, not yet written.
    Beginning(usize),
    /// It needs no quoting any more.
    Going,
}

impl Default for Line {
    fn default() -> Self {
        Self::Beginning(0)
    }
}

const FROM: &[u8] = b"From ";

impl Quoted {
    /// The letter's next bytes as they are written.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len().saturating_add(FROM.len()));
        for &byte in bytes {
            self.open = byte != b'\n';
            self.line = match self.line {
                Line::Beginning(0) if byte == b'>' => {
                    out.push(byte);
                    Line::Beginning(0)
                }
                Line::Beginning(n) if FROM.get(n) == Some(&byte) => match n.saturating_add(1) {
                    all if all == FROM.len() => {
                        out.push(b'>');
                        out.extend_from_slice(FROM);
                        Line::Going
                    }
                    some => Line::Beginning(some),
                },
                Line::Beginning(n) => {
                    out.extend_from_slice(FROM.get(..n).unwrap_or_default());
                    Self::go_on(&mut out, byte)
                }
                Line::Going => Self::go_on(&mut out, byte),
            };
        }
        out
    }

    fn go_on(out: &mut Vec<u8>, byte: u8) -> Line {
        out.push(byte);
        if byte == b'\n' { Line::default() } else { Line::Going }
    }

    /// What was held back, the end of a last line without one, and the empty line that ends the
    /// letter.
    pub fn finish(self) -> Vec<u8> {
        let held = match self.line {
            Line::Beginning(n) => FROM.get(..n).unwrap_or_default(),
            Line::Going => b"",
        };
        let end: &[u8] = if self.open { b"\n\n" } else { b"\n" };
        [held, end].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &[u8], piece: usize) -> Vec<u8> {
        let mut body = Quoted::default();
        let mut out: Vec<u8> = text.chunks(piece).flat_map(|piece| body.feed(piece)).collect();
        out.extend(body.finish());
        out
    }

    #[test]
    fn lines_that_look_like_a_letters_beginning_get_a_mark() {
        let text = b"From a\nFro\n>>From b\n>Fromm\n > From x\nFrom";
        let want = b">From a\nFro\n>>>From b\n>Fromm\n > From x\nFrom\n\n";
        for piece in 1..=text.len() {
            assert_eq!(quoted(text, piece), want, "{piece}");
        }
        assert_eq!(quoted(b"", 1), b"\n");
        assert_eq!(quoted(b"x\n", 1), b"x\n\n");
        // A last line of nothing but marks still gets its end.
        assert_eq!(quoted(b">>", 1), b">>\n\n");
        assert_eq!(quoted(b"From ", 2), b">From \n\n");
    }

    #[test]
    fn a_from_line_is_three_words_whoever_the_sender_is() {
        let line = |sender: &[u8]| from_line(sender, Moment::from_secs(1_795_355_199));
        assert_eq!(line(b"a b\tc\n@x"), b"From a-b-c-@x Sun Nov 22 13:46:39 2026\n");
        assert_eq!(line(b""), b"From MAILER-DAEMON Sun Nov 22 13:46:39 2026\n");
    }
}
