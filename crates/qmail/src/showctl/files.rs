//! What lies in `control/`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use base::limits;
use sys::errno;

use super::lines;

/// The device that is empty (Linux: 1, 3): a link to it is an empty file.
const NULL: u64 = 0x103;

/// One name.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) what: What,
    /// Permission bits.
    pub(super) mode: u32,
    /// When it was last changed; seconds and nanoseconds.
    pub(super) changed: (i64, i64),
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file with these bytes.
    Text(Vec<u8>),
    /// A file with more than [`limits::CONTROL_FILE`].
    TooLong,
    /// A file we may not read.
    Closed,
    /// Something that cannot be read, in the system's words.
    Broken(&'static str),
    /// A directory, a FIFO, …: no file.
    Other(&'static str),
    /// A link to where there is nothing.
    Nowhere,
}

impl File {
    /// Looks at one. What a link leads to counts.
    ///
    /// # Errors
    /// It is not there, or hidden.
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        let about = fs::metadata(&path)?;
        let changed = (about.mtime(), about.mtime_nsec());
        let (what, mode) = match kind(&about) {
            None => (read(&path), about.mode()),
            // It is everybody's to write to, and stays empty.
            Some("") => (What::Text(Vec::new()), 0o644),
            Some(other) => (What::Other(other), about.mode()),
        };
        Ok(Self { path, what, mode, changed })
    }

    /// Looks at what a directory names.
    fn named(path: PathBuf) -> Self {
        let what = match Self::at(path.clone()) {
            Ok(file) => return file,
            Err(err) if is_missing(&err) => What::Nowhere,
            Err(err) => What::Broken(errno::text(&err)),
        };
        Self { path, what, mode: 0o644, changed: (0, 0) }
    }

    /// Its bytes, if they can be had.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match &self.what {
            What::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether programs find a file there.
    pub(super) fn is_there(&self) -> bool {
        self.what != What::Nowhere
    }

    /// Whether it is a file, and its permissions are ours to judge.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.what, What::Text(_) | What::TooLong | What::Closed)
    }

    /// Its first line.
    pub(super) fn line(&self) -> Option<Vec<u8>> {
        self.text().map(|text| lines::first(text).to_vec())
    }
}

/// What it is if it is no plain file; nothing to say of the device that is empty.
fn kind(about: &fs::Metadata) -> Option<&'static str> {
    let kind = about.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_char_device() && about.rdev() == NULL => Some(""),
        () => Some("a device"),
    }
}

fn is_missing(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Every file in `dir`, by its name.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn all(dir: &Path) -> io::Result<BTreeMap<Vec<u8>, File>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        files.insert(entry.file_name().into_vec(), File::named(entry.path()));
    }
    Ok(files)
}

fn read(path: &Path) -> What {
    let mut text = Vec::new();
    // Never waits, should it have become a FIFO since.
    let file = sys::file::open_read(path);
    let most = limits::CONTROL_FILE as u64;
    match file.and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut text)) {
        Ok(_) if text.len() > limits::CONTROL_FILE => What::TooLong,
        Ok(_) => What::Text(text),
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => What::Closed,
        Err(err) => What::Broken(errno::text(&err)),
    }
}
