//! How long a stored letter is on the wire.

/// Where in a line a [`Length`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Spot {
    #[default]
    Start,
    Text,
    Cr,
}

/// Counts a stored letter as POP3's `RETR` sends it: line ends as two bytes, doubled dots and the
/// last line's lone dot not counted (RFC 1939 §11). What a delivery writes into a file's name and
/// what a session says of a file without one are this count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    bytes: u64,
    spot: Spot,
}

impl Length {
    /// Counts the letter's next bytes. How it is cut makes no difference.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        if self.spot != Spot::Cr
            && let Some(ends) = line_ends(bytes)
        {
            self.add(ends.saturating_add(bytes.len() as u64));
            self.spot = if *last == b'\n' { Spot::Start } else { Spot::Text };
            return;
        }
        bytes.iter().for_each(|&c| self.byte(c));
    }

    /// As it is sent: CRs before LF melt into its CRLF, others are one space.
    fn byte(&mut self, c: u8) {
        let (more, spot) = match (self.spot, c) {
            (_, b'\n') => (2, Spot::Start),
            (_, b'\r') => (0, Spot::Cr),
            (Spot::Cr, _) => (2, Spot::Text),
            (Spot::Start | Spot::Text, _) => (1, Spot::Text),
        };
        self.add(more);
        self.spot = spot;
    }

    fn add(&mut self, more: u64) {
        self.bytes = self.bytes.saturating_add(more);
    }

    /// The length in bytes if the letter ends here, with the end that a last line without one is
    /// given.
    pub fn total(&self) -> u64 {
        self.bytes.saturating_add(if self.spot == Spot::Start { 0 } else { 2 })
    }
}

/// How many line ends there are, if there is no CR. Counted in bytes, so that the processor takes
/// many at once: a mailbox may have to be read whole for this.
fn line_ends(bytes: &[u8]) -> Option<u64> {
    /// As many as a byte can count, a power of two.
    const PIECE: usize = 128;
    fn count(piece: &[u8]) -> Option<u64> {
        let (mut ends, mut returns) = (0_u8, 0_u8);
        for c in piece {
            ends = ends.wrapping_add(u8::from(*c == b'\n'));
            returns |= u8::from(*c == b'\r');
        }
        (returns == 0).then_some(u64::from(ends))
    }
    let (pieces, rest) = bytes.as_chunks::<PIECE>();
    pieces.iter().try_fold(count(rest)?, |sum, piece| Some(sum.wrapping_add(count(piece)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_many_at_a_time_is_counted_right() {
        for length in [0, 1, 127, 128, 129, 255, 256, 257, 1_000, 70_000] {
            let mut letter = alloc::vec![b'\n'; length];
            let count = |letter: &[u8]| {
                let mut whole = Length::default();
                whole.feed(letter);
                let mut each = Length::default();
                letter.iter().for_each(|c| each.byte(*c));
                assert_eq!(whole.total(), each.total(), "{length}");
                whole.total()
            };
            assert_eq!(count(&letter), 2 * length as u64);
            // A lone CR anywhere is a space, and the line feed behind it ends its line.
            for at in [0, length / 2, length.saturating_sub(1)] {
                let Some(c) = letter.get_mut(at) else { continue };
                *c = b'\r';
                count(&letter);
                letter[at] = b'x';
                count(&letter);
            }
        }
    }

    #[test]
    fn every_line_end_counts_two_and_a_lone_cr_one() {
        let letters: [(&[u8], u64); 12] = [
            (b"", 0),
            (b"x", 3),
            (b"x\n", 3),
            (b"x\r\n", 3),
            (b"\n\n", 4),
            (b"\r", 2),
            (b"x\r", 3),
            (b"x\r\r\n", 3),
            (b"a\rb\n", 5),
            (b"a\r\rb", 5),
            (b".\n..\n", 7),
            (b"a\r\n\rb\r\nc", 10),
        ];
        for (letter, want) in letters {
            for size in 1..=letter.len().max(1) {
                let mut length = Length::default();
                letter.chunks(size).for_each(|piece| length.feed(piece));
                assert_eq!(length.total(), want, "{letter:?} by {size}");
            }
        }
    }
}
