//! The pipe between a service and its log, held at both ends so that neither's death loses a line.
//!
//! It is a FIFO with a name, `NAME/supervise/pipe`: should svscan itself be killed, services and
//! logs keep it open, and the next svscan opens the same one. Each has its own direction and no
//! other: many programs of many users get the service's end, and none of them may read away what the
//! others said. So that a service is not told "broken pipe" while svscan, the log and the log's
//! supervise are dead and being started anew, its own supervise holds an end for reading as well
//! (`supervise::files`). When the service is gone the log meets the end of its input.
//!
//! Where no FIFO can be made (a read-only directory) it is a pipe without a name, which a killed
//! svscan's successor cannot find.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use sys::{fd, file};

/// Both ends; they close on exec.
#[derive(Debug)]
pub(super) struct Pipe {
    /// For the log.
    pub(super) read: OwnedFd,
    /// For the service.
    pub(super) write: OwnedFd,
}

impl Pipe {
    /// The pipe of a service.
    pub(super) fn open(name: &OsStr) -> io::Result<Pipe> {
        if let Ok(pipe) = Self::named(&Path::new(name).join("supervise")) {
            return Ok(pipe);
        }
        let (read, write) = fd::pipe()?;
        Ok(Pipe { read, write })
    }

    fn named(dir: &Path) -> io::Result<Pipe> {
        use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
        // Both may be there already; if they cannot be made, opening fails.
        let _ = std::fs::DirBuilder::new().mode(0o700).create(dir);
        let path = dir.join("pipe");
        let _ = file::mkfifo(&path, 0o600);
        let read = file::open_read(&path)?;
        if !read.metadata()?.file_type().is_fifo() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let write = file::open_write(&path)?;
        if !file::is_same(&read.metadata()?, &write.metadata()?) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        fd::set_nonblocking(&read, false)?;
        fd::set_nonblocking(&write, false)?;
        Ok(Pipe { read: read.into(), write: write.into() })
    }
}
