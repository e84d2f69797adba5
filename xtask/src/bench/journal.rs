//! An ext4 with a journal in an image, where the disk's own has none.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tally::{Trouble, run};

/// Bytes of the image; it is sparse.
const SIZE: u64 = 24 << 30;

/// The mounted image; unmounted at the end.
pub(super) struct Journal {
    place: PathBuf,
}

impl Journal {
    /// Makes and mounts it under `dir`.
    pub(super) fn mount(dir: &Path) -> Result<Self, Trouble> {
        let (image, place) = (dir.join("image"), dir.join("journal"));
        let file = std::fs::File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(SIZE).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(&place).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &place]))?;
        Ok(Self { place })
    }

    /// Where it is mounted.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(&self.place));
    }
}

/// Whether the file system a directory lies on keeps a journal.
pub(super) fn has(dir: &Path) -> bool {
    let source = Command::new("findmnt").args(["-n", "-o", "SOURCE", "-T"]).arg(dir).output();
    let source = source.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let mut dump = Command::new("dumpe2fs");
    let told = dump.arg("-h").arg(source.unwrap_or_default()).output().map(|o| o.stdout);
    String::from_utf8_lossy(&told.unwrap_or_default()).contains("has_journal")
}
