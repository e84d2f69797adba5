//! The disk as far as a promise needs it: a dozen calls with two bodies.
//!
//! [`kernel::Kernel`] does them; [`sim::Sim`] pretends to, remembers what has not been synced, and
//! can lose or tear any part of it at any step. What must survive a power cut (the queue's log, a
//! Maildir delivery, a POP3 deletion) is written against [`Disk`], so that `tests/crash` can cut
//! the power everywhere.
//!
//! The contract is the weakest that real file systems keep: bytes are durable after
//! [`Disk::sync`] of their file, names after [`Disk::sync_dir`] of their directory, and what has
//! not been synced may be there in any part and order. After a failed sync nothing may be assumed
//! of that file, not even by syncing it again.

pub mod kernel;
mod piece;
pub mod sim;

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// A directory and what is below it. Names are relative to it; no call follows a symbolic link
/// in the last component. Every call goes on after an interrupting signal.
pub trait Disk {
    /// An open file; closed when dropped (closing syncs nothing).
    type File: std::fmt::Debug;

    /// Makes a file that was not there, open for reading and writing, mode 0600.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the disk says.
    fn create(&self, name: &Path) -> io::Result<Self::File>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// `NotFound`, or what the disk says.
    fn open(&self, name: &Path, access: Access) -> io::Result<Self::File>;

    /// Reads at an offset until `buf` is full or the file ends; how many bytes were read.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, file: &Self::File, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at an offset, making the file longer if need be.
    ///
    /// # Errors
    /// What the disk says; some of the bytes may then be written.
    fn write_at(&self, file: &Self::File, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Writes so many zeros, at most [`sys::at::ZEROS`], at an offset, making the file longer if need
    /// be. They need not be kept in memory. Nobody else may use the file meanwhile.
    ///
    /// # Errors
    /// As [`Disk::write_at`]; `InvalidInput` if they are more.
    fn write_zeros(&self, file: &Self::File, len: usize, at: u64) -> io::Result<()> {
        self.write_at(file, &vec![0; len], at)
    }

    /// Makes the file's bytes and its length durable (not its name).
    ///
    /// # Errors
    /// What the disk says; never try again and believe the answer.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Syncs, then forgets what is cached, so that reading tells what the disk holds. An earlier
    /// failed sync leaves bytes in the cache that look written and are not.
    ///
    /// # Errors
    /// What the disk says.
    fn settle(&self, file: &Self::File) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self, file: &Self::File) -> io::Result<u64>;

    /// How many bytes of the file have their place on the disk: writing there takes no more room.
    ///
    /// # Errors
    /// What the disk says.
    fn placed(&self, file: &Self::File) -> io::Result<u64>;

    /// Sets the file's length.
    ///
    /// # Errors
    /// What the disk says.
    fn truncate(&self, file: &Self::File, len: u64) -> io::Result<()>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name that nothing has; to others it has one or the other.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the disk says.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes durable all bytes and names there are on this disk when it is called.
    ///
    /// # Errors
    /// What the disk says, also of what it failed to write before this call and since the disk was
    /// opened: then nothing may be assumed of anything that was not durable, not even by syncing
    /// again.
    fn sync_fs(&self) -> io::Result<()>;

    /// Brings to rest what the sync of a new file may leave undone: on ext4 without a journal a
    /// sync of the whole file system that goes on meanwhile takes a file's inode for written before
    /// it is.
    fn sync_made(&self) -> io::Result<()> {
        Ok(())
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the disk says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// `NotFound`, or what the disk says.
    fn unlink(&self, name: &Path) -> io::Result<()>;

    /// Makes a directory, mode 0700.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the disk says.
    fn make_dir(&self, name: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable; the empty name is the disk's own directory.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_dir(&self, name: &Path) -> io::Result<()>;

    /// The names in a directory, without `.` and `..`, sorted.
    ///
    /// # Errors
    /// What the disk says; a listing that fails halfway is an error, never a shorter listing.
    fn list(&self, name: &Path) -> io::Result<Vec<OsString>>;
}

/// Reads exactly `len` bytes at an offset.
///
/// # Errors
/// `UnexpectedEof` if the file ends before, or what the disk says.
pub fn read_exact<D: Disk>(disk: &D, file: &D::File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    if disk.read_at(file, &mut buf, at)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(buf)
}

/// Makes a directory if it is not there; true if it was made.
///
/// # Errors
/// What the disk says.
pub fn ensure_dir<D: Disk>(disk: &D, name: &Path) -> io::Result<bool> {
    match disk.make_dir(name) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes a name if it is there.
///
/// # Errors
/// What the disk says.
pub fn remove<D: Disk>(disk: &D, name: &Path) -> io::Result<()> {
    match disk.unlink(name) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A disk that is borrowed, so that a test can look at it after whoever used it.
impl<D: Disk> Disk for &D {
    type File = D::File;

    fn create(&self, name: &Path) -> io::Result<D::File> {
        (**self).create(name)
    }
    fn open(&self, name: &Path, access: Access) -> io::Result<D::File> {
        (**self).open(name, access)
    }
    fn read_at(&self, file: &D::File, buf: &mut [u8], at: u64) -> io::Result<usize> {
        (**self).read_at(file, buf, at)
    }
    fn write_at(&self, file: &D::File, bytes: &[u8], at: u64) -> io::Result<()> {
        (**self).write_at(file, bytes, at)
    }
    fn write_zeros(&self, file: &D::File, len: usize, at: u64) -> io::Result<()> {
        (**self).write_zeros(file, len, at)
    }
    fn sync(&self, file: &D::File) -> io::Result<()> {
        (**self).sync(file)
    }
    fn settle(&self, file: &D::File) -> io::Result<()> {
        (**self).settle(file)
    }
    fn len(&self, file: &D::File) -> io::Result<u64> {
        (**self).len(file)
    }
    fn placed(&self, file: &D::File) -> io::Result<u64> {
        (**self).placed(file)
    }
    fn truncate(&self, file: &D::File, len: u64) -> io::Result<()> {
        (**self).truncate(file, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).rename_new(from, to)
    }
    fn sync_fs(&self) -> io::Result<()> {
        (**self).sync_fs()
    }
    fn sync_made(&self) -> io::Result<()> {
        (**self).sync_made()
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).link(from, to)
    }
    fn unlink(&self, name: &Path) -> io::Result<()> {
        (**self).unlink(name)
    }
    fn make_dir(&self, name: &Path) -> io::Result<()> {
        (**self).make_dir(name)
    }
    fn sync_dir(&self, name: &Path) -> io::Result<()> {
        (**self).sync_dir(name)
    }
    fn list(&self, name: &Path) -> io::Result<Vec<OsString>> {
        (**self).list(name)
    }
}
