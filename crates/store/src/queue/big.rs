//! Letters too large for the log: a file each, on disk with its name before the record that speaks
//! of it. The record has the file's name, so that nothing needs to be renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::alarm::{Alarm, doing};
use super::index::{Apart, Index};
use crate::disk::{Access, Disk, remove};

/// A spilled file is to be secured every so many bytes, so that no single sync takes long.
const SECURE_EVERY: u64 = 4 << 20;

/// A letter being written to a file of its own.
#[derive(Debug)]
pub struct Spill<F> {
    pub(super) name: u64,
    pub(super) file: Arc<F>,
    len: u64,
    synced: u64,
    whole: bool,
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

    /// Have so many bytes come since it was secured that it should be again?
    pub fn is_due(&self) -> bool {
        self.len.saturating_sub(self.synced) >= SECURE_EVERY
    }

    /// Takes note that all its bytes are durable, and if it is `whole` its name is, too.
    pub fn secured(&mut self, whole: bool) {
        self.synced = self.len;
        self.whole = whole;
    }

    /// Are all its bytes and its name durable, so that a record may speak of it?
    pub fn is_secured(&self) -> bool {
        self.whole && self.synced == self.len
    }
}

/// The file of a letter.
pub(super) fn path(name: u64) -> PathBuf {
    Path::new("big").join(name.to_string())
}

/// Begins a file; no letter in the queue has one of this name.
pub(super) fn begin<D: Disk>(disk: &D, name: u64) -> io::Result<Spill<D::File>> {
    let path = path(name);
    remove(disk, &path)?;
    let file = Arc::new(disk.create(&path)?);
    Ok(Spill { name, file, len: 0, synced: 0, whole: false })
}

/// Appends bytes to a file.
pub(super) fn push<D: Disk>(disk: &D, spill: &mut Spill<D::File>, bytes: &[u8]) -> io::Result<()> {
    disk.write_at(&spill.file, bytes, spill.len)?;
    spill.len = spill.len.saturating_add(bytes.len() as u64);
    spill.whole = false;
    Ok(())
}

/// Forgets a file that will not be a letter.
pub(super) fn discard<D: Disk>(disk: &D, spill: &Spill<D::File>) {
    // If this fails, the next start removes it.
    let _ = disk.unlink(&path(spill.name));
}

/// Checks that every large letter has its bytes; the alarms for those that have not.
pub(super) fn check<D: Disk>(disk: &D, index: &Index) -> Result<Vec<Alarm>, Alarm> {
    let mut alarms = Vec::new();
    for (id, Apart { name, size }) in index.all_apart() {
        let found = match disk.open(&path(name), Access::Read) {
            Ok(file) => Some(doing("look at a file in queue/big", disk.len(&file))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Alarm::Disk { doing: format!("open queue/big/{name}"), error });
            }
        };
        if found != Some(size) {
            alarms.push(Alarm::Big { id, name, size, found });
        }
    }
    Ok(alarms)
}

/// Removes files that belong to no letter; the first name that none has had since.
pub(super) fn sweep<D: Disk>(disk: &D, index: &Index) -> Result<u64, Alarm> {
    let mut used: Vec<u64> = index.all_apart().map(|(_, apart)| apart.name).collect();
    used.sort_unstable();
    for name in doing("list queue/big", disk.list(Path::new("big")))? {
        let number: Option<u64> = name.to_str().and_then(|n| n.parse().ok());
        if number.is_none_or(|number| used.binary_search(&number).is_err()) {
            let name = Path::new("big").join(name);
            doing("remove a leftover in queue/big", remove(disk, &name))?;
        }
    }
    Ok(used.last().map_or(1, |last| last.saturating_add(1)))
}
