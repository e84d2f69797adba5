//! One log directory: `current`, how it is filled, closed, and what an old one becomes.

use super::VOICE;
use super::cut::{Buffer, cut};
use super::pause::Patience;
use super::script::Keep;
use base::tai::{Label, TEXT};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use sys::dir::{Dir, How};

/// The mode of a file being written, and of one that is safe on the disk.
const OPEN: u32 = 0o644;
const SAFE: u32 = 0o744;
/// The owner-execute bit: the file is safe.
const SAFE_BIT: u32 = 0o100;
/// Names read of a log directory.
const NAMES: usize = 1 << 20;
/// Bytes collected before they are written, whatever the input brings.
const COLLECT: usize = 64 << 10;

/// A log directory in use.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) keep: Keep,
    pub(super) dir: Dir,
    /// Held locked.
    _lock: File,
    current: File,
    /// Bytes in `current`, those in `collected` included.
    size: u64,
    /// The original's small buffer, which decides where files end.
    buffer: Buffer,
    /// Bytes that belong into `current` and are not yet written.
    collected: Vec<u8>,
}

impl Log {
    /// Makes, locks and repairs the directory; the exit code, after a message, on trouble.
    pub(super) fn open(keep: Keep, calm: &Patience) -> Result<Log, i32> {
        let name = keep.dir.clone();
        if let Ok(here) = Dir::open(".") {
            let _ = here.make_dir(&name, 0o700);
        }
        let dir = Dir::open(&name)
            .map_err(|e| VOICE.fatal(&[&"unable to open directory ", &name], Some(&e)))?;
        let lock = dir
            .file("lock", How::Append)
            .and_then(|lock| sys::lock::try_exclusive(&lock).map(|()| lock))
            .map_err(|e| VOICE.fatal(&[&"unable to lock directory ", &name], Some(&e)))?;
        let (current, size) = match adopt(&dir, &name)? {
            Some(kept) => kept,
            None => (repair(&dir, &keep, calm)?, 0),
        };
        let (buffer, collected) = (Buffer::default(), Vec::new());
        Ok(Log { keep, dir, _lock: lock, current, size, buffer, collected })
    }

    /// Appends the head of a line.
    pub(super) fn head(&mut self, bytes: &[u8], calm: &Patience) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.unit(bytes, &mut |written| self.write(written, calm));
        self.buffer = buffer;
    }

    /// Appends more of a line.
    pub(super) fn tail(&mut self, bytes: &[u8], calm: &Patience) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.singly(bytes, &mut |written| self.write(written, calm));
        self.buffer = buffer;
    }

    /// The end of a chunk of input: the original wrote its buffer now.
    pub(super) fn chunk(&mut self, calm: &Patience) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.flush(&mut |written| self.write(written, calm));
        self.buffer = buffer;
    }

    /// One write of the original: files end where it lets them.
    fn write(&mut self, mut bytes: &[u8], calm: &Patience) {
        while !bytes.is_empty() {
            let cut = cut(self.size, self.keep.size, bytes);
            if cut.before {
                self.rotate(calm);
            }
            let (now, later) = bytes.split_at_checked(cut.take).unwrap_or((bytes, &[]));
            self.collected.extend_from_slice(now);
            self.size = self.size.saturating_add(now.len() as u64);
            bytes = later;
            if cut.after {
                self.rotate(calm);
            }
        }
        if self.collected.len() >= COLLECT {
            self.flush(calm);
        }
    }

    /// Writes what is collected to `current`.
    pub(super) fn flush(&mut self, calm: &Patience) {
        let what: [&dyn AsRef<OsStr>; 3] = [&"unable to write to ", &self.keep.dir, &"/current"];
        let mut done = 0;
        while done < self.collected.len() {
            let rest = self.collected.get(done..).unwrap_or_default();
            let n = calm.insist(&what, || sys::fd::write(&self.current, rest));
            done = done.saturating_add(n);
        }
        self.collected.clear();
    }

    /// ALRM: rotates unless `current` is empty.
    pub(super) fn rotate_if_any(&mut self, calm: &Patience) {
        if self.size > 0 {
            self.rotate(calm);
        }
    }

    /// Closes `current` for good: the end.
    pub(super) fn close(&mut self, calm: &Patience) {
        self.chunk(calm);
        self.flush(calm);
        self.sync(calm);
        let name = &self.keep.dir;
        calm.insist(&[&"unable to set mode of ", name, &"/current"], || {
            self.current.set_permissions(Permissions::from_mode(SAFE))
        });
    }

    fn sync(&self, calm: &Patience) {
        calm.insist(&[&"unable to write ", &self.keep.dir, &"/current to disk"], || {
            self.current.sync_all()
        });
    }

    /// Starts a new `current`; the old one becomes an old log, processed if it is to be.
    fn rotate(&mut self, calm: &Patience) {
        self.flush(calm);
        self.sync(calm);
        let name = self.keep.dir.clone();
        let dir = &self.dir;
        calm.insist(&[&"unable to rename current to previous in directory ", &name], || {
            dir.rename("current", "previous")
        });
        let current = calm.insist(&[&"unable to create ", &name, &"/current"], || {
            dir.file("current", How::Truncate)
        });
        calm.insist(&[&"unable to set mode of ", &name, &"/current"], || {
            current.set_permissions(Permissions::from_mode(OPEN))
        });
        calm.insist(&[&"unable to set mode of ", &name, &"/previous"], || {
            dir.file("previous", How::Read)?.set_permissions(Permissions::from_mode(SAFE))
        });
        self.current = current;
        self.size = 0;
        if self.keep.processor.is_some() {
            super::processor::process(self, calm);
        } else {
            finish(&self.dir, &self.keep, "previous", "s", calm);
        }
    }
}

/// Takes up a `current` that was closed cleanly; `None` if there is none such.
fn adopt(dir: &Dir, name: &OsStr) -> Result<Option<(File, u64)>, i32> {
    let stat = match dir.stat("current") {
        Ok(stat) if stat.mode & SAFE_BIT != 0 => stat,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(VOICE.fatal(&[&"unable to stat ", &name, &"/current"], Some(&e))),
    };
    let current = dir
        .file("current", How::Append)
        .map_err(|e| VOICE.fatal(&[&"unable to append to ", &name, &"/current"], Some(&e)))?;
    current
        .set_permissions(Permissions::from_mode(OPEN))
        .map_err(|e| VOICE.fatal(&[&"unable to set mode of ", &name, &"/current"], Some(&e)))?;
    Ok(Some((current, stat.size)))
}

/// Clears up after a crash, or makes a new log.
fn repair(dir: &Dir, keep: &Keep, calm: &Patience) -> Result<File, i32> {
    let name = &keep.dir;
    // What is not there need not be removed; what cannot be shows when it is made anew.
    let remove = |file: &str| drop(dir.remove(file));
    remove("state");
    remove("newstate");
    match dir.stat("processed") {
        Ok(stat) if stat.mode & SAFE_BIT != 0 => {
            remove("previous");
            finish(dir, keep, "processed", "s", calm);
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(VOICE.fatal(&[&"unable to stat ", name, &"/processed"], Some(&error)));
        }
        Ok(_) | Err(_) => {
            remove("processed");
            finish(dir, keep, "previous", "u", calm);
        }
    }
    finish(dir, keep, "current", "u", calm);
    dir.file("state", How::Truncate)
        .map_err(|e| VOICE.fatal(&[&"unable to write to ", name, &"/state"], Some(&e)))?;
    dir.file("current", How::Truncate)
        .map_err(|e| VOICE.fatal(&[&"unable to write to ", name, &"/current"], Some(&e)))
}

/// Gives a file its lasting name, `@label.code`, and removes logs beyond the number kept.
pub(super) fn finish(dir: &Dir, keep: &Keep, file: &str, code: &str, calm: &Patience) {
    let name = &keep.dir;
    let stat = calm.insist(&[&"unable to stat ", name, &"/", &file], || match dir.stat(file) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    let Some(stat) = stat else { return };
    // Two names: a crash came between giving the new one and taking the old one.
    if stat.links == 1 {
        link(dir, name, file, code, calm);
    }
    calm.insist(&[&"unable to remove ", name, &"/", &file], || dir.remove(file));
    prune(dir, keep, calm);
}

fn link(dir: &Dir, name: &OsStr, file: &str, code: &str, calm: &Patience) {
    loop {
        let label = Label::at(sys::clock::now()).print();
        let lasting = OsString::from_vec([&label, b".".as_slice(), code.as_bytes()].concat());
        match dir.link(file, &lasting) {
            Ok(()) => return,
            Err(error) => {
                calm.complain(&[&"unable to link to ", &name, &"/", &lasting], Some(&error));
            }
        }
    }
}

/// Removes the oldest logs until there are fewer than the number kept.
fn prune(dir: &Dir, keep: &Keep, calm: &Patience) {
    let mut logs: Vec<OsString> =
        calm.insist(&[&"unable to read ", &keep.dir], || dir.names(NAMES));
    logs.retain(|name| name.as_bytes().starts_with(b"@") && name.len() >= TEXT);
    logs.sort_by(|one, other| age(one).cmp(age(other)));
    let kept = usize::try_from(keep.number.saturating_sub(1)).unwrap_or(usize::MAX);
    let surplus = logs.len().saturating_sub(kept);
    for log in logs.iter().take(surplus) {
        calm.insist(&[&"unable to remove ", &keep.dir, &"/", log], || gone(dir.remove(log)));
    }
}

/// Someone else's removing it is as good.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The label in a log's name.
fn age(name: &OsStr) -> &[u8] {
    name.as_bytes().get(..TEXT).unwrap_or_default()
}
