//! A directory held open, and the files in it by name: what happens here happens in that
//! directory even if somebody renames it meanwhile.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How a file is opened. None of them waits for a FIFO's other end, all close on exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Read only.
    Read,
    /// Read only, leaving the file's access time alone; for the file's owner.
    Glance,
    /// Write only, from the start, what is there already.
    Write,
    /// Append, made if missing with mode 0600.
    Append,
    /// Write from nothing, made if missing with mode 0644.
    Truncate,
}

impl How {
    const fn flags(self) -> (OFlags, u32) {
        let ours = OFlags::CLOEXEC.union(OFlags::NONBLOCK);
        match self {
            How::Read => (ours, 0),
            How::Glance => (ours.union(OFlags::NOATIME), 0),
            How::Write => (ours.union(OFlags::WRONLY), 0),
            How::Append => {
                (ours.union(OFlags::WRONLY).union(OFlags::APPEND).union(OFlags::CREATE), 0o600)
            }
            How::Truncate => {
                (ours.union(OFlags::WRONLY).union(OFlags::TRUNC).union(OFlags::CREATE), 0o644)
            }
        }
    }
}

/// What `stat` tells of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Is it a directory?
    pub directory: bool,
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Names this file has.
    pub links: u64,
    /// Device and inode: the file's identity.
    pub identity: (u64, u64),
}

/// What a directory says of one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The file's number.
    pub inode: u64,
    /// Whether it is a plain file; `None` if this file system does not say.
    pub plain: Option<bool>,
}

/// How much of a directory is read at a time, in bytes.
const PIECE: usize = 32 << 10;

/// A directory held open.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Dir {
    /// Opens a directory by path.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Dir(rustix::fs::open(path.as_ref(), flags, Mode::empty())?))
    }

    /// Opens a directory in this one.
    pub fn within(&self, name: impl AsRef<Path>) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Dir(rustix::fs::openat(&self.0, name.as_ref(), flags, Mode::empty())?))
    }

    /// Makes this directory the working directory.
    pub fn enter(&self) -> io::Result<()> {
        Ok(rustix::process::fchdir(&self.0)?)
    }

    /// Opens a file.
    pub fn file(&self, name: impl AsRef<Path>, how: How) -> io::Result<File> {
        let (flags, mode) = how.flags();
        Ok(File::from(rustix::fs::openat(&self.0, name.as_ref(), flags, Mode::from(mode))?))
    }

    /// Makes a directory.
    pub fn make_dir(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name.as_ref(), Mode::from(mode))?)
    }

    /// Makes a FIFO.
    pub fn make_fifo(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mknodat(&self.0, name.as_ref(), FileType::Fifo, Mode::from(mode), 0)?)
    }

    /// Renames within this directory; what has the new name is replaced.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from.as_ref(), &self.0, to.as_ref())?)
    }

    /// Gives a file a second name in this directory.
    pub fn link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let none = AtFlags::empty();
        Ok(rustix::fs::linkat(&self.0, from.as_ref(), &self.0, to.as_ref(), none)?)
    }

    /// Removes a name that is not a directory.
    pub fn remove(&self, name: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name.as_ref(), AtFlags::empty())?)
    }

    /// What a name stands for, symbolic links followed.
    #[allow(clippy::useless_conversion, reason = "the kernel's types differ between processors")]
    pub fn stat(&self, name: impl AsRef<Path>) -> io::Result<Stat> {
        let stat = rustix::fs::statat(&self.0, name.as_ref(), AtFlags::empty())?;
        Ok(Stat {
            directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            mode: stat.st_mode & 0o7777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: u64::from(stat.st_nlink),
            identity: (u64::from(stat.st_dev), u64::from(stat.st_ino)),
        })
    }

    /// Bytes that whoever is not root may still write to the file system it lies on.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.0)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Shows every name but `.` and `..` to `each`, in the directory's own order, until it says
    /// false. For large directories: nothing is copied. Once per opened directory.
    pub fn entries(&self, mut each: impl FnMut(Entry<'_>) -> bool) -> io::Result<()> {
        let mut room = Vec::<u8>::with_capacity(PIECE);
        let mut entries = RawDir::new(&self.0, room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let plain = match entry.file_type() {
                FileType::Unknown => None,
                kind => Some(kind == FileType::RegularFile),
            };
            if name == b"." || name == b".." {
                continue;
            }
            if !each(Entry { name, inode: entry.ino(), plain }) {
                break;
            }
        }
        Ok(())
    }

    /// The names in this directory but `.` and `..`, in the directory's own order, at most `max`.
    pub fn names(&self, max: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let name = entry?;
            let name = name.file_name().to_bytes();
            if name != b"." && name != b".." && names.len() < max {
                names.push(OsStr::from_bytes(name).to_os_string());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use yard::Yard;

    #[test]
    fn a_file_made_renamed_linked_and_removed_is_seen_in_the_directory() {
        let path = Yard::new("sys-dir");
        let dir = Dir::open(&path).unwrap();
        dir.file("a", How::Truncate).unwrap().write_all(b"one").unwrap();
        dir.rename("a", "b").unwrap();
        dir.link("b", "c").unwrap();
        let stat = dir.stat("c").unwrap();
        assert_eq!((stat.size, stat.links, stat.directory), (3, 2, false));
        assert!(dir.free().unwrap() > 0);
        dir.file("b", How::Append).unwrap().write_all(b"two").unwrap();
        let mut text = String::new();
        dir.file("c", How::Read).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "onetwo");
        dir.remove("b").unwrap();
        assert_eq!(dir.names(10).unwrap(), ["c"]);
        assert_eq!(dir.file("b", How::Write).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_large_directory_is_shown_whole_and_says_what_is_a_file() {
        let path = Yard::new("sys-entries");
        std::fs::create_dir_all(path.join("below")).unwrap();
        let names: Vec<String> = (0..1_000).map(|n| format!("{n:0>60}")).collect();
        names.iter().for_each(|name| std::fs::write(path.join(name), "").unwrap());
        let dir = Dir::open(&path).unwrap();
        let inode = dir.stat(&names[7]).unwrap().identity.1;
        let (mut files, mut others, mut seventh) = (Vec::new(), 0, 0);
        let each = |entry: Entry<'_>| {
            match entry.plain {
                Some(true) => files.push(String::from_utf8(entry.name.to_vec()).unwrap()),
                _ => others += 1,
            }
            if entry.name == names[7].as_bytes() {
                seventh = entry.inode;
            }
            true
        };
        dir.entries(each).unwrap();
        files.sort();
        assert_eq!((files, others, seventh), (names, 1, inode));
        let mut shown = 0;
        let some = Dir::open(&path).unwrap();
        some.entries(|_| {
            shown += 1;
            shown < 5
        })
        .unwrap();
        assert_eq!(shown, 5);
    }

    #[test]
    fn a_fifo_without_reader_is_refused_not_waited_for() {
        let path = Yard::new("sys-fifo");
        let dir = Dir::open(&path).unwrap();
        dir.make_fifo("f", 0o600).unwrap();
        let error = dir.file("f", How::Write).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error()));
        let reader = dir.file("f", How::Read).unwrap();
        assert!(dir.file("f", How::Write).is_ok());
        drop(reader);
    }
}
