//! move the letters of a Maildir into an mbox file
//!
//! *Runs as* whoever calls it · *hears* its environment · *opens* the Maildir, the mbox file and a
//! temporary file · *speaks to* nobody

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base::limits;
use letter::mbox::{Quoted, from_line};
use sys::fd::read_full;
use sys::{clock, errno, file};

use super::maildir::{self, Found};
use super::{Stop, end, needed_later, say};
use crate::mbox_lock::{self, NoLock};

/// The program.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    end("maildir2mbox", run().map(|()| 0))
}

/// Moves what `$MAILDIR` has to `$MAIL`, by way of `$MAILTMP`. A power cut loses no letter: the new
/// mbox is on disk under its name before the first letter goes. It may leave letters in both.
fn run() -> Result<(), Stop> {
    let mbox = PathBuf::from(needed_later("MAIL")?);
    let maildir = needed_later("MAILDIR")?;
    let new = PathBuf::from(needed_later("MAILTMP")?);
    let _ = file::umask(0o077);
    maildir::enter(&maildir)?;
    maildir::clean(clock::now());
    if letters()?.is_empty() {
        return Ok(());
    }
    let _lock = mbox_lock::append(&mbox).map_err(|why| not_locked(&mbox, why))?;
    // Whoever held the lock may have moved them.
    let moved = write_new(&mbox, &new, letters()?)?;
    put_in_place(&mbox, &new, &moved)
}

fn letters() -> Result<Vec<Found>, Stop> {
    maildir::letters(&["new", "cur"])
}

/// `unable to <doing><path>: <error>`.
fn unable(doing: &str, path: &Path, err: &io::Error) -> Stop {
    Stop::unable([doing.as_bytes(), path.as_os_str().as_bytes()].concat(), err)
}

fn not_locked(mbox: &Path, why: NoLock) -> Stop {
    match why {
        NoLock::Open(err) | NoLock::Lock(err) => unable("lock ", mbox, &err),
        NoLock::Busy => unable("lock ", mbox, &io::ErrorKind::WouldBlock.into()),
    }
}

/// Writes the new mbox, and returns the letters that it has got, when it is on disk.
fn write_new(mbox: &Path, new: &Path, letters: Vec<Found>) -> Result<Vec<Found>, Stop> {
    // What lies there is an earlier run's: we hold the lock.
    let _ = fs::remove_file(new);
    let made = OpenOptions::new().write(true).create_new(true).open(new);
    let made = made.map_err(|err| unable("create ", new, &err))?;
    let mut to = New { name: new, file: BufWriter::with_capacity(limits::CHUNK, made) };
    let written = to.everything(mbox, letters).and_then(|moved| to.keep().map(|()| moved));
    if written.is_err() {
        let _ = fs::remove_file(new);
    }
    written
}

/// Gives the new mbox its name, for good, and then removes the letters.
fn put_in_place(mbox: &Path, new: &Path, moved: &[Found]) -> Result<(), Stop> {
    fs::rename(new, mbox).map_err(|err| {
        let _ = fs::remove_file(new);
        let names = [new.as_os_str().as_bytes(), b" to ", mbox.as_os_str().as_bytes()].concat();
        Stop::unable([b"move ", &names[..]].concat(), &err)
    })?;
    file::sync_name(mbox).map_err(|err| unable("sync the directory of ", mbox, &err))?;
    for Found { path, .. } in moved {
        if let Err(err) = fs::remove_file(path) {
            say(twice(path, &err));
        }
    }
    // Else a power cut brings them back, and they are moved a second time.
    for dir in ["new", "cur"] {
        let _ = file::sync_dir(dir);
    }
    Ok(())
}

fn twice(path: &Path, err: &io::Error) -> Vec<u8> {
    let head: &[u8] = b"maildir2mbox: warning: $MAILDIR/";
    let tail: &[u8] = b" will be delivered twice; unable to unlink: ";
    [head, path.as_os_str().as_bytes(), tail, errno::text(err).as_bytes()].concat()
}

/// The new mbox as it is written.
struct New<'a> {
    name: &'a Path,
    file: BufWriter<File>,
}

impl New<'_> {
    /// The old mbox and each letter that is still there.
    fn everything(&mut self, mbox: &Path, letters: Vec<Found>) -> Result<Vec<Found>, Stop> {
        self.old(mbox)?;
        let mut moved = Vec::new();
        for found in letters {
            if self.letter(&found)? {
                moved.push(found);
            }
        }
        Ok(moved)
    }

    /// Copies the old mbox. One that ends inside a line gets that line's end, or the next letter
    /// would be part of its last.
    fn old(&mut self, mbox: &Path) -> Result<(), Stop> {
        let unread = |err| unable("read ", mbox, &err);
        let old = File::open(mbox).map_err(unread)?;
        let (mut buf, mut last) = (vec![0; limits::CHUNK], b'\n');
        loop {
            let n = read_full(&old, &mut buf).map_err(unread)?;
            let piece = buf.get(..n).unwrap_or_default();
            let Some(&end) = piece.last() else { break };
            last = end;
            self.put(piece)?;
        }
        if last == b'\n' { Ok(()) } else { self.put(b"\n\n") }
    }

    /// Adds a letter; false if it has gone meanwhile.
    fn letter(&mut self, found: &Found) -> Result<bool, Stop> {
        let unread = |err| unable("read $MAILDIR/", &found.path, &err);
        let letter = match File::open(&found.path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(unread)?,
        };
        let mut buf = vec![0; limits::CHUNK];
        let mut n = read_full(&letter, &mut buf).map_err(unread)?;
        self.put(&from_line(sender(buf.get(..n).unwrap_or_default()), found.at))?;
        let mut quoted = Quoted::default();
        while n > 0 {
            self.put(&quoted.feed(buf.get(..n).unwrap_or_default()))?;
            n = read_full(&letter, &mut buf).map_err(unread)?;
        }
        self.put(&quoted.finish())?;
        Ok(true)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let written = self.file.write_all(bytes);
        written.map_err(|err| unable("write to ", self.name, &err))
    }

    /// Everything on disk.
    fn keep(&mut self) -> Result<(), Stop> {
        let kept = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        kept.map_err(|err| unable("write to ", self.name, &err))
    }
}

/// Whose letter it is, by the line that qmail-local has written on its top; `XXX` if there is none.
fn sender(letter: &[u8]) -> &[u8] {
    let line = letter.split(|&c| c == b'\n').next().unwrap_or_default();
    let path = line.strip_prefix(b"Return-Path: <").and_then(|rest| rest.strip_suffix(b">"));
    path.unwrap_or(b"XXX")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_in_the_first_line_or_unknown() {
        assert_eq!(sender(b"Return-Path: <a@b>\nx"), b"a@b");
        assert_eq!(sender(b"Return-Path: <>\n"), b"");
        for none in [&b""[..], b"\nReturn-Path: <a@b>\n", b"Return-Path: a@b\n", b"Return-Path: <"]
        {
            assert_eq!(sender(none), b"XXX");
        }
    }
}
