//! Making directories and files with the owner and mode they are meant to have.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use sys::user::Ids;

use crate::Trouble;

/// Puts a path's name before what the system said about it.
pub(crate) fn about<T>(path: &Path, done: std::io::Result<T>) -> Result<T, Trouble> {
    done.map_err(|e| format!("{}: {e}", path.display()))
}

/// Makes a directory if it is not there, and gives it its mode and owner.
///
/// Ownership is only set where it can be: by root.
pub(crate) fn directory(path: &Path, mode: u32, owner: &Ids) -> Result<(), Trouble> {
    about(path, fs::create_dir_all(path))?;
    own(path, owner)?;
    about(path, fs::set_permissions(path, fs::Permissions::from_mode(mode)))
}

/// Gives a path to its owner; nothing to do for anybody but root.
pub(crate) fn own(path: &Path, owner: &Ids) -> Result<(), Trouble> {
    if sys::user::euid() != 0 {
        return Ok(());
    }
    about(path, lchown(path, Some(owner.uid), Some(owner.gid)))
}

/// Writes a file whole, or leaves what was there: written beside, under a name that no other process
/// uses, synced, renamed over it.
pub(crate) fn replace(path: &Path, mode: u32, text: &[u8]) -> Result<(), Trouble> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let done = about(&fresh, write(&fresh, mode, text));
    let done = done.and_then(|()| about(path, fs::rename(&fresh, path)));
    if done.is_err() {
        // What was there stays; a half-written file beside it is of no use to anybody.
        let _ = fs::remove_file(&fresh);
    }
    done?;
    about(path.parent().unwrap_or(path), sys::file::sync_name(path))
}

fn write(path: &Path, mode: u32, text: &[u8]) -> std::io::Result<()> {
    // Made anew, never followed: whoever else may write here could have left a link.
    if let Err(e) = fs::remove_file(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

/// Writes a file unless it is there already: an administrator's settings are never overwritten.
pub(crate) fn unless_there(path: &Path, text: &str) -> Result<(), Trouble> {
    if path.exists() { Ok(()) } else { replace(path, 0o644, text.as_bytes()) }
}
