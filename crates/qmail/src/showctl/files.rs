//! What lies in `control/`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::limits;

use super::lines;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// Its bytes; `None` if they cannot be read, or are too many.
    pub(super) text: Option<Vec<u8>>,
    /// Permission bits.
    pub(super) mode: u32,
    /// When it was last changed; seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    pub(super) is_dir: bool,
}

impl File {
    /// Looks at one.
    ///
    /// # Errors
    /// It is not there, or hidden.
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        let about = fs::metadata(&path)?;
        let text = if about.is_file() { read(&path) } else { None };
        let (mode, changed) = (about.mode(), (about.mtime(), about.mtime_nsec()));
        Ok(Self { path, text, mode, changed, is_dir: about.is_dir() })
    }

    /// Its first line.
    pub(super) fn line(&self) -> Option<Vec<u8>> {
        self.text.as_deref().map(|text| lines::first(text).to_vec())
    }
}

/// Every file in `dir`, by its name.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn all(dir: &Path) -> io::Result<BTreeMap<Vec<u8>, File>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A link to nowhere is shown as what it is: not to be read.
        let file = File::at(entry.path()).unwrap_or_else(|_| File {
            path: entry.path(),
            text: None,
            mode: 0o644,
            changed: (0, 0),
            is_dir: false,
        });
        files.insert(entry.file_name().into_vec(), file);
    }
    Ok(files)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(limits::CONTROL_FILE as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= limits::CONTROL_FILE).then_some(text)
}
