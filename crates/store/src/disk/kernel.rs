//! The disk as the kernel does it: every name relative to one open directory.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{self, Advice, AtFlags, Mode, OFlags};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::{Access, Disk};

/// A real directory.
#[derive(Debug)]
pub struct Kernel {
    dir: OwnedFd,
}

impl Kernel {
    /// Opens the directory that all names are relative to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn at(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { dir: retry_on_intr(|| fs::open(dir, flags, Mode::empty()))? })
    }

    /// Takes an open directory.
    pub fn from_dir(dir: OwnedFd) -> Self {
        Self { dir }
    }

    fn open_with(&self, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(retry_on_intr(|| fs::openat(&self.dir, name, flags, mode))?)
    }

    fn open_dir(&self, name: &Path) -> io::Result<OwnedFd> {
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        self.open_with(name, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

impl Disk for Kernel {
    type File = OwnedFd;

    fn create(&self, name: &Path) -> io::Result<OwnedFd> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &Path, access: Access) -> io::Result<OwnedFd> {
        self.open_with(
            name,
            match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
            },
        )
    }

    fn read_at(&self, file: &OwnedFd, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| pread(file, &mut *rest, at.saturating_add(done as u64)))? {
                0 => break,
                n => done = done.saturating_add(n),
            }
        }
        Ok(done)
    }

    fn write_at(&self, file: &OwnedFd, bytes: &[u8], at: u64) -> io::Result<()> {
        let (mut rest, mut at) = (bytes, at);
        while !rest.is_empty() {
            let n = retry_on_intr(|| pwrite(file, rest, at))?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(n..).unwrap_or_default();
            at = at.saturating_add(n as u64);
        }
        Ok(())
    }

    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::fdatasync(file))?)
    }

    fn settle(&self, file: &OwnedFd) -> io::Result<()> {
        self.sync(file)?;
        match retry_on_intr(|| fs::fadvise(file, 0, None, Advice::DontNeed)) {
            // A file system without a page cache has nothing to forget.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn len(&self, file: &OwnedFd) -> io::Result<u64> {
        Ok(u64::try_from(retry_on_intr(|| fs::fstat(file))?.st_size).unwrap_or(0))
    }

    fn truncate(&self, file: &OwnedFd, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::ftruncate(file, len))?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::renameat(&self.dir, from, &self.dir, to))?)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::linkat(&self.dir, from, &self.dir, to, AtFlags::empty()))?)
    }

    fn unlink(&self, name: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::unlinkat(&self.dir, name, AtFlags::empty()))?)
    }

    fn make_dir(&self, name: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::mkdirat(&self.dir, name, Mode::RWXU))?)
    }

    fn sync_dir(&self, name: &Path) -> io::Result<()> {
        let dir = self.open_dir(name)?;
        Ok(retry_on_intr(|| fs::fsync(&dir))?)
    }

    fn list(&self, name: &Path) -> io::Result<Vec<OsString>> {
        names(rustix::fd::AsFd::as_fd(&self.open_dir(name)?))
    }
}

/// Every name in an open directory, sorted. An error of any entry is an error of the whole.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lives_through_its_names() {
        let dir = std::env::temp_dir().join(format!("kernel-disk-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
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
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
