//! Mailboxes as somebody else's server left them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::what::Stage;
use crate::tally::Trouble;

/// User and group of a mailbox whose server has no users of its own.
pub(super) const NOBODY: (u32, u32) = (65_534, 65_534);

/// A server's Maildir, and what it was last filled with.
pub(super) struct Mailbox {
    maildir: PathBuf,
    filled: Option<Stage>,
}

impl Mailbox {
    /// The one at this path; there need be none yet.
    pub(super) const fn at(maildir: PathBuf) -> Self {
        Self { maildir, filled: None }
    }

    /// Fills it as the stage wants, for the owner of what is there (else for [`NOBODY`]); an equal
    /// one stays, without the indexes kept beside. Empties it for a stage without a mailbox. True if
    /// another Maildir lies there than before.
    pub(super) fn ready(&mut self, stage: &Stage) -> Result<bool, Trouble> {
        let Stage::Mailbox { letters, bytes } = stage else {
            self.filled = None;
            return clear(&self.maildir).map(|()| true);
        };
        if self.filled.as_ref() == Some(stage) {
            return forget(&self.maildir).map(|()| false);
        }
        self.filled = Some(stage.clone());
        let there = std::fs::metadata(&self.maildir);
        let owner = there.map_or(NOBODY, |meta| (meta.uid(), meta.gid()));
        fill(&self.maildir, *letters, *bytes, owner).map(|()| true)
    }

    /// How many letters are new in it.
    pub(super) fn new_letters(&self) -> u32 {
        count(&self.maildir.join("new"))
    }

    /// When the last one came or went.
    pub(super) fn changed(&self) -> Option<SystemTime> {
        std::fs::metadata(self.maildir.join("new")).and_then(|meta| meta.modified()).ok()
    }
}

/// Makes a Maildir of so many letters of about so many bytes for a user, all seen, under names that
/// say nothing about them; what was there before goes.
fn fill(maildir: &Path, letters: u32, bytes: usize, owner: (u32, u32)) -> Result<(), Trouble> {
    clear(maildir)?;
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    let body = line.repeat(bytes / line.len());
    let text = |e: std::io::Error| format!("{}: {e}", maildir.display());
    for sub in ["", "tmp", "new", "cur"] {
        std::fs::create_dir_all(maildir.join(sub)).map_err(text)?;
        chown(maildir.join(sub), Some(owner.0), Some(owner.1)).map_err(text)?;
    }
    for n in 0..letters {
        let path = maildir.join(format!("cur/{}.{n}.elsewhere:2,S", 1_200_999_831 + n));
        let letter = format!("From: bench@example.net\nSubject: {n}\n\n{body}");
        std::fs::write(&path, letter).map_err(text)?;
        chown(&path, Some(owner.0), Some(owner.1)).map_err(text)?;
    }
    Ok(())
}

/// Puts a new, empty Maildir in place of what was there, with the same owner.
///
/// The old one is put aside, not emptied: an ext4 without a journal makes files slowly for minutes
/// after many were removed, and that is not what is measured.
fn clear(maildir: &Path) -> Result<(), Trouble> {
    static ASIDE: AtomicU32 = AtomicU32::new(0);
    let text = |e: std::io::Error| format!("{}: {e}", maildir.display());
    let owner = match std::fs::metadata(maildir) {
        Ok(meta) => {
            let aside = format!("aside.{}", ASIDE.fetch_add(1, Ordering::Relaxed));
            std::fs::rename(maildir, maildir.with_file_name(aside)).map_err(text)?;
            Some((meta.uid(), meta.gid()))
        }
        Err(_) => None,
    };
    for sub in ["", "tmp", "new", "cur"] {
        let dir = maildir.join(sub);
        std::fs::create_dir_all(&dir).map_err(text)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).map_err(text)?;
        if let Some((uid, gid)) = owner {
            chown(&dir, Some(uid), Some(gid)).map_err(text)?;
        }
    }
    Ok(())
}

/// Removes the indexes that servers keep in a Maildir; the letters stay.
fn forget(maildir: &Path) -> Result<(), Trouble> {
    for entry in std::fs::read_dir(maildir).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            std::fs::remove_file(entry.path()).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// How many letters a directory has: what begins with a dot is none.
fn count(dir: &Path) -> u32 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| !e.file_name().as_bytes().starts_with(b".")).count() as u32
}

/// Has the kernel forget what it holds of all files.
pub(super) fn chill() -> Result<(), Trouble> {
    let synced = std::process::Command::new("sync").status();
    synced.map_err(|e| e.to_string())?;
    std::fs::write("/proc/sys/vm/drop_caches", "3").map_err(|e| format!("drop_caches: {e}"))
}
