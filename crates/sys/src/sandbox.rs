//! Giving up what a process will not need, for good.
//!
//! A [`Fence`] says what is kept: files and ports by Landlock, system calls by seccomp. It holds for
//! the process, its children and what they run, and nothing takes it down again. An older kernel
//! builds as much of it as it can, and [`Closed`] tells how much.

mod calls;
mod files;

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use calls::Calls;

use crate::dir::Dir;

/// The most names of a directory that are looked at for links.
const LINKS: usize = 10_000;

/// From now on no exec of this process or its children grants a privilege (set-uid bits,
/// file capabilities). Cannot be undone.
pub fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Whether a file could not be opened for reading though its permissions allow it: it lies outside
/// this process's fence, since a directory was replaced or a link leads elsewhere now.
pub fn is_out_of_reach(path: &Path, err: &io::Error) -> bool {
    // This call asks for permissions alone: no fence is asked.
    err.kind() == io::ErrorKind::PermissionDenied
        && rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok()
}

/// Where [`Fence::reads_and_links`] leads to in a directory: itself and the directories that links
/// in it lead to now, each by device and inode.
pub fn identity(dir: &Path) -> Vec<(u64, u64)> {
    let all = std::iter::once(dir.to_path_buf()).chain(linked(dir));
    let known = all.filter_map(|dir| std::fs::metadata(dir).ok());
    let mut places: Vec<_> = known.map(|about| (about.dev(), about.ino())).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// What a process keeps. It begins with nothing but what is open already, memory, time, and its own
/// end.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Files, or everything in a directory, to read.
    reads: Vec<PathBuf>,
    /// The same to change as well.
    writes: Vec<PathBuf>,
    /// Programs, or everything in a directory, to run.
    runs: Vec<PathBuf>,
    connects: Tcp,
    /// A connection may be given a source address.
    from: bool,
    calls: Calls,
}

/// TCP ports that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tcp {
    Any,
    Only(Vec<u16>),
}

impl Default for Fence {
    fn default() -> Self {
        Self::new()
    }
}

impl Fence {
    /// Nothing is kept.
    pub const fn new() -> Self {
        Self {
            reads: Vec::new(),
            writes: Vec::new(),
            runs: Vec::new(),
            connects: Tcp::Only(Vec::new()),
            from: false,
            calls: Calls::BASE,
        }
    }

    /// A file may be read, or a directory and all in it. What is not there when the fence is closed
    /// stays out of reach.
    #[must_use]
    pub fn reads(mut self, path: impl AsRef<Path>) -> Self {
        self.reads.push(path.as_ref().into());
        self.calls = self.calls.and(Calls::READ);
        self
    }

    /// A file may be read and changed, or a directory and all in it.
    #[must_use]
    pub fn writes(mut self, path: impl AsRef<Path>) -> Self {
        self.writes.push(path.as_ref().into());
        self.calls = self.calls.and(Calls::READ).and(Calls::WRITE);
        self
    }

    /// A directory and all in it may be read, and the directories that links in it lead to now.
    #[must_use]
    pub fn reads_and_links(self, dir: impl AsRef<Path>) -> Self {
        linked(dir.as_ref()).into_iter().fold(self.reads(dir), Self::reads)
    }

    /// The same, to be changed as well.
    #[must_use]
    pub fn writes_and_links(self, dir: impl AsRef<Path>) -> Self {
        linked(dir.as_ref()).into_iter().fold(self.writes(dir), Self::writes)
    }

    /// A program may be run, or every program in a directory. The programs are in the same fence,
    /// so that only our own can be meant.
    #[must_use]
    pub fn runs(mut self, path: impl AsRef<Path>) -> Self {
        self.runs.push(path.as_ref().into());
        self.calls = self.calls.and(Calls::READ).and(Calls::EXEC);
        self
    }

    /// These TCP ports may be connected to; none may be listened at.
    #[must_use]
    pub fn connects_to(mut self, ports: &[u16]) -> Self {
        self.connects = Tcp::Only(ports.into());
        self.calls = self.calls.and(Calls::INET);
        self
    }

    /// Any TCP port may be connected to; none may be listened at.
    #[must_use]
    pub fn connects(mut self) -> Self {
        self.connects = Tcp::Any;
        self.calls = self.calls.and(Calls::INET);
        self
    }

    /// A connection may be given the address it comes from (a bind to port 0).
    #[must_use]
    pub const fn connects_from(mut self) -> Self {
        self.from = true;
        self
    }

    /// These calls are kept too.
    #[must_use]
    pub const fn calls(mut self, calls: Calls) -> Self {
        self.calls = self.calls.and(calls);
        self
    }

    /// Closes it around this process. Before there is a second thread: files and ports are fenced
    /// for the calling thread and those it starts.
    ///
    /// # Errors
    /// The kernel knows fences and will not have this one. That it knows none is no error; see
    /// [`Closed`].
    pub fn close(&self) -> io::Result<Closed> {
        let files = self.close_paths()?;
        let calls = calls::restrict(self.calls)?;
        Ok(Closed { calls, ..files })
    }

    /// Closes the part of files and ports, which costs microseconds; that of calls costs one or two
    /// milliseconds of waiting, too much for a process that lives as long.
    ///
    /// # Errors
    /// As [`Fence::close`].
    pub fn close_paths(&self) -> io::Result<Closed> {
        no_new_privs()?;
        Ok(Closed { files: files::restrict(self)?, calls: Level::Nothing })
    }

    /// Closes it as far as this kernel can, and goes on in any case: what is missing, for the log.
    pub fn close_or_tell(&self) -> Option<String> {
        match self.close() {
            Ok(closed) if closed.is_whole() => None,
            Ok(closed) => Some(closed.to_string()),
            Err(error) => Some(format!("the fence cannot be built: {error}")),
        }
    }
}

/// Where links in a directory lead: to a directory, or to the one of a file, which may be replaced
/// by another of its name. A link that leads nowhere adds nothing.
fn linked(dir: &Path) -> Vec<PathBuf> {
    // Not by the library's own reader: if closing fails it panics.
    let names = Dir::open(dir).and_then(|dir| dir.names(LINKS)).unwrap_or_default();
    let links = names.iter().map(|name| dir.join(name)).filter(|path| path.is_symlink());
    let targets = links.filter_map(|link| std::fs::canonicalize(link).ok());
    targets
        .filter_map(|to| if to.is_dir() { Some(to) } else { to.parent().map(Into::into) })
        .collect()
}

/// How much of a fence the kernel has built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    files: Level,
    calls: Level,
}

/// How much of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Whole,
    Part,
    Nothing,
}

impl Closed {
    /// All of it.
    pub fn is_whole(&self) -> bool {
        self.files == Level::Whole && self.calls == Level::Whole
    }
}

impl fmt::Display for Closed {
    /// What is missing, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = match self.files {
            Level::Whole => "",
            Level::Part => "this kernel fences files only in part (Linux 6.12 or later would)",
            Level::Nothing => "this kernel does not fence files (Landlock is off or unknown)",
        };
        let calls = match self.calls {
            Level::Whole => "",
            Level::Part | Level::Nothing => "this kernel does not fence system calls (no seccomp)",
        };
        let and = if files.is_empty() || calls.is_empty() { "" } else { "; " };
        write!(f, "{files}{and}{calls}")
    }
}
