//! Letters too large for the log: a file each, on disk before the record that speaks of it.

use std::io;
use std::path::{Path, PathBuf};

use super::alarm::{Alarm, doing};
use super::index::Index;
use crate::disk::{Access, Disk, remove};

/// A spilled file is synced every so many bytes, so that no single sync takes long.
const SYNC_EVERY: u64 = 4 << 20;

/// A letter being written to a file of its own.
#[derive(Debug)]
pub struct Spill<F> {
    name: PathBuf,
    file: F,
    len: u64,
    synced: u64,
}

impl<F> Spill<F> {
    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is it still empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The file of a letter.
pub(super) fn path(id: u64) -> PathBuf {
    Path::new("big").join(id.to_string())
}

/// Begins a file; `serial` tells it from others of this run.
pub(super) fn begin<D: Disk>(disk: &D, serial: u64) -> io::Result<Spill<D::File>> {
    let name = Path::new("big").join(format!("tmp.{serial}"));
    remove(disk, &name)?;
    let file = disk.create(&name)?;
    Ok(Spill { name, file, len: 0, synced: 0 })
}

/// Appends bytes to a file.
pub(super) fn push<D: Disk>(disk: &D, spill: &mut Spill<D::File>, bytes: &[u8]) -> io::Result<()> {
    disk.write_at(&spill.file, bytes, spill.len)?;
    spill.len = spill.len.saturating_add(bytes.len() as u64);
    if spill.len.saturating_sub(spill.synced) >= SYNC_EVERY {
        disk.sync(&spill.file)?;
        spill.synced = spill.len;
    }
    Ok(())
}

/// Makes the bytes durable and gives them the letter's name (not yet durable).
pub(super) fn place<D: Disk>(disk: &D, spill: &Spill<D::File>, id: u64) -> io::Result<()> {
    disk.sync(&spill.file)?;
    disk.rename(&spill.name, &path(id))
}

/// Forgets a file that will not be a letter.
pub(super) fn discard<D: Disk>(disk: &D, spill: &Spill<D::File>) {
    // If this fails, the next start removes it.
    let _ = disk.unlink(&spill.name);
}

/// Checks that every large letter has its bytes; the alarms for those that have not.
pub(super) fn check<D: Disk>(disk: &D, index: &Index) -> Result<Vec<Alarm>, Alarm> {
    let mut alarms = Vec::new();
    for (id, known) in index.iter().filter(|(_, known)| known.apart) {
        let found = match disk.open(&path(id), Access::Read) {
            Ok(file) => Some(doing("look at a file in queue/big", disk.len(&file))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Alarm::Disk { doing: format!("open queue/big/{id}"), error }),
        };
        if found != Some(known.size) {
            alarms.push(Alarm::Big { id, size: known.size, found });
        }
    }
    Ok(alarms)
}

/// Removes files that belong to no letter.
pub(super) fn sweep<D: Disk>(disk: &D, index: &Index) -> Result<(), Alarm> {
    for name in doing("list queue/big", disk.list(Path::new("big")))? {
        let id: Option<u64> = name.to_str().and_then(|n| n.parse().ok());
        let known = id.and_then(|id| index.get(id)).is_some_and(|known| known.apart);
        if !known {
            let name = Path::new("big").join(name);
            doing("remove a leftover in queue/big", remove(disk, &name))?;
        }
    }
    Ok(())
}
