//! Files as the supervision programs open them: never hanging on a FIFO, never inherited.

use base::time::Moment;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::retry_on_intr;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Opens for reading.
pub fn open_read(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), OFlags::RDONLY, 0)
}

/// Opens for writing what exists; a FIFO nobody reads is an error (`ENXIO`).
pub fn open_write(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), OFlags::WRONLY, 0)
}

/// Whether anybody has a FIFO open for reading; `NotFound` if it is not there.
pub fn has_reader(fifo: impl AsRef<Path>) -> io::Result<bool> {
    match open_write(fifo) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Opens for appending, making the file with mode 0600 if need be.
pub fn open_append(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, 0o600)
}

/// Opens for writing from nothing, making the file with mode 0644 if need be.
pub fn open_trunc(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), OFlags::WRONLY | OFlags::TRUNC | OFlags::CREATE, 0o644)
}

/// Makes a new file for reading and writing with the given mode; `AlreadyExists` if there is one.
pub fn create_new(path: impl AsRef<Path>, mode: u32) -> io::Result<File> {
    open(path.as_ref(), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode)
}

fn open(path: &Path, how: OFlags, mode: u32) -> io::Result<File> {
    let how = how | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(retry_on_intr(|| rustix::fs::open(path, how, Mode::from_raw_mode(mode)))?.into())
}

/// Makes a FIFO.
pub fn mkfifo(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    Ok(rustix::fs::mknodat(CWD, path.as_ref(), FileType::Fifo, mode, 0)?)
}

/// Waits until the names in a directory are on the disk: after a link, rename or unlink in it.
pub fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = retry_on_intr(|| rustix::fs::open(path.as_ref(), how, Mode::empty()))?;
    Ok(retry_on_intr(|| rustix::fs::fsync(&dir))?)
}

/// The same of the directory that a file is in: its name is then as durable as its bytes.
pub fn sync_name(path: impl AsRef<Path>) -> io::Result<()> {
    let dir = path.as_ref().parent().filter(|dir| !dir.as_os_str().is_empty());
    sync_dir(dir.unwrap_or(Path::new(".")))
}

/// A step of [`replace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opening the file beside.
    Open,
    /// Writing it, and syncing it.
    Write,
    /// Giving it the name.
    Move,
}

/// Puts a file with these bytes in the place of another in one step: writes it whole as `tmp`, gives
/// it the name and syncs that. It has this mode, whatever the umask is, before any byte is in it.
///
/// What has the name `tmp` goes first, as a writer that died may have left it, and is never written
/// to: whoever else may write in the directory could have put a link there.
///
/// # Errors
/// Which step failed, and why; up to the last the old file stays, and `tmp` may.
pub fn replace(path: &Path, tmp: &Path, mode: u32, bytes: &[u8]) -> Result<(), (Step, io::Error)> {
    let mut file = anew(tmp, mode).map_err(|err| (Step::Open, err))?;
    let written =
        file.set_permissions(PermissionsExt::from_mode(mode)).and_then(|()| file.write_all(bytes));
    written.and_then(|()| file.sync_all()).map_err(|err| (Step::Write, err))?;
    let moved = std::fs::rename(tmp, path).and_then(|()| sync_name(path));
    moved.map_err(|err| (Step::Move, err))
}

fn anew(path: &Path, mode: u32) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => create_new(path, mode),
    }
}

/// Has the kernel begin to write these bytes of a file to the disk, without waiting for it: what is
/// synced later then takes less time. Makes nothing durable, and is no error anywhere.
pub fn begin_writing(file: impl AsFd, from: u64, bytes: u64) {
    let (Ok(from), Ok(bytes)) = (i64::try_from(from), i64::try_from(bytes)) else { return };
    // SAFETY: numbers only; the kernel touches no memory of ours.
    unsafe {
        let fd = file.as_fd().as_raw_fd();
        nix::libc::sync_file_range(fd, from, bytes, nix::libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// When a file was last written, in whole microseconds.
pub fn modified(file: &Metadata) -> Moment {
    let secs = u64::try_from(file.mtime()).unwrap_or(0).saturating_mul(1_000_000);
    Moment::from_micros(secs.saturating_add(u64::try_from(file.mtime_nsec() / 1_000).unwrap_or(0)))
}

/// Are these two looks at one file?
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Sets the mode bits new files do not get; returns the old ones.
pub fn umask(bits: u32) -> u32 {
    rustix::process::umask(Mode::from_raw_mode(bits)).as_raw_mode()
}

/// Makes durable everything written so far to the file system a descriptor lies on (`syncfs`, and
/// then `fsync` of what the descriptor is).
///
/// # Errors
/// The kernel's; since Linux 5.8 also a write-back that failed since the descriptor was opened.
pub fn sync_fs(fd: impl AsFd) -> io::Result<()> {
    rustix::fs::syncfs(&fd)?;
    // ext4 without a journal has the disk flush its cache before it writes inodes and directories,
    // and not after: only a sync of something, even if it is clean, brings those to rest.
    Ok(rustix::fs::fsync(&fd)?)
}

/// Whether [`sync_fs`] is known to reach the disk on this file system: those that keep it to their
/// own block devices, and in memory. Others (of another host, of a user's program) may answer for
/// their own caches only.
///
/// # Errors
/// The kernel's.
#[allow(clippy::useless_conversion, reason = "the kernel's types differ between processors")]
pub fn syncs_as_a_whole(fd: impl AsFd) -> io::Result<bool> {
    // statfs(2): ext2 to ext4, xfs, btrfs, f2fs, bcachefs, zfs, jfs, tmpfs, overlayfs.
    const KINDS: [u64; 9] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0xf2f5_2010,
        0xca45_1a4e,
        0x2fc1_2fc1,
        0x3153_464a,
        0x0102_1994,
        0x794c_7630,
    ];
    let kind = rustix::fs::fstatfs(fd)?.f_type;
    Ok(u64::try_from(kind).is_ok_and(|kind| KINDS.contains(&(kind & 0xffff_ffff))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_files_name_is_synced_wherever_it_lies() {
        for name in ["./Mailbox", "Mailbox", "/Mailbox", "src/Mailbox"] {
            assert!(sync_name(Path::new(name)).is_ok(), "{name}");
        }
        assert!(sync_name(Path::new("./no/such/Mailbox")).is_err());
    }

    #[test]
    fn what_replaces_a_file_has_its_mode_whatever_was_left_beside_it() {
        let dir = Yard::new("replace");
        let (path, tmp) = (dir.join("cdb"), dir.join("cdb.tmp"));
        // As a writer with umask 077 leaves it.
        std::fs::write(&tmp, "old and longer").unwrap();
        std::fs::set_permissions(&tmp, PermissionsExt::from_mode(0o600)).unwrap();
        replace(&path, &tmp, 0o644, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        // As somebody leaves it who would have it written elsewhere.
        std::os::unix::fs::symlink("secret", &tmp).unwrap();
        replace(&path, &tmp, 0o600, b"newer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode(), 0o100_600);
        assert!(!dir.join("secret").exists() && !tmp.exists());
        std::fs::create_dir(&tmp).unwrap();
        assert_eq!(replace(&path, &tmp, 0o600, b"").unwrap_err().0, Step::Open);
    }
}
