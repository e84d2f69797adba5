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
        if self.spot != Spot::Cr && !bytes.contains(&b'\r') {
            let ends = bytes.iter().fold(0_u64, |n, &c| n.wrapping_add(u64::from(c == b'\n')));
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

#[cfg(test)]
mod tests {
    use super::*;

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
