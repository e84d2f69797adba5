//! The disk as the kernel does it: every name relative to one open directory.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::at::{self, At, Opening};

use super::{Access, Disk};

/// A real directory.
#[derive(Debug)]
pub struct Kernel {
    dir: At,
}

impl Kernel {
    /// Opens the directory that all names are relative to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn at(dir: &Path) -> io::Result<Self> {
        At::open(dir).map(|dir| Self { dir })
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Disk for Kernel {
    type File = OwnedFd;

    fn create(&self, name: &Path) -> io::Result<OwnedFd> {
        self.dir.file(name, Opening::New)
    }

    fn open(&self, name: &Path, access: Access) -> io::Result<OwnedFd> {
        let how = match access {
            Access::Read => Opening::Read,
            Access::Write => Opening::Write,
        };
        self.dir.file(name, how)
    }

    fn read_at(&self, file: &OwnedFd, buf: &mut [u8], at: u64) -> io::Result<usize> {
        at::read(file, buf, at)
    }

    fn write_at(&self, file: &OwnedFd, bytes: &[u8], at: u64) -> io::Result<()> {
        at::write(file, bytes, at)
    }

    fn write_zeros(&self, file: &OwnedFd, len: usize, at: u64) -> io::Result<()> {
        at::write_zeros(file, len, at)
    }

    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        at::sync(file)
    }

    fn settle(&self, file: &OwnedFd) -> io::Result<()> {
        at::sync(file)?;
        at::forget_cache(file)
    }

    fn len(&self, file: &OwnedFd) -> io::Result<u64> {
        at::len(file)
    }

    fn placed(&self, file: &OwnedFd) -> io::Result<u64> {
        at::placed(file)
    }

    fn truncate(&self, file: &OwnedFd, len: u64) -> io::Result<()> {
        at::truncate(file, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.dir.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.dir.rename_new(from, to)
    }

    fn sync_fs(&self) -> io::Result<()> {
        self.dir.sync_fs()
    }

    fn sync_made(&self) -> io::Result<()> {
        self.dir.sync_fs()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.dir.link(from, to)
    }

    fn unlink(&self, name: &Path) -> io::Result<()> {
        self.dir.unlink(name)
    }

    fn make_dir(&self, name: &Path) -> io::Result<()> {
        self.dir.make_dir(name)
    }

    fn sync_dir(&self, name: &Path) -> io::Result<()> {
        self.dir.sync_dir(name)
    }

    fn list(&self, name: &Path) -> io::Result<Vec<OsString>> {
        self.dir.names(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_file_lives_through_its_names() {
        let dir = Yard::new("kernel-disk");
        let disk = Kernel::at(&dir).unwrap();
        disk.make_dir(Path::new("d")).unwrap();
        let file = disk.create(Path::new("d/a")).unwrap();
        assert!(disk.create(Path::new("d/a")).is_err());
        disk.write_at(&file, b"hello", 3).unwrap();
        disk.settle(&file).unwrap();
        disk.link(Path::new("d/a"), Path::new("d/b")).unwrap();
        disk.rename(Path::new("d/a"), Path::new("d/c")).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        assert_eq!(disk.list(Path::new("d")).unwrap(), ["b", "c"]);
        let again = disk.open(Path::new("d/c"), Access::Read).unwrap();
        let mut buf = [9; 10];
        assert_eq!(disk.read_at(&again, &mut buf, 0).unwrap(), 8);
        assert_eq!(&buf[..8], b"\0\0\0hello");
        disk.truncate(&file, 4).unwrap();
        assert_eq!(disk.len(&again).unwrap(), 4);
    }
}
