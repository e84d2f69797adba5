//! The letters of a Maildir as its owner's programs see them: from inside it, oldest first.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::limits;
use base::time::Moment;
use sys::dir::Dir;

use super::Stop;

/// Seconds that an unfinished delivery may lie in `tmp/` since it was last read: 36 hours.
const UNFINISHED: u64 = 129_600;

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// When it was delivered.
    pub(super) at: Moment,
    /// Where it is, from inside the Maildir: `new/NAME`.
    pub(super) path: PathBuf,
}

/// Enters a Maildir.
pub(super) fn enter(dir: &OsStr) -> Result<(), Stop> {
    let unable = |err| Stop::unable([b"chdir to ", dir.as_bytes()].concat(), &err);
    std::env::set_current_dir(dir).map_err(unable)
}

/// Removes what deliveries have left unfinished in `tmp/` long ago. What will not go stays.
pub(super) fn clean(now: Moment) {
    for (path, file) in files("tmp").into_iter().flatten() {
        let read = u64::try_from(file.atime()).unwrap_or(0);
        if now.secs() > read.saturating_add(UNFINISHED) {
            let _ = fs::remove_file(path);
        }
    }
}

/// The letters in these directories, oldest first; at most [`limits::MAILDROP`] of each.
pub(super) fn letters(dirs: &[&str]) -> Result<Vec<Found>, Stop> {
    let mut found = Vec::new();
    for dir in dirs {
        let files = files(dir).map_err(|err| Stop::unable(format!("scan $MAILDIR/{dir}"), &err))?;
        found.extend(files.map(|(path, file)| Found { at: sys::file::modified(&file), path }));
    }
    found.sort_unstable();
    Ok(found)
}

/// The plain files of a directory, without those that are hidden or just gone.
fn files(dir: &str) -> io::Result<impl Iterator<Item = (PathBuf, Metadata)>> {
    let names = Dir::open(dir)?.names(limits::MAILDROP)?.into_iter();
    let shown = names.filter(|name| !name.as_bytes().starts_with(b"."));
    let paths = shown.map(move |name| Path::new(dir).join(name));
    let files = paths.filter_map(|path| fs::metadata(&path).ok().map(|file| (path, file)));
    Ok(files.filter(|(_, file)| file.is_file()))
}
