//! An ext4 with a journal in an image, where the disk's own has none.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tally::{Trouble, run};

/// Bytes of the image.
const SIZE: u64 = 16 << 30;
/// Bytes for which there is an inode: enough for the letters of a whole run.
const INODE: &str = "8192";

/// The mounted image; unmounted at the end.
pub(super) struct Journal {
    place: PathBuf,
}

impl Journal {
    /// Makes and mounts it under `dir`. All of it is written first and the disk below has no cache
    /// of it: a write or a flush in it is one on the disk, not an allocation there and a copy.
    pub(super) fn mount(dir: &Path) -> Result<Self, Trouble> {
        let (image, place) = (dir.join("image"), dir.join("journal"));
        write(&image).map_err(|e| format!("{}: {e}", image.display()))?;
        std::fs::create_dir_all(&place).map_err(|e| e.to_string())?;
        let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-i", INODE, "-E", lazy]).arg(&image))?;
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--direct-io=on"]).arg(&image);
        let told = losetup.output().map_err(|e| format!("losetup: {e}"))?;
        if !told.status.success() {
            return Err(format!("losetup: {}", String::from_utf8_lossy(&told.stderr).trim()));
        }
        let device = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        let mounted = run(Command::new("mount").arg(&device).arg(&place));
        // It goes when nothing has it mounted any more.
        run(Command::new("losetup").args(["--detach", &device]))?;
        mounted.map(|()| Self { place })
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

/// Makes the image.
fn write(image: &Path) -> io::Result<()> {
    let mut file = File::create(image)?;
    io::copy(&mut io::repeat(0).take(SIZE), &mut file)?;
    file.sync_all()
}

/// Whether the file system a directory lies on keeps a journal.
pub(super) fn has(dir: &Path) -> bool {
    let source = Command::new("findmnt").args(["-n", "-o", "SOURCE", "-T"]).arg(dir).output();
    let source = source.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let mut dump = Command::new("dumpe2fs");
    let told = dump.arg("-h").arg(source.unwrap_or_default()).output().map(|o| o.stdout);
    String::from_utf8_lossy(&told.unwrap_or_default()).contains("has_journal")
}
