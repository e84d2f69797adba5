//! A queue being written for stock qmail. Until it is whole there is no `lock/sendmutex` in it, so
//! that no qmail-send starts on half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::time::Moment;
use store::home::{Home, Roles};
use store::stock::{Part, SPLIT, Stock};
use sys::user::Ids;

use crate::Trouble;
use crate::permissions::{about, directory, own};

/// What `lock/sendmutex` is called until all is there.
const UNFINISHED: &str = "lock/sendmutex.export";
const MUTEX: &str = "lock/sendmutex";

/// The queue.
pub(super) struct Target {
    root: PathBuf,
    roles: Roles,
    split: u64,
    _stopped: Option<File>,
}

impl Target {
    /// Makes a queue, or empties what an interrupted export left; one that is there must be
    /// stopped and without letters.
    pub(super) fn prepare(root: &Path, home: &Home) -> Result<Self, Trouble> {
        let roles = home.roles().map_err(|e| e.to_string())?;
        let there = fs::symlink_metadata(root.join("mess")).is_ok();
        let unfinished = root.join(UNFINISHED).exists();
        if !there && !unfinished && fs::read_dir(root).is_ok_and(|mut dir| dir.next().is_some()) {
            return Err(format!("{}: is neither empty nor a queue", root.display()));
        }
        let stopped = super::lock(root, super::STOP_THERE)?;
        let mut target = Self { root: root.to_path_buf(), roles, split: SPLIT, _stopped: stopped };
        if there && !unfinished {
            target.begin_there()?;
        } else {
            target.make()?;
        }
        Ok(target)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// In a queue that is there.
    fn begin_there(&mut self) -> Result<(), Trouble> {
        let stock = Stock::open(&self.root)?;
        let letters = stock.letters();
        if letters.iter().any(|&(number, _)| stock.path(Part::Mess, number).is_some()) {
            let root = self.root.display();
            return Err(format!("{root}: there are letters in it; name a new directory"));
        }
        let mut split = 0_u64;
        while self.at("mess").join(split.to_string()).is_dir() {
            split = split.saturating_add(1);
        }
        self.split = split;
        if split == 0 {
            return Err(format!(
                "{}: is not split into directories 0, 1, …",
                self.at("mess").display()
            ));
        }
        about(&self.at(MUTEX), fs::rename(self.at(MUTEX), self.at(UNFINISHED)))?;
        self.sync_dir("lock")
    }

    /// Anew, or again.
    fn make(&mut self) -> Result<(), Trouble> {
        let Roles { qmailq, qmails, qmailr, .. } = self.roles.clone();
        directory(&self.root, 0o750, &qmailq)?;
        directory(&self.at("lock"), 0o750, &qmailq)?;
        // First of all: whoever comes next knows that the rest is nobody's yet.
        if !self.at(UNFINISHED).exists() {
            self.file(&self.at(UNFINISHED), b"", 0o600, &qmails, None)?;
            self.sync_dir("lock")?;
        }
        for (name, mode) in [("pid", 0o700), ("intd", 0o700), ("todo", 0o750), ("mess", 0o750)] {
            directory(&self.at(name), mode, &qmailq)?;
        }
        for name in ["bounce", "info", "local", "remote"] {
            directory(&self.at(name), 0o700, &qmails)?;
        }
        for n in 0..self.split {
            directory(&self.at("mess").join(n.to_string()), 0o750, &qmailq)?;
            for name in ["info", "local", "remote"] {
                directory(&self.at(name).join(n.to_string()), 0o700, &qmails)?;
            }
        }
        self.empty()?;
        let (tcpto, trigger) = (self.at("lock/tcpto"), self.at("lock/trigger"));
        if !tcpto.exists() {
            self.file(&tcpto, &[0; 1024], 0o644, &qmailr, None)?;
        }
        if !trigger.exists() {
            about(&trigger, sys::file::mkfifo(&trigger, 0o622))?;
            own(&trigger, &qmails)?;
        }
        about(&trigger, fs::set_permissions(&trigger, fs::Permissions::from_mode(0o622)))
    }

    /// Removes what an interrupted export has written.
    fn empty(&self) -> Result<(), Trouble> {
        let stock = Stock::open(&self.root)?;
        for path in stock.files() {
            about(path, fs::remove_file(path))?;
        }
        for entry in about(&self.at("pid"), fs::read_dir(self.at("pid")))? {
            let path = about(&self.at("pid"), entry)?.path();
            about(&path, fs::remove_file(&path))?;
        }
        Ok(())
    }

    /// Writes the letter itself; its number there.
    pub(super) fn mess(&self, letter: OwnedFd, size: u64, birth: Moment) -> Result<u64, Trouble> {
        let fresh = self.at("pid/export");
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&fresh);
        let mut file = about(&fresh, opened)?;
        let copied = about(&fresh, io::copy(&mut File::from(letter).take(size), &mut file))?;
        if copied != size {
            return Err(format!("a letter has {copied} bytes instead of {size}"));
        }
        finish(&fresh, &file, 0o644, &self.roles.qmailq, Some(birth))?;
        let number = about(&fresh, file.metadata())?.ino();
        let path = self.place(Part::Mess, number);
        about(&path, fs::rename(&fresh, &path))?;
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
        self.file(&self.place(part, number), bytes, 0o600, &self.roles.qmails, time)
    }

    fn place(&self, part: Part, number: u64) -> PathBuf {
        let dir = self.at(part.name());
        match part {
            Part::Todo | Part::Bounce => dir.join(number.to_string()),
            _ => dir
                .join(number.checked_rem(self.split).unwrap_or(0).to_string())
                .join(number.to_string()),
        }
    }

    fn file(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        owner: &Ids,
        time: Option<Moment>,
    ) -> Result<(), Trouble> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let mut file = about(path, opened)?;
        about(path, file.write_all(bytes))?;
        finish(path, &file, mode, owner, time)
    }

    /// Everything is there: puts it on disk, then lets a qmail-send start.
    pub(super) fn finish(self) -> Result<(), Trouble> {
        let synced = sys::at::At::open(&self.root).and_then(|dir| dir.sync_fs());
        about(&self.root, synced)?;
        about(&self.at(MUTEX), fs::rename(self.at(UNFINISHED), self.at(MUTEX)))?;
        self.sync_dir("lock")
    }

    fn sync_dir(&self, name: &str) -> Result<(), Trouble> {
        let dir = self.at(name);
        about(&dir, sys::file::sync_dir(&dir))
    }
}

/// Gives a file its owner, mode and time.
fn finish(
    path: &Path,
    file: &File,
    mode: u32,
    owner: &Ids,
    time: Option<Moment>,
) -> Result<(), Trouble> {
    own(path, owner)?;
    about(path, file.set_permissions(fs::Permissions::from_mode(mode)))?;
    let Some(time) = time else { return Ok(()) };
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(time.micros()));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
    about(path, file.set_times(times))
}
