//! The header of a segment: which one it is, where it begins, and how far back the log reaches.

use super::crc::crc32c;
use super::record::Take;

/// The unit that a synced write ends at; records that are on disk share no block with later ones,
/// so no later write can tear them. The header has the first block of a segment for itself.
pub const BLOCK: u64 = 4096;
/// What a header occupies on disk: one sector, which disks write whole or not at all. The first
/// sector of the block decides; the others may hold the same header with a later `oldest`. The last
/// one is a copy: should the first rot, the salt is still known.
pub(super) const HEADER: usize = 512;
/// Sectors in which the header may be said again.
pub(super) const RESTATED: u64 = BLOCK / HEADER as u64 - 2;
/// The format this program writes; it reads 1, too, which has no salt.
pub(super) const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"qmqueue\n";

/// A segment's header. A segment file keeps its name for ever; what it holds is said here alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Segments are numbered from 1 and never twice.
    pub(super) number: u64,
    /// The sequence of its first record.
    pub(super) first: u64,
    /// The oldest segment that was part of the log when this one was begun: files with lower
    /// numbers are free, and all from there up to the newest must be there.
    pub(super) oldest: u64,
    /// Bytes in the file, header included.
    pub(super) size: u64,
    /// What the sequences of its records are written under; nobody can guess it.
    pub(super) salt: u64,
}

/// What is found where a header should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Top {
    /// A sound header.
    Sound(Header),
    /// Zeros or nothing: the file was being made ready.
    Blank,
    /// A header in a format of a later program.
    Newer(u32),
    /// Something else.
    Damaged,
}

impl Header {
    /// The first block of a segment that begins.
    pub(super) fn block(&self) -> Vec<u8> {
        let mut block = self.encode().to_vec();
        block.resize(BLOCK as usize - HEADER, 0);
        block.extend_from_slice(&self.encode());
        block
    }

    /// The salt, as the copy at the end of a segment's first block says it.
    pub(super) fn spare_salt(block: &[u8]) -> Option<u64> {
        match block.chunks(HEADER).nth(BLOCK as usize / HEADER - 1).map(Self::decode_sector) {
            Some(Top::Sound(header)) => Some(header.salt),
            _ => None,
        }
    }

    /// The header's sector.
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        for n in [self.number, self.first, self.oldest, self.size, self.salt] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        let crc = crc32c(0, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut sector = [0; HEADER];
        for (slot, byte) in sector.iter_mut().zip(out) {
            *slot = byte;
        }
        sector
    }

    /// Reads a segment's first block (or what there is of it).
    pub(super) fn decode(block: &[u8]) -> Top {
        let mut sectors = block.chunks(HEADER).map(Self::decode_sector);
        let top = sectors.next().unwrap_or(Top::Blank);
        let Top::Sound(header) = top else { return top };
        let oldest = sectors.fold(header.oldest, |oldest, later| match later {
            Top::Sound(h) if Self { oldest: header.oldest, ..h } == header => oldest.max(h.oldest),
            Top::Sound(_) | Top::Blank | Top::Newer(_) | Top::Damaged => oldest,
        });
        Top::Sound(Self { oldest, ..header })
    }

    fn decode_sector(sector: &[u8]) -> Top {
        if sector.iter().all(|&b| b == 0) {
            return Top::Blank;
        }
        Self::sound(sector).unwrap_or(Top::Damaged)
    }

    fn sound(sector: &[u8]) -> Option<Top> {
        let mut r = Take(sector);
        if r.bytes(MAGIC.len())? != MAGIC {
            return None;
        }
        // A later format adds an arm here and keeps these.
        let version = r.u32()?;
        let (number, first, oldest, size) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
        let salt = match version {
            1 => 0,
            VERSION => r.u64()?,
            newer => return Some(Top::Newer(newer)),
        };
        let header = Self { number, first, oldest, size, salt };
        let counted = sector.get(..sector.len().saturating_sub(r.0.len()))?;
        let sound = r.u32()? == crc32c(0, counted)
            && (1..=header.number).contains(&header.oldest)
            && header.size >= BLOCK.saturating_mul(2);
        sound.then_some(Top::Sound(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_a_changed_byte_is_seen() {
        let header = Header { number: 9, first: 1234, oldest: 4, size: 16 << 20, salt: 3 };
        let sector = header.encode();
        assert_eq!(Header::decode(&sector), Top::Sound(header));
        for at in 0..56 {
            let mut bad = sector;
            bad[at] ^= 1;
            assert_ne!(Header::decode(&bad), Top::Sound(header));
        }
        let later = Header { oldest: 7, ..header };
        let stranger = Header { oldest: 8, number: 8, ..header };
        let block = [sector, stranger.encode(), [0; HEADER], later.encode(), [9; HEADER]].concat();
        assert_eq!(Header::decode(&block), Top::Sound(later));
        assert_eq!(Header::decode(&[0; HEADER]), Top::Blank);
        assert_eq!(Header::decode(&[]), Top::Blank);
        let mut newer = sector;
        newer[8] = 3;
        assert_eq!(Header::decode(&newer), Top::Newer(3));
        let mut rotten = header.block();
        rotten[20] ^= 1;
        assert_eq!(Header::decode(&rotten), Top::Damaged);
        assert_eq!(Header::spare_salt(&rotten), Some(3));
        assert_eq!(Header::spare_salt(&rotten[..HEADER]), None);
    }
}
