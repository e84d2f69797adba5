//! An original qmail, netqmail or notqmail that somebody installed: its settings put aside while
//! steps are played against it, and put back.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::stage::{HOST, clear, write};
use crate::tally::Trouble;

/// What steps write into.
const SETTINGS: [&str; 3] = ["control", "users", "alias"];

/// What its own are called meanwhile.
const ASIDE: &str = ".before-compat";

/// The parts of its queue that hold letters.
const QUEUE: [&str; 8] = ["bounce", "info", "intd", "local", "mess", "pid", "remote", "todo"];

/// An original's home, its settings put aside; dropped, they are back.
pub(crate) struct Original {
    home: PathBuf,
    /// Further directories with programs (daemontools, ucspi-tcp…).
    path: Vec<PathBuf>,
    put_aside: bool,
}

impl Original {
    /// Puts its settings aside.
    ///
    /// # Errors
    /// It is none, it runs, its queue is not empty, or an earlier run left its settings aside.
    pub(crate) fn open(home: &Path, path: &[PathBuf]) -> Result<Self, Trouble> {
        let home = fs::canonicalize(home).map_err(|e| format!("{}: {e}", home.display()))?;
        judge(&home)?;
        let mut original = Self { home, path: path.to_vec(), put_aside: false };
        original.put_aside()?;
        Ok(original)
    }

    /// Its home.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// What comes behind everything else in `$PATH`.
    pub(crate) fn path(&self) -> String {
        self.path.iter().map(|dir| format!(":{}", dir.display())).collect()
    }

    fn put_aside(&mut self) -> Result<(), Trouble> {
        for name in SETTINGS {
            let aside = self.home.join(format!("{name}{ASIDE}"));
            if aside.exists() {
                let (aside, name) = (aside.display(), self.home.join(name));
                return Err(format!("{aside} is there: put it back to {} first", name.display()));
            }
        }
        self.put_aside = true;
        for name in SETTINGS {
            let (now, aside) = (self.home.join(name), self.home.join(format!("{name}{ASIDE}")));
            rename(&now, &aside)?;
            like(&aside, &now)?;
        }
        Ok(())
    }

    /// Empties settings and queue, for the next file of steps.
    pub(crate) fn reset(&self) -> Result<(), Trouble> {
        for name in SETTINGS {
            clear(&self.home.join(name), &[])?;
        }
        for name in ["me", "locals"] {
            write(&self.home.join("control").join(name), 0o644, &format!("{HOST}\n"))?;
        }
        QUEUE.iter().try_for_each(|part| remove_files(&self.home.join("queue").join(part)))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        if !self.put_aside {
            return;
        }
        for name in SETTINGS {
            let (now, aside) = (self.home.join(name), self.home.join(format!("{name}{ASIDE}")));
            if aside.exists() {
                let back = fs::remove_dir_all(&now).and_then(|()| fs::rename(&aside, &now));
                if let Err(e) = back {
                    println!("{} could not be put back: {e}", aside.display());
                }
            }
        }
        let _ = QUEUE.iter().try_for_each(|part| remove_files(&self.home.join("queue").join(part)));
    }
}

/// Whether it is an original, at rest.
fn judge(home: &Path) -> Result<(), Trouble> {
    let shown = home.display();
    if sys::user::euid() != 0 {
        return Err("only root can play an original".into());
    }
    if home.join("bin/qmail-queued").exists() || !home.join("bin/qmail-send").exists() {
        return Err(format!("{shown} holds no original qmail"));
    }
    let lock = home.join("queue/lock/sendmutex");
    let file = File::open(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        return Err(format!("qmail-send runs in {shown}: stop it first"));
    }
    let waiting = QUEUE.iter().any(|part| holds_files(&home.join("queue").join(part)));
    if waiting { Err(format!("{shown}/queue is not empty")) } else { Ok(()) }
}

fn rename(from: &Path, to: &Path) -> Result<(), Trouble> {
    fs::rename(from, to).map_err(|e| format!("{}: {e}", from.display()))
}

/// An empty directory with another's owner and mode.
fn like(model: &Path, path: &Path) -> Result<(), Trouble> {
    let done = fs::metadata(model).and_then(|meta| {
        fs::create_dir(path)?;
        chown(path, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777))
    });
    done.map_err(|e| format!("{}: {e}", path.display()))
}

/// The files in a part of the queue, which may be split one deep.
fn files(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<fs::DirEntry> {
        fs::read_dir(dir).into_iter().flatten().flatten().collect()
    };
    let deep = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let (dirs, flat): (Vec<_>, Vec<_>) = list(dir).into_iter().partition(deep);
    let below = dirs.iter().flat_map(|entry| list(&entry.path()));
    flat.iter().map(fs::DirEntry::path).chain(below.map(|entry| entry.path())).collect()
}

fn holds_files(dir: &Path) -> bool {
    !files(dir).is_empty()
}

fn remove_files(dir: &Path) -> Result<(), Trouble> {
    for path in files(dir) {
        fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
