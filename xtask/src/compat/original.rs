//! An original qmail, netqmail or notqmail that somebody installed: its settings, programs and queue
//! put aside while steps are played against it, and put back.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stage::{HOST, clear, write};
use crate::tally::{Trouble, run};

/// What steps find empty.
const SETTINGS: [&str; 3] = ["control", "users", "alias"];

/// What steps find as it was: they put other programs in the place of some, or spoil the queue.
const COPIED: [&str; 2] = ["bin", "queue"];

/// What its own are called meanwhile.
const ASIDE: &str = ".before-compat";

/// The parts of its queue that hold letters.
const QUEUE: [&str; 8] = ["bounce", "info", "intd", "local", "mess", "pid", "remote", "todo"];

/// An original's home, what is its own put aside; dropped, it is back.
pub(crate) struct Original {
    home: PathBuf,
    /// Further directories with programs (daemontools, ucspi-tcp…).
    path: Vec<PathBuf>,
    put_aside: bool,
}

impl Original {
    /// Puts aside what steps write into.
    ///
    /// # Errors
    /// It is none, it runs, its queue is not empty, or an earlier run left something aside.
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
        for name in parts() {
            let (now, aside) = self.both(name);
            if aside.exists() {
                let (aside, now) = (aside.display(), now.display());
                return Err(format!("{aside} is there: put it back to {now} first"));
            }
        }
        self.put_aside = true;
        for name in parts() {
            let (now, aside) = self.both(name);
            rename(&now, &aside)?;
            like(&aside, &now)?;
        }
        Ok(())
    }

    /// Where a part is, and where the original's own is meanwhile.
    fn both(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.home.join(name), self.home.join(format!("{name}{ASIDE}")))
    }

    /// Empties settings, and puts fresh programs and a fresh queue there, for the next file of steps.
    pub(crate) fn reset(&self) -> Result<(), Trouble> {
        for name in SETTINGS {
            clear(&self.home.join(name), &[])?;
        }
        for name in ["me", "locals"] {
            write(&self.home.join("control").join(name), 0o644, &format!("{HOST}\n"))?;
        }
        COPIED.into_iter().try_for_each(|name| {
            let (now, aside) = self.both(name);
            // A step may have moved it away.
            let _gone = fs::remove_dir_all(&now);
            // Owners, modes and a FIFO.
            run(Command::new("cp").arg("-a").arg(aside).arg(now))
        })
    }
}

/// Everything that is put aside.
fn parts() -> impl Iterator<Item = &'static str> {
    SETTINGS.into_iter().chain(COPIED)
}

impl Drop for Original {
    fn drop(&mut self) {
        if !self.put_aside {
            return;
        }
        for name in parts() {
            let (now, aside) = self.both(name);
            if aside.exists() {
                // A step may have moved it away.
                let _gone = fs::remove_dir_all(&now);
                if let Err(e) = fs::rename(&aside, &now) {
                    println!("{} could not be put back: {e}", aside.display());
                }
            }
        }
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
