//! The header of a letter as bytes go by: where it ends, how many hops it tells of, whether we
//! have seen it before; and, for a whole header, its fields.

use alloc::vec::Vec;
use core::fmt;

/// Counts `Received` and `Delivered-To` lines in a header as the letter passes.
///
/// Every header line that *begins* with `received` or `delivered`, in any case, counts, with or
/// without a colon, as in stock qmail-smtpd: loops are found even through programs that write
/// such lines in their own way.
#[derive(Clone, Debug, Default)]
pub struct Hops {
    count: u32,
    place: Place,
}

/// Where in a line of the header the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes of the line have gone by; it may still begin with these words.
    Start { at: usize, received: bool, delivered: bool },
    /// The line is decided; waiting for its end.
    Rest,
    /// The empty line has gone by.
    Body,
}

impl Default for Place {
    fn default() -> Self {
        Self::Start { at: 0, received: true, delivered: true }
    }
}

impl Hops {
    /// Takes the next decoded bytes of the letter (lines end in LF).
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if matches!(self.place, Place::Body) {
                return;
            }
            self.step(byte);
        }
    }

    /// How many hops so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether the letter has made [`base::limits::HOPS`] hops and must be looping.
    pub const fn is_looping(&self) -> bool {
        self.count >= base::limits::HOPS
    }

    fn step(&mut self, byte: u8) {
        self.place = match self.place {
            Place::Start { at: 0, .. } if byte == b'\n' => Place::Body,
            _ if byte == b'\n' => Place::default(),
            Place::Start { at, received, delivered } => self.begin(byte, at, received, delivered),
            place @ (Place::Rest | Place::Body) => place,
        };
    }

    /// One of the first bytes of a line.
    fn begin(&mut self, byte: u8, at: usize, received: bool, delivered: bool) -> Place {
        let byte = byte.to_ascii_lowercase();
        let received = received && b"received".get(at) == Some(&byte);
        let delivered = delivered && b"delivered".get(at) == Some(&byte);
        if (received && at == 7) || (delivered && at == 8) {
            self.count = self.count.saturating_add(1);
            return Place::Rest;
        }
        if received || delivered {
            Place::Start { at: at.saturating_add(1), received, delivered }
        } else {
            Place::Rest
        }
    }
}

/// Looks in a header for one whole line, byte for byte: our own `Delivered-To`, whose presence
/// means that the letter is looping.
#[derive(Clone, Debug)]
pub struct LineSearch<'a> {
    wanted: &'a [u8],
    state: Search,
}

/// How the search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// So many bytes of this line have matched.
    Matching(usize),
    /// This line is another one.
    Other,
    Found,
    /// The header is over.
    Absent,
}

impl<'a> LineSearch<'a> {
    /// Will look for `line`, which does not include its LF (and is not empty).
    pub const fn new(line: &'a [u8]) -> Self {
        Self { wanted: line, state: Search::Matching(0) }
    }

    /// Takes the next bytes of the letter.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = match self.state {
                Search::Found | Search::Absent => return,
                Search::Matching(0) if byte == b'\n' => Search::Absent,
                Search::Matching(n) if byte == b'\n' && n == self.wanted.len() => Search::Found,
                _ if byte == b'\n' => Search::Matching(0),
                Search::Matching(n) if self.wanted.get(n) == Some(&byte) => {
                    Search::Matching(n.saturating_add(1))
                }
                Search::Matching(_) | Search::Other => Search::Other,
            };
        }
    }

    /// Whether the line was there.
    pub fn found(&self) -> bool {
        self.state == Search::Found
    }

    /// Whether more bytes can change nothing.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, Search::Found | Search::Absent)
    }
}

/// The length of the name of a field, if `line` is one: printable ASCII without blanks, then
/// perhaps blanks, then a colon.
pub fn name_length(line: &[u8]) -> Option<usize> {
    let colon = line.iter().position(|&c| c == b':')?;
    let before = line.get(..colon)?;
    let name = before.iter().rposition(|&c| c != b' ' && c != b'\t')?.saturating_add(1);
    before.get(..name)?.iter().all(u8::is_ascii_graphic).then_some(name)
}

/// A field's name and value (all after the colon, folds and final LF included).
pub fn parts(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = field.split_at_checked(name_length(field)?)?;
    let colon = rest.iter().position(|&c| c == b':')?;
    Some((name, rest.get(colon.saturating_add(1)..)?))
}

/// The header is longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("header is too long")
    }
}

impl core::error::Error for TooLong {}

/// Cuts a header typed by a person or a program into fields, kindly.
///
/// Continuation lines join their field. A line that begins `From ` becomes `MBOX-Line: From …`.
/// The header ends at an empty line, or at a line that is no field, which is then the first of
/// the body, an empty line put before it.
#[derive(Clone, Debug)]
pub struct Head {
    fields: Vec<Vec<u8>>,
    /// The line being read.
    line: Vec<u8>,
    /// What of the body has been read: its first line or lines.
    body: Option<Vec<u8>>,
    /// Bytes the header may yet have.
    left: usize,
}

impl Head {
    /// A header of at most `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { fields: Vec::new(), line: Vec::new(), body: None, left: max }
    }

    /// Takes bytes until the header is over; how many it took. The rest is body.
    ///
    /// # Errors
    /// [`TooLong`] if the header is.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, TooLong> {
        let mut taken = 0;
        for line in bytes.split_inclusive(|&c| c == b'\n') {
            if self.is_over() {
                break;
            }
            self.left = self.left.checked_sub(line.len()).ok_or(TooLong)?;
            self.line.extend_from_slice(line);
            taken = line.len().saturating_add(taken);
            if line.ends_with(b"\n") {
                self.line();
            }
        }
        Ok(taken)
    }

    /// Whether an empty line, or one that is no field, has come.
    pub const fn is_over(&self) -> bool {
        self.body.is_some()
    }

    /// The letter has ended or its header has: the fields, each with its LF, and the bytes that
    /// come between them and the rest of the body. A missing last LF is added.
    pub fn finish(mut self) -> (Vec<Vec<u8>>, Vec<u8>) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.line();
        }
        (self.fields, self.body.unwrap_or_default())
    }

    /// Judges a whole line.
    fn line(&mut self) {
        let line = core::mem::take(&mut self.line);
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        if line == b"\n" {
            self.body = Some(line);
        } else if let Some(field) = self.fields.last_mut().filter(|_| continues) {
            field.extend_from_slice(&line);
        } else if line.starts_with(b"From ") {
            self.fields.push([b"MBOX-Line: ", &line[..]].concat());
        } else if name_length(&line).is_some() {
            self.fields.push(line);
        } else {
            self.body = Some([b"\n", &line[..]].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn hops(letter: &[u8]) -> u32 {
        let mut whole = Hops::default();
        whole.feed(letter);
        let mut by_byte = Hops::default();
        letter.iter().for_each(|&c| by_byte.feed(&[c]));
        assert_eq!(whole.count(), by_byte.count());
        whole.count()
    }

    #[test]
    fn lines_that_begin_with_received_or_delivered_count() {
        assert_eq!(hops(b"Received: a\nRECEIVED-SPF: b\nDelivered-To: c\ndelivered\n"), 4);
        assert_eq!(hops(b"X-Received: a\n received\nReceive: x\nDeliveredish: y\n"), 1);
        assert_eq!(hops(b"Received: a\n\nReceived: in the body\n"), 1);
        assert_eq!(hops(b"Recei\nReceived"), 1);
        assert_eq!(hops(b""), 0);
    }

    #[test]
    fn a_hundred_hops_are_a_loop() {
        let mut hops = Hops::default();
        (0..99).for_each(|_| hops.feed(b"Received: x\n"));
        assert!(!hops.is_looping());
        hops.feed(b"delivered");
        assert!(hops.is_looping());
    }

    #[test]
    fn only_the_very_line_in_the_header_is_found() {
        let found = |letter: &[u8]| {
            let mut search = LineSearch::new(b"Delivered-To: a@b");
            letter.chunks(3).for_each(|c| search.feed(c));
            search.found()
        };
        assert!(found(b"A: b\nDelivered-To: a@b\n\n"));
        assert!(!found(b"Delivered-To: A@b\n\n"));
        assert!(!found(b"Delivered-To: a@b \n\n"));
        assert!(!found(b"xDelivered-To: a@b\n\n"));
        assert!(!found(b"A: b\n\nDelivered-To: a@b\n"));
        assert!(!found(b"Delivered-To: a@b"));
    }

    fn cut(letter: &[u8], step: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut head = Head::new(1000);
        let mut rest = Vec::new();
        for chunk in letter.chunks(step) {
            let taken = head.feed(chunk).unwrap();
            rest.extend_from_slice(&chunk[taken..]);
        }
        let (fields, body) = head.finish();
        (fields, [body, rest].concat())
    }

    #[test]
    fn a_header_ends_at_an_empty_line_or_at_a_line_that_is_no_field() {
        for step in [1, 3, 100] {
            let (fields, body) = cut(b"A: b\n c\n\td\nE : f\n\nbody\n\n", step);
            assert_eq!(fields, [b"A: b\n c\n\td\n".to_vec(), b"E : f\n".to_vec()]);
            assert_eq!(body, b"\nbody\n\n");
            let (fields, body) = cut(b"From x\nA: b\nnot a field\nC: d\n", step);
            assert_eq!(fields, [b"MBOX-Line: From x\n".to_vec(), b"A: b\n".to_vec()]);
            assert_eq!(body, b"\nnot a field\nC: d\n");
            assert_eq!(cut(b"A: b", step), (vec![b"A: b\n".to_vec()], Vec::new()));
            assert_eq!(cut(b" lead\n", step), (Vec::new(), b"\n lead\n".to_vec()));
        }
    }

    #[test]
    fn a_header_has_a_bound() {
        assert_eq!(Head::new(5).feed(b"A: bcdef"), Err(TooLong));
    }

    #[test]
    fn a_fields_name_is_printable_and_blanks_may_follow_it() {
        assert_eq!(name_length(b"To: x"), Some(2));
        assert_eq!(name_length(b"To \t: x"), Some(2));
        assert_eq!(name_length(b": x"), None);
        assert_eq!(name_length(b"a b: x"), None);
        assert_eq!(name_length(b"caf\xe9: x"), None);
        assert_eq!(parts(b"To : x\n"), Some((&b"To"[..], &b" x\n"[..])));
    }
}
