//! Files as the supervision programs open them: never hanging on a FIFO, never inherited.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Opens for reading.
pub fn open_read(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), OFlags::RDONLY, 0)
}

/// Opens for writing what exists; a FIFO nobody reads is an error (`ENXIO`).
pub fn open_write(path: impl AsRef<Path>) -> io::Result<File> {
    open(path.as_ref(), OFlags::WRONLY, 0)
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
    Ok(rustix::fs::open(path, how, Mode::from_raw_mode(mode))?.into())
}

/// Makes a FIFO.
pub fn mkfifo(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    Ok(rustix::fs::mknodat(CWD, path.as_ref(), FileType::Fifo, mode, 0)?)
}

/// Waits until the names in a directory are on the disk: after a link, rename or unlink in it.
pub fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path.as_ref(), how, Mode::empty())?;
    Ok(rustix::fs::fsync(dir)?)
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
