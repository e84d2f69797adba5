//! A queue being written for stock qmail. Until it is whole there is no `lock/sendmutex` in it, so
//! that no qmail-send starts on half of one.
//!
//! Root writes here what will be the roles'. So until all is written every directory is the writer's
//! alone, no link is followed, and owner and mode are given to what is open, never to a name.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::time::Moment;
use store::home::{Home, Roles};
use store::stock::{Part, SPLIT, Stock};
use sys::at::{At, Opening};
use sys::user::{self, Ids};

use crate::Trouble;
use crate::permissions::{about, enter, give};

/// What `lock/sendmutex` is called until all is there.
const UNFINISHED: &str = "sendmutex.export";
const MUTEX: &str = "lock/sendmutex";

/// Directories of the queue, and whether they are qmail-queue's or qmail-send's.
const DIRS: [(&str, Whose, u32); 9] = [
    ("lock", Whose::Queue, 0o750),
    ("pid", Whose::Queue, 0o700),
    ("intd", Whose::Queue, 0o700),
    ("todo", Whose::Queue, 0o750),
    ("mess", Whose::Queue, 0o750),
    ("bounce", Whose::Send, 0o700),
    ("info", Whose::Send, 0o700),
    ("local", Whose::Send, 0o700),
    ("remote", Whose::Send, 0o700),
];
/// Those with sub-directories.
const SPLIT_DIRS: [&str; 4] = ["mess", "info", "local", "remote"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Queue,
    Send,
}

/// The queue.
pub(super) struct Target {
    root: PathBuf,
    top: At,
    roles: Roles,
    split: u64,
    _stopped: Option<File>,
}

impl Target {
    /// Makes a queue, or empties what an interrupted export left; one that is there must be
    /// stopped and without letters.
    pub(super) fn prepare(root: &Path, home: &Home) -> Result<Self, Trouble> {
        let roles = home.roles().map_err(|e| e.to_string())?;
        let top = about(root, enter(root))?;
        let has = |name: &str| top.owner(Path::new(name)).is_ok();
        let there = has("mess");
        let lock = top.below(Path::new("lock"));
        let unfinished = lock.is_ok_and(|lock| lock.owner(Path::new(UNFINISHED)).is_ok());
        let names = about(root, top.names(Path::new("")))?;
        if !there && !unfinished && !names.is_empty() {
            return Err(format!("{}: is neither empty nor a queue", root.display()));
        }
        let whole = there && !unfinished;
        judge(root, &top, whole.then_some(&roles))?;
        let stopped = super::lock(root, super::STOP_THERE)?;
        let split = SPLIT;
        let mut target = Self { root: root.to_path_buf(), top, roles, split, _stopped: stopped };
        if whole {
            target.begin_there()?;
        } else {
            target.make()?;
        }
        Ok(target)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A directory below, however deep.
    fn dir(&self, name: &str) -> Result<At, Trouble> {
        about(&self.at(name), self.top.walk(Path::new(name), At::below))
    }

    /// In a queue that is there.
    fn begin_there(&mut self) -> Result<(), Trouble> {
        let stock = Stock::open(&self.root)?;
        let letters = stock.letters();
        if letters.iter().any(|&(number, _)| stock.path(Part::Mess, number).is_some()) {
            let root = self.root.display();
            return Err(format!("{root}: there are letters in it; name a new directory"));
        }
        let mess = self.dir("mess")?;
        let mut split = 0_u64;
        while mess.below(Path::new(&split.to_string())).is_ok() {
            split = split.saturating_add(1);
        }
        self.split = split;
        if split == 0 {
            return Err(format!(
                "{}: is not split into directories 0, 1, …",
                self.at("mess").display()
            ));
        }
        self.take(false)?;
        let (lock, mutex) = (self.dir("lock")?, self.at(MUTEX));
        about(&mutex, lock.rename(Path::new("sendmutex"), Path::new(UNFINISHED)))?;
        about(&mutex, lock.sync_dir(Path::new("")))
    }

    /// Anew, or again.
    fn make(&mut self) -> Result<(), Trouble> {
        let Roles { qmails, qmailr, .. } = self.roles.clone();
        about(&self.root, alone(&self.top))?;
        self.part("lock", true)?;
        let lock = self.dir("lock")?;
        // First of all: whoever comes next knows that the rest is nobody's yet.
        if lock.owner(Path::new(UNFINISHED)).is_err() {
            self.file("lock", UNFINISHED, b"", 0o600, &qmails, None)?;
            about(&self.at("lock"), lock.sync_dir(Path::new("")))?;
        }
        self.take(true)?;
        self.empty()?;
        if lock.owner(Path::new("tcpto")).is_err() {
            self.file("lock", "tcpto", &[0; 1024], 0o644, &qmailr, None)?;
        }
        about(&self.at("lock/trigger"), trigger(&lock, &qmails))
    }

    /// From here on nobody else comes to the directories; those that are missing are made, or not.
    fn take(&self, make: bool) -> Result<(), Trouble> {
        about(&self.root, alone(&self.top))?;
        DIRS.iter().try_for_each(|(name, ..)| self.part(name, make))?;
        self.splits().try_for_each(|name| self.part(&name, make))
    }

    fn splits(&self) -> impl Iterator<Item = String> {
        let split = self.split;
        SPLIT_DIRS.iter().flat_map(move |dir| (0..split).map(move |n| format!("{dir}/{n}")))
    }

    fn part(&self, name: &str, make: bool) -> Result<(), Trouble> {
        let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
        let (above, path, last) = (self.dir(above)?, self.at(name), Path::new(last));
        match above.make_dir(last) {
            _ if !make => {}
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return about(&path, Err(e)),
            _ => {}
        }
        match above.below(last) {
            Err(e) if e.kind() == ErrorKind::NotFound && !make => Ok(()),
            opened => about(&path, opened.and_then(|at| alone(&at))),
        }
    }

    /// Removes what an interrupted export has written.
    fn empty(&self) -> Result<(), Trouble> {
        let stock = Stock::open(&self.root)?;
        for path in stock.files() {
            let above = path.parent().and_then(|above| above.strip_prefix(&self.root).ok());
            let above = self.dir(&above.unwrap_or(Path::new("")).to_string_lossy())?;
            let name = Path::new(path.file_name().unwrap_or_default());
            about(path, above.unlink(name))?;
        }
        let pid = self.dir("pid")?;
        for name in about(&self.at("pid"), pid.names(Path::new("")))? {
            about(&self.at("pid").join(&name), pid.unlink(Path::new(&name)))?;
        }
        Ok(())
    }

    /// Writes the letter itself; its number there.
    pub(super) fn mess(&self, letter: OwnedFd, size: u64, birth: Moment) -> Result<u64, Trouble> {
        let (fresh, pid, name) = (self.at("pid/export"), self.dir("pid")?, Path::new("export"));
        let mut file = File::from(about(&fresh, pid.file(name, Opening::New))?);
        let copied = about(&fresh, io::copy(&mut File::from(letter).take(size), &mut file))?;
        if copied != size {
            return Err(format!("a letter has {copied} bytes instead of {size}"));
        }
        settle(&fresh, &file, 0o644, &self.roles.qmailq, Some(birth))?;
        let number = about(&fresh, file.metadata())?.ino();
        let place = self.place(Part::Mess, number);
        let (mess, path) = (self.dir(&place)?, self.at(&place).join(number.to_string()));
        about(&path, pid.rename_into(name, &mess, Path::new(&number.to_string())))?;
        Ok(number)
    }

    /// Writes another file of a letter.
    pub(super) fn record(
        &self,
        part: Part,
        number: u64,
        bytes: &[u8],
        time: Option<Moment>,
    ) -> Result<(), Trouble> {
        let name = number.to_string();
        self.file(&self.place(part, number), &name, bytes, 0o600, &self.roles.qmails, time)
    }

    /// The directory of a letter's file.
    fn place(&self, part: Part, number: u64) -> String {
        match part {
            Part::Todo | Part::Bounce => part.name().to_owned(),
            _ => format!("{}/{}", part.name(), number.checked_rem(self.split).unwrap_or(0)),
        }
    }

    fn file(
        &self,
        dir: &str,
        name: &str,
        bytes: &[u8],
        mode: u32,
        owner: &Ids,
        time: Option<Moment>,
    ) -> Result<(), Trouble> {
        let path = self.at(dir).join(name);
        let mut file =
            File::from(about(&path, self.dir(dir)?.file(Path::new(name), Opening::New))?);
        about(&path, file.write_all(bytes))?;
        settle(&path, &file, mode, owner, time)
    }

    /// Everything is there: puts it on disk, gives the directories to whom they belong, then lets a
    /// qmail-send start.
    pub(super) fn finish(self) -> Result<(), Trouble> {
        about(&self.root, self.top.sync_fs())?;
        let lock = self.dir("lock")?;
        let owners = |name: &str| {
            let dir = name.split('/').next().unwrap_or(name);
            let (_, whose, mode) = DIRS.iter().find(|(known, ..)| *known == dir)?;
            Some((
                if *whose == Whose::Queue { &self.roles.qmailq } else { &self.roles.qmails },
                *mode,
            ))
        };
        // From below: whoever may come to the queue finds all of it given away.
        for name in self.splits().chain(DIRS.iter().map(|(name, ..)| (*name).to_owned())) {
            let (Some((owner, mode)), Ok(dir)) = (owners(&name), self.dir(&name)) else { continue };
            about(&self.at(&name), give(&dir, mode, owner))?;
        }
        about(&self.at(MUTEX), lock.rename(Path::new(UNFINISHED), Path::new("sendmutex")))?;
        about(&self.root, give(&self.top, 0o750, &self.roles.qmailq))?;
        about(&self.root, self.top.sync_dir(Path::new("")))?;
        about(&self.at("lock"), lock.sync_dir(Path::new("")))
    }
}

/// Whether a directory may become a queue: the writer's own; one that is whole also if it belongs
/// to qmail-queue.
fn judge(path: &Path, top: &At, whole: Option<&Roles>) -> Result<(), Trouble> {
    let owner = about(path, top.owner(Path::new(".")))?;
    if owner == user::euid() || whole.is_some_and(|roles| roles.qmailq.uid == owner) {
        return Ok(());
    }
    Err(format!(
        "{}: belongs to uid {owner}, who may have put anything into it: name a new directory",
        path.display()
    ))
}

/// A directory becomes the writer's alone.
fn alone(dir: &At) -> io::Result<()> {
    give(dir, 0o700, &Ids { uid: user::euid(), gid: user::egid(), groups: Vec::new() })
}

/// Makes the FIFO, if it is not there.
fn trigger(lock: &At, owner: &Ids) -> io::Result<()> {
    let name = Path::new("trigger");
    match lock.make_fifo(name) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let fifo = File::from(lock.file(name, Opening::Look)?);
    let there = fifo.metadata()?;
    if !there.file_type().is_fifo() || there.nlink() != 1 {
        return Err(io::Error::other("is no FIFO of its own: remove it"));
    }
    give(fifo.as_fd(), 0o622, owner)
}

/// Gives a file its owner, mode and time.
fn settle(
    path: &Path,
    file: &File,
    mode: u32,
    owner: &Ids,
    time: Option<Moment>,
) -> Result<(), Trouble> {
    about(path, give(file, mode, owner))?;
    let Some(time) = time else { return Ok(()) };
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(time.micros()));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    let times = std::fs::FileTimes::new().set_accessed(time).set_modified(time);
    about(path, file.set_times(times))
}
