//! Counting how often a letter has been passed on, as its bytes go by.

use base::limits;

use crate::scan;

/// The longest word looked for.
const WORD: usize = 9;

/// Where in the header the counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the first bytes of a line.
    Start {
        /// Those bytes, in lower case.
        seen: [u8; WORD],
        /// How many there are.
        len: usize,
    },
    /// In a line that needs no more looking at.
    Line,
    /// Behind the empty line.
    Body,
}

/// Counts header lines that begin with `received` or `delivered`, in any case; no colon is
/// needed, so that `Delivered-To` and `Received-SPF` count (stock `qmail-smtpd`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hops {
    place: Place,
    count: u32,
}

const START: Place = Place::Start { seen: [0; WORD], len: 0 };

impl Default for Hops {
    fn default() -> Self {
        Self { place: START, count: 0 }
    }
}

impl Hops {
    /// Looks at the next bytes of the letter (LF lines).
    pub(crate) fn look(&mut self, mut bytes: &[u8]) {
        while let Some((&c, rest)) = bytes.split_first() {
            match self.place {
                Place::Body => return,
                Place::Line => {
                    let Some(end) = scan::first(bytes, b'\n') else { return };
                    bytes = bytes.get(end.saturating_add(1)..).unwrap_or_default();
                    self.place = START;
                }
                Place::Start { seen, len } => {
                    self.place = self.letter(seen, len, c);
                    bytes = rest;
                }
            }
        }
    }

    /// The place behind one more byte of a line's beginning.
    fn letter(&mut self, mut seen: [u8; WORD], len: usize, c: u8) -> Place {
        if c == b'\n' {
            return if len == 0 { Place::Body } else { START };
        }
        if let Some(slot) = seen.get_mut(len) {
            *slot = c.to_ascii_lowercase();
        }
        let len = len.saturating_add(1);
        let so_far = seen.get(..len).unwrap_or(&seen);
        if so_far == b"received" || so_far == b"delivered" {
            self.count = self.count.saturating_add(1);
            return Place::Line;
        }
        let hopeful = b"received".starts_with(so_far) || b"delivered".starts_with(so_far);
        if hopeful { Place::Start { seen, len } } else { Place::Line }
    }

    /// Whether the letter is looping: [`limits::HOPS`] or more.
    pub(crate) const fn looping(&self) -> bool {
        self.count >= limits::HOPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn count(letter: &[u8], size: usize) -> u32 {
        let mut hops = Hops::default();
        letter.chunks(size).for_each(|chunk| hops.look(chunk));
        hops.count
    }

    #[test]
    fn header_lines_count_whatever_follows_the_word() {
        let letter =
            b"Received: a\nrEcEiVeD-SPF: b\n received: folded\nDelivered-To: c\nDelivere\n\
            delivered\nReceive: d\nX-Received: e\n\nReceived: in the body\n";
        for size in 1..20 {
            assert_eq!(count(letter, size), 4, "chunks of {size}");
        }
    }

    #[test]
    fn a_hundred_is_too_many() {
        let mut hops = Hops::default();
        let letter: Vec<u8> = b"Received: x\n".repeat(99);
        hops.look(&letter);
        assert!(!hops.looping());
        hops.look(b"DELIVERED");
        assert!(hops.looping());
    }
}
