//! What was written lately: most letters are asked for right after they came.

use std::collections::VecDeque;

use super::index::Place;

/// Bytes of it that are kept.
const KEPT: usize = 16 << 20;
/// Pieces of it that are kept.
const PIECES: usize = 4_096;
/// Shorter pieces (a few notes) are not worth keeping.
const SHORT: usize = 1_024;
/// Room in an empty piece that is kept for the next.
const ROOM: usize = 1 << 20;

/// One write to the log.
#[derive(Debug)]
struct Piece {
    segment: u64,
    at: u64,
    bytes: Vec<u8>,
}

/// The last writes, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Recent {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

impl Recent {
    /// Keeps what was written at a place behind all others; an empty buffer for the next write.
    pub(super) fn keep(&mut self, segment: u64, at: u64, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() < SHORT {
            bytes.clear();
            return bytes;
        }
        self.bytes = self.bytes.saturating_add(bytes.capacity());
        self.pieces.push_back(Piece { segment, at, bytes });
        let mut empty = Vec::new();
        while self.bytes > KEPT || self.pieces.len() > PIECES {
            let Some(old) = self.pieces.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(old.bytes.capacity());
            empty = old.bytes;
        }
        empty.clear();
        empty.shrink_to(ROOM);
        empty
    }

    /// The first `len` bytes from a place on, if they were written lately.
    pub(super) fn get(&self, place: Place, len: usize) -> Option<&[u8]> {
        let key = (place.segment, u64::from(place.offset));
        let n = self.pieces.partition_point(|p| (p.segment, p.at) <= key).checked_sub(1)?;
        let piece = self.pieces.get(n).filter(|p| p.segment == place.segment)?;
        let from = usize::try_from(u64::from(place.offset).checked_sub(piece.at)?).ok()?;
        piece.bytes.get(from..from.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writes_are_found_by_their_place_and_no_others() {
        let mut recent = Recent::default();
        for n in 0..40_u8 {
            let segment = 1 + u64::from(n / 8);
            recent.keep(segment, 4096 + u64::from(n % 8) * 2_000_000, vec![n; 1 << 20]);
        }
        assert!(recent.bytes <= KEPT && recent.pieces.len() == KEPT >> 20);
        let place = |segment, offset| Place { segment, offset, len: 9 };
        assert_eq!(recent.get(place(5, 4096 + 14_000_000), 9), Some(&[39; 9][..]));
        assert_eq!(recent.get(place(5, 4096 + 14_000_000 + (1 << 20) - 9), 9), Some(&[39; 9][..]));
        assert_eq!(recent.get(place(5, 4096 + 14_000_000 + (1 << 20) - 8), 9), None);
        assert_eq!(recent.get(place(5, 4095), 9), None);
        assert_eq!(recent.get(place(1, 4096), 9), None);
        assert_eq!(recent.get(place(6, 4096), 9), None);
        assert!(recent.keep(6, 4096, vec![1; 10]).capacity() >= 10);
        assert_eq!(recent.get(place(6, 4096), 9), None);
    }
}
