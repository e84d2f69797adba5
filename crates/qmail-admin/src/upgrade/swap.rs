//! The binaries of a home, changed under who runs them; those there were are kept until the next time.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use store::home::Home;

use crate::Trouble;
use crate::install::Source;
use crate::permissions::{about, replace};
use crate::setup::BINARIES;

/// Where the binaries before these are, below `bin/`.
pub(crate) const BEFORE: &str = ".before";

/// One upgrade at a time.
pub(super) fn lock(home: &Home) -> Result<fs::File, Trouble> {
    let path = home.path("bin/.upgrade");
    let file = about(&path, sys::file::open_append(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::Error(error)) => about(&path, Err(error)),
        Err(fs::TryLockError::WouldBlock) => Err("another upgrade is under way".into()),
    }
}

/// The binaries that are not what they should be.
pub(super) fn stale(home: &Home, source: &Source) -> Result<Vec<&'static str>, Trouble> {
    let mut stale = Vec::new();
    for name in source.names() {
        if !source.is_at(name, &home.path("bin").join(name))? {
            stale.push(name);
        }
    }
    Ok(stale)
}

fn before(home: &Home) -> PathBuf {
    home.path("bin").join(BEFORE)
}

/// Keeps what is there and puts the new ones in their places, each by a rename. All of them are read
/// before any is written: they may come from where the old ones are kept.
pub(super) fn put(home: &Home, source: &Source, stale: &[&'static str]) -> Result<(), Trouble> {
    let mut fresh = Vec::new();
    for name in stale {
        fresh.push((*name, source.read(name)?));
    }
    let kept = before(home);
    about(&kept, fs::create_dir_all(&kept))?;
    for name in BINARIES {
        keep(home, name)?;
    }
    let put = fresh
        .iter()
        .try_for_each(|(name, bytes)| replace(&home.path("bin").join(name), 0o755, bytes));
    put.or_else(|why| {
        back(home)?;
        Err(why)
    })
}

/// Another name for the binary there is: its bytes stay although its place is taken.
fn keep(home: &Home, name: &str) -> Result<(), Trouble> {
    let (from, to) = (home.path("bin").join(name), before(home).join(name));
    if let Err(error) = fs::remove_file(&to)
        && error.kind() != ErrorKind::NotFound
    {
        return about(&to, Err(error));
    }
    about(&to, fs::hard_link(&from, &to))
}

/// Puts the binaries back that were there before.
pub(super) fn back(home: &Home) -> Result<(), Trouble> {
    for name in BINARIES {
        let (from, at) = (before(home).join(name), home.path("bin").join(name));
        let beside = home.path("bin").join(format!(".{name}.back"));
        let _ = fs::remove_file(&beside);
        let linked = fs::hard_link(&from, &beside).and_then(|()| fs::rename(&beside, &at));
        about(&at, linked)?;
        // A rename between two names of one file does nothing and leaves both.
        let _ = fs::remove_file(&beside);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn home() -> Home {
        let root = std::env::temp_dir().join(format!("swap-{}", std::process::id()));
        fs::create_dir_all(root.join("bin")).unwrap();
        for name in BINARIES {
            fs::write(root.join("bin").join(name), format!("old {name}")).unwrap();
        }
        Home::at(root).unwrap()
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_was_there_comes_back() {
        let home = home();
        let kept = before(&home);
        fs::create_dir_all(&kept).unwrap();
        for name in BINARIES {
            keep(&home, name).unwrap();
        }
        replace(&home.path("bin/qmail"), 0o755, b"new").unwrap();
        assert_eq!(read(&kept.join("qmail")), "old qmail");
        back(&home).unwrap();
        assert_eq!(read(&home.path("bin/qmail")), "old qmail");
        let names = fs::read_dir(home.path("bin")).unwrap().count();
        assert_eq!(names, BINARIES.len() + 1);
        fs::remove_dir_all(home.root()).unwrap();
    }
}
