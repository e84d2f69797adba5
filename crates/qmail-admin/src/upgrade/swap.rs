//! The binaries of a home, changed under who runs them, and what was there before, kept.
//!
//! Beside them in `bin/` lie, while an upgrade is under way, `.fresh` (the new ones, accepted and not
//! yet in their places; `.fresh.new` until then, so that a refused upgrade leaves another what it is to
//! be finished with) and `.before.new` (what there was when it began, whole or not there at all, with the
//! journal that says what will be: [`super::cut`]). That is gone back to, also after a crash; it stays
//! until every service is the one version or the other. When the new version serves, `.before.new`
//! becomes `.before`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use store::home::Home;

use super::cut::{self, Journal};
use crate::Trouble;
use crate::install::Source;
use crate::permissions::{about, replace};
use crate::setup::{BINARIES, is_ours};

/// Where the version before this one is, below `bin/`.
pub(crate) const BEFORE: &str = ".before";
/// What an upgrade that is under way, or was when the machine went down, goes back to.
pub(crate) const BEGUN: &str = ".before.new";
/// The same while it is being filled.
const FILLING: &str = ".before.filling";
/// The new binaries on their way.
pub(super) const FRESH: &str = ".fresh";
/// The same until they are accepted.
const STAGING: &str = ".fresh.new";
/// Locked by the upgrade that is under way.
const LOCK: &str = ".upgrade";
/// All of these, for who takes everything of ours out of `bin/`.
pub(crate) const BESIDE: [&str; 6] = [BEFORE, BEGUN, FILLING, FRESH, STAGING, LOCK];
/// How often the lock is tried, and how long after each: who only looks has it for a moment.
const TRIES: usize = 20;
const AGAIN: Duration = Duration::from_millis(20);

/// One upgrade at a time.
pub(super) fn lock(home: &Home) -> Result<fs::File, Trouble> {
    let path = below(home, LOCK);
    let file = about(&path, sys::file::open_append(&path))?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return about(&path, Err(error)),
            Err(fs::TryLockError::WouldBlock) => sys::clock::sleep(AGAIN),
        }
    }
    Err("another upgrade is under way".into())
}

/// What a look shows while no upgrade can begin or end; none if one is under way, or if that cannot
/// be known. Without a lock no upgrade has ever begun.
pub(super) fn at_rest<T>(home: &Home, look: impl FnOnce() -> Option<T>) -> Option<T> {
    match sys::file::open_read(below(home, LOCK)) {
        Ok(lock) => {
            lock.try_lock_shared().ok()?;
            look()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => look(),
        Err(_) => None,
    }
}

pub(super) fn below(home: &Home, dir: &str) -> PathBuf {
    home.path("bin").join(dir)
}

/// Whether an upgrade was begun and has come to no end.
pub(crate) fn is_begun(home: &Home) -> bool {
    below(home, BEGUN).exists()
}

/// Writes the new ones beside the old ones, where every role may run them.
pub(super) fn stage(home: &Home, source: &Source, stale: &[&str]) -> Result<(), Trouble> {
    let dir = below(home, STAGING);
    empty(&dir)?;
    about(&dir, fs::create_dir(&dir))?;
    stale.iter().try_for_each(|name| replace(&dir.join(name), 0o755, &source.read(name)?))
}

/// Where a binary of the new version is, until it is accepted.
pub(super) fn staged(home: &Home, name: &str) -> PathBuf {
    let staged = below(home, STAGING).join(name);
    if staged.exists() { staged } else { home.path("bin").join(name) }
}

/// They are accepted: what another upgrade had on its way is not needed any more.
pub(super) fn accept(home: &Home) -> Result<(), Trouble> {
    let (staging, fresh) = (below(home, STAGING), below(home, FRESH));
    empty(&fresh)?;
    about(&fresh, fs::rename(&staging, &fresh))
}

/// Forgets those that were not accepted.
pub(super) fn unstage(home: &Home) {
    // The next upgrade begins with that, too.
    let _ = empty(&below(home, STAGING));
}

/// Forgets all of an upgrade that was never begun: the disk may be full of it.
pub(super) fn discard(home: &Home) {
    for dir in [STAGING, FRESH, FILLING] {
        let _ = empty(&below(home, dir));
    }
}

/// Keeps what is there, writes down what will be, and puts the new ones in their places.
pub(super) fn put(home: &Home, stale: &[&str], journal: &Journal) -> Result<(), Trouble> {
    keep(home, journal)?;
    place(home, stale)
}

/// Puts the new ones in their places, each by a rename.
pub(super) fn place(home: &Home, stale: &[&str]) -> Result<(), Trouble> {
    let bin = home.path("bin");
    let put = stale.iter().try_for_each(|name| {
        let at = bin.join(name);
        about(&at, fs::rename(below(home, FRESH).join(name), &at))
    });
    let _ = empty(&below(home, FRESH));
    put.and_then(|()| about(&bin, sys::file::sync_dir(&bin)))
}

/// Keeps, under other names, the binaries and whatever else links to new programs may replace: no
/// byte is copied. What an upgrade without an end has kept is kept: what is there now may be half new.
fn keep(home: &Home, journal: &Journal) -> Result<(), Trouble> {
    if is_begun(home) {
        return journal.write(&below(home, BEGUN));
    }
    let (bin, filling) = (home.path("bin"), below(home, FILLING));
    empty(&filling)?;
    about(&filling, fs::create_dir(&filling))?;
    for name in names(&bin)? {
        let kept = filling.join(&name);
        match fs::hard_link(bin.join(&name), &kept) {
            Err(error) if BINARIES.iter().any(|binary| name == Path::new(binary)) => {
                about(&kept, Err(error))?;
            }
            // A site's own, which may belong to anybody; nothing of ours takes the place of most.
            Ok(()) | Err(_) => {}
        }
    }
    journal.write(&filling)?;
    about(&filling, sys::file::sync_dir(&filling))?;
    let begun = below(home, BEGUN);
    about(&begun, fs::rename(&filling, &begun))?;
    about(&bin, sys::file::sync_dir(&bin))
}

/// The new version serves: what was kept is the version before.
pub(super) fn settle(home: &Home) -> Result<(), Trouble> {
    let (begun, before) = (below(home, BEGUN), below(home, BEFORE));
    empty(&before)?;
    about(&before, fs::rename(begun, &before))?;
    about(&before, sys::file::sync_name(&before))?;
    cut::forget(&before)
}

/// The old version serves again: nothing is to be gone back to. What was kept goes whole, by a rename:
/// of half of it the other half of `bin/` would not be known as ours.
pub(super) fn forget(home: &Home) -> Result<(), Trouble> {
    let (begun, filling) = (below(home, BEGUN), below(home, FILLING));
    empty(&filling)?;
    about(&begun, fs::rename(&begun, &filling))?;
    about(&begun, sys::file::sync_name(&begun))?;
    empty(&filling)
}

/// Puts everything back that was there before, and takes away the links to new programs. What cannot
/// be put back is told after the rest has been. What was kept stays, until [`forget`]. Unless all four
/// binaries were kept nothing is changed: somebody has been there since, and there is no way back.
pub(super) fn back(home: &Home) -> Result<(), Trouble> {
    let (bin, begun) = (home.path("bin"), below(home, BEGUN));
    let kept = names(&begun)?;
    if let Some(gone) =
        BINARIES.into_iter().find(|name| !kept.iter().any(|kept| kept == Path::new(name)))
    {
        return Err(format!(
            "{} does not hold {gone} any more: nothing was changed (mend: remove it, then qmailctl upgrade --from DIR)",
            begun.display()
        ));
    }
    let new = names(&bin)?.into_iter().filter(|name| !kept.contains(name));
    let gone = new.map(|name| bin.join(name)).filter(|path| is_ours(path));
    let removed = gone.map(|path| about(&path, fs::remove_file(&path)));
    let restored = kept.iter().map(|name| about(&bin.join(name), restore(&begun, &bin, name)));
    let mut troubles: Vec<Trouble> = restored.chain(removed).filter_map(Result::err).collect();
    troubles.extend(about(&bin, sys::file::sync_dir(&bin)).err());
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(format!("{} (what was there is in {})", troubles.join("; "), begun.display())),
    }
}

/// Puts one back under its name, unless it is there, or somebody's own has come there since.
fn restore(begun: &Path, bin: &Path, name: &Path) -> io::Result<()> {
    let (from, at) = (begun.join(name), bin.join(name));
    match fs::symlink_metadata(&at) {
        Ok(there) if sys::file::is_same(&there, &fs::symlink_metadata(&from)?) => return Ok(()),
        Ok(_) if !is_ours(&at) => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".back");
    let beside = bin.join(beside);
    let _ = fs::remove_file(&beside);
    fs::hard_link(&from, &beside)?;
    fs::rename(&beside, &at)
}

/// The names in a directory, but hidden ones and directories'.
fn names(dir: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let mut names = Vec::new();
    for entry in about(dir, fs::read_dir(dir))? {
        let entry = about(dir, entry)?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && !about(dir, entry.file_type())?.is_dir() {
            names.push(name.into());
        }
    }
    Ok(names)
}

/// Removes a directory with what is in it, if it is there.
fn empty(dir: &Path) -> Result<(), Trouble> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => about(dir, removed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use yard::{Kept, Yard};

    fn home(name: &str) -> Kept<Home> {
        let root = Yard::new(&format!("swap-{name}"));
        fs::create_dir_all(root.join("bin")).unwrap();
        for name in BINARIES {
            fs::write(root.join("bin").join(name), format!("old {name}")).unwrap();
        }
        fs::write(root.join("bin/elq"), "stock's").unwrap();
        fs::write(root.join("bin/site"), "a site's").unwrap();
        symlink("qmail", root.join("bin/qmail-send")).unwrap();
        let home = Home::at(&root).unwrap();
        root.keep(home)
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// A new version of all, and its links.
    fn put_new(home: &Home, number: u32) {
        let fresh = below(home, FRESH);
        fs::create_dir_all(&fresh).unwrap();
        for name in BINARIES {
            fs::write(fresh.join(name), format!("{number} {name}")).unwrap();
        }
        put(home, &BINARIES, &Journal::of_nothing()).unwrap();
        for name in ["elq", "brand-new"] {
            let _ = fs::remove_file(home.path("bin").join(name));
            symlink("qmail", home.path("bin").join(name)).unwrap();
        }
    }

    fn all(home: &Home) -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(home.path("bin"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn what_was_there_comes_back_and_the_links_to_new_programs_go() {
        let home = home("back");
        let before = all(&home);
        put_new(&home, 1);
        fs::write(home.path("bin/site"), "changed meanwhile").unwrap();
        assert_eq!(read(&home.path("bin/qmail")), "1 qmail");
        back(&home).unwrap();
        forget(&home).unwrap();
        assert_eq!(all(&home), before);
        assert_eq!(read(&home.path("bin/qmail")), "old qmail");
        assert_eq!(read(&home.path("bin/elq")), "stock's");
        assert_eq!(read(&home.path("bin/site")), "changed meanwhile");
    }

    #[test]
    fn what_is_not_accepted_leaves_another_upgrade_what_it_is_finished_with() {
        let home = home("refused");
        let (staged_at, fresh) = (below(&home, STAGING), below(&home, FRESH));
        fs::create_dir(&fresh).unwrap();
        fs::write(fresh.join("qmail"), "cut off").unwrap();
        fs::create_dir(home.path("new")).unwrap();
        for name in BINARIES {
            symlink("/bin/echo", home.path("new").join(name)).unwrap();
        }
        let source = Source::open(Some(&home.path("new"))).unwrap();
        stage(&home, &source, &BINARIES).unwrap();
        assert_eq!(staged(&home, "qmail"), staged_at.join("qmail"));
        unstage(&home);
        assert_eq!((read(&fresh.join("qmail")).as_str(), staged_at.exists()), ("cut off", false));
        stage(&home, &source, &["qmail-net"]).unwrap();
        accept(&home).unwrap();
        assert!(fresh.join("qmail-net").exists() && !fresh.join("qmail").exists());
        assert!(BESIDE.contains(&STAGING) && !staged_at.exists());
    }

    #[test]
    fn while_somebody_looks_no_upgrade_begins_or_ends() {
        let home = home("look");
        drop(lock(&home).unwrap());
        let begins = || fs::File::open(below(&home, LOCK)).unwrap().try_lock().is_ok();
        assert_eq!(at_rest(&home, || Some(begins())), Some(false));
        let _under_way = lock(&home).unwrap();
        assert_eq!(at_rest(&home, || Some(())), None);
    }

    #[test]
    fn a_failed_upgrade_leaves_the_version_before_the_last_good_one() {
        let home = home("failed");
        put_new(&home, 1);
        settle(&home).unwrap();
        put_new(&home, 2);
        back(&home).unwrap();
        forget(&home).unwrap();
        assert_eq!(read(&home.path("bin/qmail")), "1 qmail");
        assert!(!below(&home, BEFORE).join(cut::JOURNAL).exists());
        assert_eq!(read(&below(&home, BEFORE).join("qmail")), "old qmail");
    }

    #[test]
    fn after_a_crash_between_two_binaries_the_old_version_is_still_what_is_gone_back_to() {
        let home = home("crash");
        keep(&home, &Journal::of_nothing()).unwrap();
        fs::remove_file(home.path("bin/qmail")).unwrap();
        fs::write(home.path("bin/qmail"), "half of the new version").unwrap();
        assert!(is_begun(&home));
        put_new(&home, 2);
        back(&home).unwrap();
        assert_eq!(read(&home.path("bin/qmail")), "old qmail");
        assert!(is_begun(&home), "its services may still be the new ones");
        forget(&home).unwrap();
        assert!(!is_begun(&home));
    }

    #[test]
    fn one_that_cannot_be_put_back_keeps_no_other_from_it() {
        let home = home("stuck");
        put_new(&home, 1);
        fs::remove_file(home.path("bin/daemontools")).unwrap();
        fs::remove_file(below(&home, BEGUN).join("daemontools")).unwrap();
        symlink("nowhere", below(&home, BEGUN).join("daemontools")).unwrap();
        fs::create_dir(home.path("bin/.daemontools.back")).unwrap();
        let why = back(&home).unwrap_err();
        assert!(why.contains("bin/daemontools:") && why.contains(BEGUN), "{why}");
        assert_eq!(read(&home.path("bin/qmail-net")), "old qmail-net");
        assert!(is_begun(&home));
    }

    #[test]
    fn without_all_four_binaries_there_is_no_way_back_and_nothing_goes() {
        let home = home("emptied");
        put_new(&home, 1);
        let now = all(&home);
        fs::remove_file(below(&home, BEGUN).join("qmail")).unwrap();
        assert!(back(&home).unwrap_err().contains("does not hold qmail any more"));
        fs::remove_dir_all(below(&home, BEGUN)).unwrap();
        fs::create_dir(below(&home, BEGUN)).unwrap();
        assert!(back(&home).unwrap_err().contains("nothing was changed"));
        assert_eq!(all(&home), now);
        assert_eq!(read(&home.path("bin/qmail")), "1 qmail");
    }
}
