//! The write log as `qemu-storage-daemon`'s blklogwrites driver leaves it (the format of Linux's
//! dm-log-writes): a superblock, then entries, each a sector of its own followed by its data.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Trouble;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// What a disk may tear a longer write into: pieces this long are written whole or not at all.
const PIECE: u64 = 4096;
/// Bytes compared at a time.
const CHUNK: u64 = 1 << 20;

/// One thing the disk was told.
pub(crate) struct Entry {
    /// Where on the disk, in bytes.
    to: u64,
    /// Where the data lies in the log, and how long it is.
    data: (u64, u64),
    /// How much of the disk nobody needs any more.
    discarded: u64,
    /// Everything before this is now durable.
    pub flush: bool,
    /// Where the entry ends in the log: its place in time.
    pub end: u64,
}

/// All of them, in order.
pub(crate) struct BlockLog {
    path: PathBuf,
    pub entries: Vec<Entry>,
}

impl BlockLog {
    /// Reads the log's index; the data stays in the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Trouble> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        let magic = number(&file, 0)?;
        if magic != MAGIC {
            return Err(format!("{}: {magic:#x} is not a write log", path.display()));
        }
        let (count, sector) = (number(&file, 16)?, number(&file, 24)? & 0xffff_ffff);
        let mut entries = Vec::new();
        let mut at = sector;
        for _ in 0..count {
            let [to, sectors, flags] =
                [number(&file, at)?, number(&file, at + 8)?, number(&file, at + 16)?];
            let all = sectors * sector;
            let (len, discarded) = if flags & DISCARD == 0 { (all, 0) } else { (0, all) };
            let data = (at + sector, len);
            at += sector + len;
            let (to, flush) = (to * sector, flags & FLUSH != 0);
            entries.push(Entry { to, data, discarded, flush, end: at });
        }
        if at > length {
            return Err(format!("{}: cut short", path.display()));
        }
        Ok(Self { path: path.into(), entries })
    }

    /// Writes the entries' data where they belong on an image; of each only the pieces that `keep`
    /// wants.
    pub(crate) fn apply<'e>(
        &self,
        entries: impl IntoIterator<Item = &'e Entry>,
        image: &Path,
        mut keep: impl FnMut() -> bool,
    ) -> Result<(), Trouble> {
        let log = File::open(&self.path).map_err(|e| e.to_string())?;
        let image = OpenOptions::new().write(true).open(image).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        for entry in entries {
            let (at, len) = entry.data;
            for piece in (0..len).step_by(PIECE as usize) {
                if keep() {
                    bytes.resize((len - piece).min(PIECE) as usize, 0);
                    let done = log.read_exact_at(&mut bytes, at + piece);
                    done.and_then(|()| image.write_all_at(&bytes, entry.to + piece))
                        .map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(())
    }
}

impl BlockLog {
    /// Where an image to which all entries were applied is not what the disk is; what was discarded
    /// may be anything.
    pub(crate) fn first_difference(
        &self,
        image: &Path,
        disk: &Path,
    ) -> Result<Option<u64>, Trouble> {
        let open = |path: &Path| File::open(path).map_err(|e| format!("{}: {e}", path.display()));
        let (image, disk) = (open(image)?, open(disk)?);
        let length = disk.metadata().map_err(|e| e.to_string())?.len();
        let (mut one, mut other) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
        for at in (0..length).step_by(CHUNK as usize) {
            let here = usize::try_from(CHUNK.min(length - at)).unwrap_or(0);
            for (file, bytes) in [(&image, &mut one), (&disk, &mut other)] {
                bytes.resize(here, 0);
                file.read_exact_at(bytes, at).map_err(|e| e.to_string())?;
            }
            let pieces = one.chunks(PIECE as usize).zip(other.chunks(PIECE as usize));
            let differ = (at..)
                .step_by(PIECE as usize)
                .zip(pieces)
                .find(|&(place, (a, b))| a != b && !self.entries.iter().any(|e| e.discards(place)));
            if let Some((place, _)) = differ {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

impl Entry {
    /// Does it discard anything of the piece there?
    fn discards(&self, place: u64) -> bool {
        place < self.to + self.discarded && self.to < place + PIECE && self.discarded > 0
    }
}

fn number(file: &File, at: u64) -> Result<u64, Trouble> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).map_err(|e| e.to_string())?;
    Ok(u64::from_le_bytes(bytes))
}
