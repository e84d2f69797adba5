//! Files and names below one open directory, with every wait for the disk in the caller's hands.
//! Every call goes on after an interrupting signal.

use rustix::fs::{self, Advice, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// How a file is opened; a symbolic link in the last component is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
    /// For reading and writing a file that was not there, mode 0600.
    New,
    /// To see what it is and to whom it belongs: without waiting for whoever holds a FIFO's or a
    /// terminal's other end.
    Look,
}

/// A directory below which names are looked up.
#[derive(Debug)]
pub struct At(OwnedFd);

impl AsFd for At {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl At {
    /// Opens the directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(retry_on_intr(|| fs::open(dir, flags, Mode::empty()))?))
    }

    /// Opens a directory below this one.
    pub fn below(&self, name: &Path) -> io::Result<Self> {
        self.dir(name).map(Self)
    }

    /// Opens a directory below this one also if its name is a link to it.
    pub fn follow(&self, name: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(retry_on_intr(|| fs::openat(&self.0, name, flags, Mode::empty()))?))
    }

    /// Opens a directory several steps below this one. `step` opens each, given the one above and the
    /// name; a path that begins with `/` begins at the root.
    pub fn walk(
        &self,
        path: &Path,
        step: impl Fn(&Self, &Path) -> io::Result<Self>,
    ) -> io::Result<Self> {
        let here = self.below(Path::new(""))?;
        path.components().try_fold(here, |above, name| step(&above, Path::new(name.as_os_str())))
    }

    /// A step of a walk where others may have been: a link is followed only if it is root's and lies
    /// in a directory of root's, as others could lead root anywhere. `otherwise` has the last word
    /// where there is nothing, or nothing to enter.
    pub fn step(
        &self,
        name: &Path,
        otherwise: impl FnOnce(io::Error) -> io::Result<Self>,
    ) -> io::Result<Self> {
        match self.below(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => otherwise(e),
            Err(_) if self.owner(Path::new("."))? == 0 && self.owner(name)? == 0 => {
                self.follow(name)
            }
            entered => entered.or_else(otherwise),
        }
    }

    /// Opens a directory several steps below this one, each as [`At::step`] does.
    pub fn deep(&self, path: &Path) -> io::Result<Self> {
        self.walk(path, |above, name| above.step(name, Err))
    }

    /// Renames into another directory, replacing what has the new name.
    pub fn rename_into(&self, from: &Path, other: &Self, to: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::renameat(&self.0, from, &other.0, to))?)
    }

    /// Makes a FIFO, mode 0600.
    pub fn make_fifo(&self, name: &Path) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(retry_on_intr(|| fs::mknodat(&self.0, name, FileType::Fifo, mode, 0))?)
    }

    /// The uid a name belongs to; a link's own.
    pub fn owner(&self, name: &Path) -> io::Result<u32> {
        let how = AtFlags::SYMLINK_NOFOLLOW;
        Ok(retry_on_intr(|| fs::statat(&self.0, name, how))?.st_uid)
    }

    /// Opens a file.
    pub fn file(&self, name: &Path, how: Opening) -> io::Result<OwnedFd> {
        self.with(
            name,
            match how {
                Opening::Read => OFlags::RDONLY,
                Opening::Write => OFlags::RDWR,
                Opening::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
                Opening::Look => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            },
        )
    }

    /// Renames, replacing what has the new name.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::renameat(&self.0, from, &self.0, to))?)
    }

    /// Renames; what already has the new name stays, and is `AlreadyExists`.
    ///
    /// A file system that cannot do this in one step gives the file its new name and then takes
    /// the old one away.
    pub fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let how = RenameFlags::NOREPLACE;
        match retry_on_intr(|| fs::renameat_with(&self.0, from, &self.0, to, how)) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.link(from, to)?;
                self.unlink(from)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Makes durable everything written so far to the file system this directory is on; also tells
    /// of a write-back that failed since the directory was opened.
    pub fn sync_fs(&self) -> io::Result<()> {
        crate::file::sync_fs(&self.0)
    }

    /// Gives a file a second name.
    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::linkat(&self.0, from, &self.0, to, AtFlags::empty()))?)
    }

    /// Removes a name that is not a directory.
    pub fn unlink(&self, name: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::unlinkat(&self.0, name, AtFlags::empty()))?)
    }

    /// Makes a directory, mode 0700.
    pub fn make_dir(&self, name: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::mkdirat(&self.0, name, Mode::RWXU))?)
    }

    /// Makes the names in a directory durable; the empty name is this directory.
    pub fn sync_dir(&self, name: &Path) -> io::Result<()> {
        let dir = self.dir(name)?;
        Ok(retry_on_intr(|| fs::fsync(&dir))?)
    }

    /// Every name in a directory but `.` and `..`, sorted. An error of any entry is an error of
    /// the whole.
    pub fn names(&self, name: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(self.dir(name)?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn with(&self, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(retry_on_intr(|| fs::openat(&self.0, name, flags, mode))?)
    }

    fn dir(&self, name: &Path) -> io::Result<OwnedFd> {
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        self.with(name, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

/// Reads at an offset until `buf` is full or the file ends; how many bytes were read.
pub fn read(file: impl AsFd, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match retry_on_intr(|| pread(&file, &mut *rest, at.saturating_add(done as u64)))? {
            0 => break,
            n => done = done.saturating_add(n),
        }
    }
    Ok(done)
}

/// Writes all bytes at an offset.
pub fn write(file: impl AsFd, bytes: &[u8], at: u64) -> io::Result<()> {
    let (mut rest, mut at) = (bytes, at);
    while !rest.is_empty() {
        let n = retry_on_intr(|| pwrite(&file, rest, at))?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = rest.get(n..).unwrap_or_default();
        at = at.saturating_add(n as u64);
    }
    Ok(())
}

/// The most that [`write_zeros`] writes at a time.
pub const ZEROS: usize = 1 << 20;

/// Where a file system wants what passes the cache.
#[repr(align(4096))]
struct Aligned([u8; ZEROS]);

/// Writes zeros at an offset, at most [`ZEROS`], past the cache where the file system can (`O_DIRECT`,
/// open(2)): who fills a file with zeros will not read them. Nobody else may use the description
/// meanwhile.
pub fn write_zeros(file: impl AsFd, len: usize, at: u64) -> io::Result<()> {
    static NOTHING: Aligned = Aligned([0; ZEROS]);
    let zeros = NOTHING.0.get(..len).ok_or(io::ErrorKind::InvalidInput)?;
    let flags = fs::fcntl_getfl(&file)?;
    let passed = match fs::fcntl_setfl(&file, flags | OFlags::DIRECT) {
        Ok(()) => {
            let outcome = write(&file, zeros, at);
            fs::fcntl_setfl(&file, flags)?;
            outcome
        }
        Err(no) => Err(no.into()),
    };
    match passed {
        // It cannot, or not at such an offset.
        Err(no) if no.kind() == io::ErrorKind::InvalidInput => write(&file, zeros, at),
        outcome => outcome,
    }
}

/// Makes a file's bytes and length durable.
pub fn sync(file: impl AsFd) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fdatasync(&file))?)
}

/// Drops what is cached of a file and clean, so that the next read asks the disk.
pub fn forget_cache(file: impl AsFd) -> io::Result<()> {
    match retry_on_intr(|| fs::fadvise(&file, 0, None, Advice::DontNeed)) {
        // A file system without a page cache has nothing to forget.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Bytes of a file that have their place on the disk (`st_blocks`).
pub fn placed(file: impl AsFd) -> io::Result<u64> {
    let blocks = retry_on_intr(|| fs::fstat(&file))?.st_blocks;
    Ok(u64::try_from(blocks).unwrap_or(0).saturating_mul(512))
}

/// A file's length in bytes.
pub fn len(file: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(retry_on_intr(|| fs::fstat(&file))?.st_size).unwrap_or(0))
}

/// Sets a file's length.
pub fn truncate(file: impl AsFd, len: u64) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::ftruncate(&file, len))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_link_is_not_followed_and_a_new_file_is_new() {
        let path = Yard::new("sys-at");
        let at = At::open(&path).unwrap();
        let file = at.file(Path::new("a"), Opening::New).unwrap();
        assert!(at.file(Path::new("a"), Opening::New).is_err());
        write(&file, b"hello", 2).unwrap();
        sync(&file).unwrap();
        forget_cache(&file).unwrap();
        let mut buf = [9; 9];
        assert_eq!(read(&file, &mut buf, 0).unwrap(), 7);
        assert_eq!(&buf, b"\0\0hello\x09\x09");
        // Whole blocks and a few bytes at an odd place.
        write_zeros(&file, 8192, 4096).unwrap();
        write_zeros(&file, 3, 4).unwrap();
        assert!(write_zeros(&file, ZEROS + 1, 0).is_err());
        write(&file, b"x", 9).unwrap();
        assert_eq!(len(&file).unwrap(), 12288);
        assert_eq!(read(&file, &mut buf, 2).unwrap(), 9);
        assert_eq!(&buf, b"he\0\0\0\0\0x\0");
        std::os::unix::fs::symlink("a", path.join("l")).unwrap();
        assert!(at.file(Path::new("l"), Opening::Read).is_err());
        crate::file::mkfifo(path.join("f"), 0o600).unwrap();
        assert!(at.file(Path::new("f"), Opening::Look).is_ok());
        std::fs::remove_file(path.join("f")).unwrap();
        std::os::unix::fs::symlink(".", path.join("d")).unwrap();
        assert!(at.below(Path::new("d")).is_err() && at.below(Path::new(".")).is_ok());
        assert!(at.follow(Path::new("d")).is_ok() && at.follow(Path::new("a")).is_err());
        let mine = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&path).unwrap());
        assert_eq!(at.owner(Path::new("d")).unwrap(), mine);
        std::fs::remove_file(path.join("d")).unwrap();
        assert_eq!(at.names(Path::new("")).unwrap(), ["a", "l"]);
    }

    #[test]
    fn a_walk_follows_roots_links_alone_and_asks_about_what_is_not_there() {
        let path = Yard::new("sys-at-walk");
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", path.join("l")).unwrap();
        let at = At::open(&path).unwrap();
        let names = |dir: &Path| at.deep(dir).unwrap().names(Path::new("")).unwrap();
        assert_eq!(names(Path::new("a/../a/.")), ["b"]);
        assert_eq!(names(&path), ["a", "l"]);
        assert!(at.walk(Path::new("l/b"), At::below).is_err());
        assert_eq!(at.deep(Path::new("l/b")).is_ok(), crate::user::euid() == 0);
        let missing = at.deep(Path::new("a/c/d")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let make = |above: &At, name: &Path| {
            above.step(name, |_| above.make_dir(name).and_then(|()| above.below(name)))
        };
        at.walk(Path::new("a/c/d"), make).unwrap();
        assert!(path.join("a/c/d").is_dir());
        // A link of somebody else's, wherever it leads.
        if crate::user::euid() == 0 {
            std::os::unix::fs::lchown(path.join("l"), Some(47_794), None).unwrap();
            assert!(at.deep(Path::new("l/b")).is_err());
        }
    }
}
