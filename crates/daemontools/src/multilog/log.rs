//! One log directory: `current`, how it is filled, and how it is closed.

use super::VOICE;
use super::cut::{BUFFER, MARGIN, cut};
use super::old::{finish, prune};
use super::pause::Patience;
use super::place::Place;
use super::script::Keep;
use base::time::Moment;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, UNIX_EPOCH};
use sys::dir::{Dir, How};

/// The mode of a file being written, and of one that is safe on the disk.
const OPEN: u32 = 0o644;
const SAFE: u32 = 0o744;
/// The owner-execute bit: the file is safe.
const SAFE_BIT: u32 = 0o100;
/// Bytes collected before they are written, whatever the input brings.
const COLLECT: usize = 64 << 10;
/// Bytes after which the kernel is asked to begin to write: less is left to wait for when the file
/// is synced.
const BEGIN: u64 = 1 << 20;

/// A log directory in use.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) place: Place,
    /// Held locked.
    _lock: File,
    current: File,
    /// Bytes in `current`, those in `collected` included, but for the last `pending`.
    size: u64,
    /// Bytes of `current` that the kernel was not yet asked to write to the disk.
    idle: u64,
    /// Bytes that are not yet written. The last `pending` are in the original's small buffer, which
    /// decides where files end.
    collected: Vec<u8>,
    pending: usize,
    /// When `current` got its first line.
    since: Moment,
}

impl Log {
    /// Makes, locks and repairs the directory; the exit code, after a message, on trouble.
    pub(super) fn open(keep: Keep, calm: &Patience) -> Result<Log, i32> {
        let name = keep.dir.clone();
        // A processor comes back here later: better to hear of it now, as in stock.
        let here = Dir::open(".")
            .map_err(|e| VOICE.fatal(&[&"unable to switch to current directory"], Some(&e)))?;
        let _there = here.make_dir(&name, 0o700);
        let dir = Dir::open(&name)
            .map_err(|e| VOICE.fatal(&[&"unable to open directory ", &name], Some(&e)))?;
        let place = Place::new(dir, keep);
        let lock = place
            .dir
            .file("lock", How::Append)
            .and_then(|lock| sys::lock::try_exclusive(&lock).map(|()| lock))
            .map_err(|e| VOICE.fatal(&[&"unable to lock directory ", &name], Some(&e)))?;
        let (current, size) = match adopt(&place)? {
            Some(kept) => kept,
            None => (repair(&place, calm)?, 0),
        };
        prune_if_capped(&place, calm);
        let since = born(&current);
        let (collected, pending, idle) = (Vec::new(), 0, 0);
        Ok(Log { place, _lock: lock, current, size, idle, collected, pending, since })
    }

    /// Appends a line of at most 1000 bytes and its newline.
    pub(super) fn line(&mut self, line: &[u8], calm: &Patience) {
        let after = self.pending.saturating_add(line.len());
        if after <= BUFFER {
            self.collected.extend_from_slice(line);
            self.pending = after;
        } else if let Some((newline, text)) = line.split_last() {
            self.head(text, calm);
            self.tail(&[*newline], calm);
        }
    }

    /// Appends the head of a line: a unit that the original did not split.
    pub(super) fn head(&mut self, bytes: &[u8], calm: &Patience) {
        if self.pending.saturating_add(bytes.len()) > BUFFER {
            self.settle(calm);
        }
        self.collected.extend_from_slice(bytes);
        self.pending = self.pending.saturating_add(bytes.len());
        if bytes.len() > BUFFER {
            self.settle(calm);
        }
    }

    /// Appends more of a line: bytes that are units each.
    pub(super) fn tail(&mut self, mut bytes: &[u8], calm: &Patience) {
        while !bytes.is_empty() {
            if self.pending >= BUFFER {
                self.settle(calm);
            }
            let room = BUFFER.saturating_sub(self.pending).min(bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.collected.extend_from_slice(now);
            self.pending = self.pending.saturating_add(now.len());
            bytes = later;
        }
    }

    /// Appends whole lines at once, if no file can end among them.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.pending == 0 && self.is_far_from_full(bytes)
    }

    /// Appends lines for which there is room.
    pub(super) fn lines(&mut self, bytes: &[u8], calm: &Patience) {
        self.collected.extend_from_slice(bytes);
        self.pending = bytes.len();
        self.chunk(calm);
    }

    /// The end of a chunk of input: the original wrote its buffer now.
    pub(super) fn chunk(&mut self, calm: &Patience) {
        self.settle(calm);
        if self.collected.len() >= COLLECT {
            self.flush(calm);
        }
    }

    /// Whether a file with so many bytes more is not yet where files end.
    fn is_far_from_full(&self, bytes: usize) -> bool {
        self.size.saturating_add(bytes as u64) < self.place.keep.size.saturating_sub(MARGIN)
    }

    /// One write of the original, that of its small buffer: files end where it lets them.
    fn settle(&mut self, calm: &Patience) {
        if self.size == 0 && self.pending > 0 && self.place.keep.turn.is_some() {
            self.since = sys::clock::now();
        }
        let pending = std::mem::take(&mut self.pending);
        if self.is_far_from_full(pending) {
            self.size = self.size.saturating_add(pending as u64);
            return;
        }
        let written = self.collected.split_off(self.collected.len().saturating_sub(pending));
        let mut bytes = written.as_slice();
        while !bytes.is_empty() {
            let cut = cut(self.size, self.place.keep.size, bytes);
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
    }

    /// Writes what is collected to `current`.
    pub(super) fn flush(&mut self, calm: &Patience) {
        let name = self.place.name();
        let what: [&dyn AsRef<OsStr>; 3] = [&"unable to write to ", &name, &"/current"];
        let mut done = 0;
        while done < self.collected.len() {
            let rest = self.collected.get(done..).unwrap_or_default();
            let n = self.place.insist(calm, &what, || sys::fd::write(&self.current, rest));
            done = done.saturating_add(n);
        }
        self.collected.clear();
        self.idle = self.idle.saturating_add(done as u64);
        if self.idle >= BEGIN {
            let from = self.size.saturating_sub(self.idle);
            sys::file::begin_writing(&self.current, from, self.idle);
            self.idle = 0;
        }
    }

    /// Whether the directory was removed, `current` with it. One call to the kernel where it was not.
    pub(super) fn is_gone(&self) -> bool {
        self.current.metadata().is_ok_and(|meta| meta.nlink() == 0) && !self.place.is_there()
    }

    /// ALRM: rotates unless `current` is empty.
    pub(super) fn rotate_if_any(&mut self, calm: &Patience) {
        if self.size > 0 {
            self.rotate(calm);
        }
    }

    /// Ends `current` and removes old logs if it is time; when it is next, if ever.
    pub(super) fn tend(&mut self, calm: &Patience) -> Option<Duration> {
        if self.place.keep.turn.is_none() && self.place.keep.age.is_none() {
            return None;
        }
        if self.turns_in(sys::clock::now()) == Some(Duration::ZERO) {
            self.rotate(calm);
        }
        if self.ages_in(sys::clock::now()) == Some(Duration::ZERO) {
            prune(&self.place, calm);
        }
        let now = sys::clock::now();
        self.turns_in(now).into_iter().chain(self.ages_in(now)).min()
    }

    /// How long `current` may still go on.
    fn turns_in(&self, now: Moment) -> Option<Duration> {
        let turn = self.place.keep.turn.filter(|_| self.size > 0)?;
        Some(turn.saturating_sub(Duration::from_micros(now.since(self.since))))
    }

    /// How long the oldest log may still stay.
    fn ages_in(&self, now: Moment) -> Option<Duration> {
        let finished = self.place.oldest.get()?;
        let age = self.place.keep.age?;
        Some(age.saturating_sub(Duration::from_micros(now.since(finished))))
    }

    /// Closes `current` for good: the end.
    pub(super) fn close(&mut self, calm: &Patience) {
        self.chunk(calm);
        self.flush(calm);
        self.sync(calm);
        let what: [&dyn AsRef<OsStr>; 3] =
            [&"unable to set mode of ", &self.place.name(), &"/current"];
        self.place.insist(calm, &what, || self.current.set_permissions(mode(SAFE)));
    }

    fn sync(&self, calm: &Patience) {
        let what: [&dyn AsRef<OsStr>; 3] =
            [&"unable to write ", &self.place.name(), &"/current to disk"];
        self.place.insist(calm, &what, || self.current.sync_all());
    }

    /// Starts a new `current`; the old one becomes an old log, processed if it is to be.
    fn rotate(&mut self, calm: &Patience) {
        self.flush(calm);
        self.sync(calm);
        let (place, name) = (&self.place, self.place.name());
        let what = [&"unable to rename current to previous in directory " as &dyn AsRef<_>, &name];
        let moved = place.insist(calm, &what, || match place.dir.rename("current", "previous") {
            // Somebody removed it: there is nothing to finish.
            Err(error) if error.kind() == ErrorKind::NotFound && place.is_there() => Ok(false),
            moved => moved.map(|()| true),
        });
        let current = place.insist(calm, &[&"unable to create ", &name, &"/current"], || {
            place.dir.file("current", How::Truncate)
        });
        place.insist(calm, &[&"unable to set mode of ", &name, &"/current"], || {
            current.set_permissions(mode(OPEN))
        });
        place.insist(calm, &[&"unable to set mode of ", &name, &"/previous"], || {
            self.current.set_permissions(mode(SAFE))
        });
        self.current = current;
        (self.size, self.idle, self.since) = (0, 0, sys::clock::now());
        if !moved {
            return;
        }
        if self.place.keep.processor.is_some() {
            super::processor::process(&self.place, calm);
        } else {
            finish(&self.place, "previous", "s", calm);
        }
    }
}

fn mode(bits: u32) -> Permissions {
    Permissions::from_mode(bits)
}

/// When a file was made, or else now.
fn born(file: &File) -> Moment {
    let made = file.metadata().and_then(|meta| meta.created()).ok();
    let since = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    since.map_or_else(sys::clock::now, |since| {
        Moment::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    })
}

/// Caps that time or another caller may have made hold from the start on.
fn prune_if_capped(place: &Place, calm: &Patience) {
    if place.keep.age.is_some() || place.keep.total.is_some() {
        prune(place, calm);
    }
}

/// Takes up a `current` that was closed cleanly; `None` if there is none such.
fn adopt(place: &Place) -> Result<Option<(File, u64)>, i32> {
    let (dir, name) = (&place.dir, place.name());
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
        .set_permissions(mode(OPEN))
        .map_err(|e| VOICE.fatal(&[&"unable to set mode of ", &name, &"/current"], Some(&e)))?;
    Ok(Some((current, stat.size)))
}

/// Clears up after a crash, or makes a new log.
fn repair(place: &Place, calm: &Patience) -> Result<File, i32> {
    let (dir, name) = (&place.dir, place.name());
    // What is not there need not be removed; what cannot be shows when it is made anew.
    let remove = |file: &str| drop(dir.remove(file));
    remove("state");
    remove("newstate");
    match dir.stat("processed") {
        Ok(stat) if stat.mode & SAFE_BIT != 0 => {
            remove("previous");
            finish(place, "processed", "s", calm);
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(VOICE.fatal(&[&"unable to stat ", &name, &"/processed"], Some(&error)));
        }
        Ok(_) | Err(_) => {
            remove("processed");
            finish(place, "previous", "u", calm);
        }
    }
    finish(place, "current", "u", calm);
    let fresh = |file: &'static str| {
        place
            .attempt(|| dir.file(file, How::Truncate))
            .map_err(|e| VOICE.fatal(&[&"unable to write to ", &name, &"/", &file], Some(&e)))
    };
    fresh("state")?;
    fresh("current")
}
