//! What a letter of another queue is known by here: where it lies there and what it is. Two queues may
//! well have files of one number, time and size; a letter is passed over as one that came before only
//! if it is that letter.

use std::io;

use base::limits;
use base::wire::queue::Mark;
use sha2::{Digest, Sha256};
use sys::fd;

use super::{Damage, Found, Part, Stock};

/// The sum of a letter's bytes (SHA-256), taken as they come: strangers chose them.
#[derive(Clone, Debug, Default)]
pub struct Summing(Sha256);

/// A finished one.
pub type Sum = [u8; 32];

impl Summing {
    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all of them.
    pub fn end(self) -> Sum {
        self.0.finalize().into()
    }
}

impl Stock {
    /// The sum of a letter's bytes, of which there are `size`.
    ///
    /// # Errors
    /// [`Damage`]: it cannot be read, or has become shorter.
    pub fn sum(&self, number: u64, size: u64) -> Result<Sum, Damage> {
        let file = self.content(number)?;
        let unread = |e: io::Error| self.damage(Part::Mess, number, sys::errno::text(&e));
        let (mut piece, mut left, mut sum) = (vec![0; limits::CHUNK], size, Summing::default());
        while left > 0 {
            let most = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            let room = piece.get_mut(..most).unwrap_or_default();
            let len = fd::read_full(&file, room).map_err(unread)?;
            if len == 0 {
                return Err(self.damage(Part::Mess, number, "is being changed"));
            }
            sum.add(room.get(..len).unwrap_or_default());
            left = left.saturating_sub(len as u64);
        }
        Ok(sum.end())
    }
}

impl Found {
    /// Its mark: the number, time and size of its file, its sender and the sum of its bytes, and which
    /// part of it this is. Nothing of its recipients: where a qmail-send went on with it since, some
    /// of them are gone, and it is the same letter.
    pub fn mark(&self, number: u64, part: u64, sum: &Sum) -> Mark {
        let (secs, nanos) = self.kind.written;
        let words = [number, secs.cast_unsigned(), nanos.cast_unsigned(), self.kind.size, part];
        let mut all = Summing::default();
        words.iter().for_each(|word| all.add(&word.to_le_bytes()));
        all.add(sum);
        all.add(&self.sender);
        let [a, b, c, d, e, f, g, h, ..] = all.end();
        Mark::imported(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}
