//! A letter inside a conversation: lines that end in CRLF, ended by a lone dot (RFC 5321 §4.5.2,
//! RFC 1939 §3). The one place where letters change between LF and CRLF.
//!
//! Inbound, only CRLF ends a line and only CRLF `.` CRLF ends the letter: any other CR or LF is an
//! error, because servers that disagree about line ends can be made to disagree about where a
//! letter ends. Outbound, no CR or LF leaves but as CRLF, and every dot after one is doubled.

use alloc::vec::Vec;

use crate::scan;

/// Where a [`Decoder`] stands after a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The chunk is used up and the letter goes on.
    More,
    /// The letter has ended; what is left of the chunk is not part of it.
    End,
    /// A line end that is none: the conversation cannot be trusted further.
    Stray(Stray),
}

/// A line end that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// CR without LF.
    Cr,
    /// LF without CR.
    Lf,
}

/// Where in a line the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind CRLF, or at the very start.
    Start,
    /// Inside a line.
    Text,
    /// Behind a CR.
    Cr,
    /// Behind the dot that began a line.
    Dot,
    /// Behind that dot and a CR.
    DotCr,
    /// Past the end, or past an error.
    Over(Flow),
}

/// From the wire to LF lines: dots unstuffed, the end found.
#[derive(Debug)]
pub struct Decoder {
    place: Place,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a letter.
    pub const fn new() -> Self {
        Self { place: Place::Start }
    }

    /// Takes from the front of `input` and appends the letter's own bytes to `out`, at most as many
    /// as it took (and one for a dot held back from the last chunk's end).
    ///
    /// How the stream is cut into chunks makes no difference. After [`Flow::End`] or
    /// [`Flow::Stray`] nothing more is taken.
    pub fn decode(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Flow {
        while let Some((&c, rest)) = input.split_first() {
            let place = match (self.place, c) {
                (Place::Over(flow), _) => return flow,
                (Place::Start, b'.') => Place::Dot,
                (Place::Start | Place::Text, b'\r') => Place::Cr,
                (Place::Dot, b'\r') => Place::DotCr,
                (Place::Start | Place::Text | Place::Dot, b'\n') => stray(Stray::Lf),
                (Place::Start | Place::Text | Place::Dot, _) => {
                    let end = scan::either(input, b'\r', b'\n').unwrap_or(input.len());
                    let (text, behind) = input.split_at_checked(end).unwrap_or((input, &[]));
                    out.extend_from_slice(text);
                    *input = behind;
                    self.place = Place::Text;
                    continue;
                }
                (Place::Cr, b'\n') => {
                    out.push(b'\n');
                    Place::Start
                }
                (Place::DotCr, b'\n') => Place::Over(Flow::End),
                (Place::Cr | Place::DotCr, _) => stray(Stray::Cr),
            };
            self.place = place;
            *input = rest;
        }
        match self.place {
            Place::Over(flow) => flow,
            Place::Start | Place::Text | Place::Cr | Place::Dot | Place::DotCr => Flow::More,
        }
    }
}

const fn stray(stray: Stray) -> Place {
    Place::Over(Flow::Stray(stray))
}

/// The letter's last line has no line end: SMTP cannot carry it (stock `qmail-remote`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialLine;

/// Where in a line the encoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// At the start of a line.
    Start,
    /// Inside a line.
    Text,
    /// Behind one or more stored CRs that have not been answered for yet.
    Cr,
}

/// From LF lines to the wire.
///
/// CRs before an LF melt into its CRLF; any other run of CRs becomes one space, as it is the only
/// choice that neither lets a bare CR out nor invents a line that nobody wrote.
#[derive(Debug)]
pub struct Encoder {
    spot: Spot,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder at the start of a letter.
    pub const fn new() -> Self {
        Self { spot: Spot::Start }
    }

    /// Appends the wire form of the letter's next bytes to `out`: at most twice as many, and one.
    pub fn encode(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while let Some((&c, rest)) = input.split_first() {
            match (self.spot, c) {
                (_, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.spot = Spot::Start;
                    input = rest;
                }
                (_, b'\r') => {
                    self.spot = Spot::Cr;
                    input = rest;
                }
                (spot, _) => {
                    match (spot, c) {
                        (Spot::Start, b'.') => out.push(b'.'),
                        (Spot::Cr, _) => out.push(b' '),
                        (Spot::Start | Spot::Text, _) => {}
                    }
                    let end = scan::either(input, b'\r', b'\n').unwrap_or(input.len());
                    let (text, behind) = input.split_at_checked(end).unwrap_or((input, &[]));
                    out.extend_from_slice(text);
                    self.spot = Spot::Text;
                    input = behind;
                }
            }
        }
    }

    /// Ends a last line that has no line end. POP3 does so; SMTP reports it instead.
    pub fn close_line(&mut self, out: &mut Vec<u8>) {
        if self.spot != Spot::Start {
            out.extend_from_slice(b"\r\n");
            self.spot = Spot::Start;
        }
    }

    /// Appends the dot that ends the letter.
    ///
    /// # Errors
    /// [`PartialLine`], with `out` untouched, if the last line has no line end.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), PartialLine> {
        if self.spot != Spot::Start {
            return Err(PartialLine);
        }
        out.extend_from_slice(b".\r\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// A tiny random number generator (xorshift64), so that failures repeat.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % sides as u64) as usize
        }

        fn text(&mut self, max: usize, from: &[u8]) -> Vec<u8> {
            let len = self.roll(max + 1);
            (0..len).map(|_| from[self.roll(from.len())]).collect()
        }
    }

    fn decode(chunks: &[&[u8]]) -> (Flow, Vec<u8>, usize) {
        let (mut decoder, mut out, mut used) = (Decoder::new(), Vec::new(), 0);
        for chunk in chunks {
            let mut rest = *chunk;
            let flow = decoder.decode(&mut rest, &mut out);
            used += chunk.len() - rest.len();
            if flow != Flow::More {
                return (flow, out, used);
            }
        }
        (Flow::More, out, used)
    }

    fn encode(letter: &[u8], size: usize) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        letter.chunks(size.max(1)).for_each(|chunk| encoder.encode(chunk, &mut out));
        encoder.close_line(&mut out);
        encoder.finish(&mut out).unwrap();
        out
    }

    /// The same decoder in ten lines, one whole stream at a time.
    fn reference(wire: &[u8]) -> (Flow, Vec<u8>, usize) {
        let (mut out, mut at) = (Vec::new(), 0);
        loop {
            let Some(stop) = wire[at..].iter().position(|c| b"\r\n".contains(c)).map(|p| p + at)
            else {
                let dot = wire[at..].starts_with(b".");
                out.extend_from_slice(&wire[at + usize::from(dot)..]);
                return (Flow::More, out, wire.len());
            };
            let line = &wire[at..stop];
            let end = line == b".";
            if !end {
                out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            match (wire[stop], wire.get(stop + 1)) {
                (b'\n', _) => return (Flow::Stray(Stray::Lf), out, stop + 1),
                (_, None) => return (Flow::More, out, wire.len()),
                (_, Some(b'\n')) if end => return (Flow::End, out, stop + 2),
                (_, Some(b'\n')) => out.push(b'\n'),
                (_, Some(_)) => return (Flow::Stray(Stray::Cr), out, stop + 2),
            }
            at = stop + 2;
        }
    }

    #[test]
    fn letters_of_every_kind_are_decoded() {
        let cases: [(&[u8], Flow, &[u8]); 12] = [
            (b".\r\n", Flow::End, b""),
            (b"a\r\n.\r\nQUIT\r\n", Flow::End, b"a\n"),
            (b"..\r\n.a\r\n...b\r\n.\r\n", Flow::End, b".\na\n..b\n"),
            (b"\r\n\r\n.\r\n", Flow::End, b"\n\n"),
            (b"a\0\xff\r\n.\r\n", Flow::End, b"a\0\xff\n"),
            (b"a\n.\r\n", Flow::Stray(Stray::Lf), b"a"),
            (b"a\r\n.\n", Flow::Stray(Stray::Lf), b"a\n"),
            (b"a\r\n\n", Flow::Stray(Stray::Lf), b"a\n"),
            (b"a\r.\r\n", Flow::Stray(Stray::Cr), b"a"),
            (b"a\r\n.\rb", Flow::Stray(Stray::Cr), b"a\n"),
            (b"a\r\r\n.\r\n", Flow::Stray(Stray::Cr), b"a"),
            (b"a\r\n.\r", Flow::More, b"a\n"),
        ];
        for (wire, flow, letter) in cases {
            let got = decode(&[wire]);
            assert_eq!((got.0, &got.1[..]), (flow, letter), "{wire:?}");
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_letter() {
        let ends: [&[u8]; 4] = [b"\r\n", b"\n", b"\r", b"\r\0\n"];
        for before in ends {
            for after in ends {
                let wire = [b"x", before, b".", after, b"MAIL FROM:<smuggled@x>\r\n"].concat();
                let ended = decode(&[&wire]).0 == Flow::End;
                assert_eq!(ended, before == b"\r\n" && after == b"\r\n", "{wire:?}");
            }
        }
    }

    #[test]
    fn decoder_and_reference_agree_under_every_chunking() {
        let mut dice = Dice(0x5eed);
        for _ in 0..20_000 {
            let mut wire = dice.text(12, b"\r\n\r\n...ab");
            if dice.roll(2) == 0 {
                // Mostly proper line ends, so that long letters are walked through too.
                let letter = dice.text(80, b"\n\n..abcdefgh");
                wire = [encode(&letter, 7), wire].concat();
            }
            let want = reference(&wire);
            assert_eq!(decode(&[&wire]), want, "{wire:?}");
            for size in [1, 2, 3, 1 + dice.roll(40)] {
                let chunks: Vec<&[u8]> = wire.chunks(size).collect();
                assert_eq!(decode(&chunks), want, "{wire:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn what_was_stuffed_comes_back() {
        let mut dice = Dice(0xd07);
        for _ in 0..20_000 {
            let mut letter = dice.text(90, b"\n\n...abc\0\xff ");
            letter.push(b'\n');
            let wire = encode(&letter, 1 + dice.roll(20));
            assert_eq!(decode(&[&wire]), (Flow::End, letter, wire.len()));
        }
    }

    #[test]
    fn no_stored_bytes_end_the_letter_early_or_leave_a_bare_cr() {
        let mut dice = Dice(0xbad);
        for _ in 0..20_000 {
            let letter = dice.text(14, b"\r\n\r\n..a");
            let wire = encode(&letter, 1 + dice.roll(5));
            let (flow, got, used) = decode(&[&wire]);
            assert_eq!((flow, used), (Flow::End, wire.len()), "{letter:?}");
            let lines = |text: &[u8]| text.split(|c| *c == b'\n').count();
            let partial = !letter.is_empty() && !letter.ends_with(b"\n");
            assert_eq!(lines(&got), lines(&letter) + usize::from(partial), "{letter:?}");
        }
    }

    #[test]
    fn stored_crs_melt_or_become_a_space() {
        for (letter, want) in [
            (&b"a\r\nb\r\r\n"[..], &b"a\r\nb\r\n.\r\n"[..]),
            (b"\r.\n", b" .\r\n.\r\n"),
            (b"foo\r.\n", b"foo .\r\n.\r\n"),
            (b"a\r\rb\n", b"a b\r\n.\r\n"),
            (b"", b".\r\n"),
        ] {
            assert_eq!(encode(letter, 100), want);
        }
    }

    #[test]
    fn a_partial_last_line_is_reported() {
        for letter in [&b"a"[..], b"a\nb", b"a\r", b"."] {
            let (mut encoder, mut out) = (Encoder::new(), vec![]);
            encoder.encode(letter, &mut out);
            let before = out.clone();
            assert_eq!(encoder.finish(&mut out), Err(PartialLine));
            assert_eq!(out, before);
        }
    }
}
