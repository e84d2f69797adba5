//! Making directories and files with the owner and mode they are meant to have.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use sys::at::{At, Opening};
use sys::file::Step;
use sys::user::Ids;

use crate::Trouble;

/// Puts a path's name before what the system said about it.
pub(crate) fn about<T>(path: &Path, done: io::Result<T>) -> Result<T, Trouble> {
    done.map_err(|e| format!("{}: {e}", path.display()))
}

/// Makes a directory if it is not there, and gives it its mode and owner.
///
/// Ownership is only set where it can be: by root. Root follows no link but its own ([`enter`]).
pub(crate) fn directory(path: &Path, mode: u32, owner: &Ids) -> Result<(), Trouble> {
    about(path, enter(path).and_then(|dir| give(dir, mode, owner)))
}

/// Gives what is open its owner, where that can be, and then its mode: a change of the owner takes
/// some of its bits.
pub(crate) fn give(open: impl AsFd, mode: u32, owner: &Ids) -> io::Result<()> {
    if sys::user::euid() == 0 {
        fchown(&open, Some(owner.uid), Some(owner.gid))?;
    }
    set_mode(open, mode)
}

fn set_mode(open: impl AsFd, mode: u32) -> io::Result<()> {
    let file = File::from(open.as_fd().try_clone_to_owned()?);
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Opens a directory, and makes it and those above it that are missing.
///
/// On the way there may be directories of a role, who could put a link in the place of what root is
/// going to make or give away: a link is followed only if it is root's and lies in a directory of
/// root's.
pub(crate) fn enter(path: &Path) -> io::Result<At> {
    if sys::user::euid() != 0 {
        fs::create_dir_all(path)?;
        return At::open(path);
    }
    let start = if path.is_absolute() { "/" } else { "." };
    At::open(Path::new(start))?
        .walk(path, |above, name| above.step(name, |e| make(above, name, &e)))
}

/// Makes a directory on the way that is not there.
fn make(above: &At, name: &Path, why: &io::Error) -> io::Result<At> {
    if why.kind() != ErrorKind::NotFound {
        return Err(io::Error::new(
            why.kind(),
            format!("{} is no directory, or a link that is not root's: remove it", name.display()),
        ));
    }
    match above.make_dir(name) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let made = above.below(name)?;
    set_mode(&made, 0o755).map(|()| made)
}

/// Makes a file of its owner's in a directory that is open, unless something has that name.
pub(crate) fn place(dir: &At, name: &Path, mode: u32, owner: &Ids, text: &[u8]) -> io::Result<()> {
    if dir.owner(name).is_ok() {
        return Ok(());
    }
    let mut fresh = name.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    if let Err(e) = dir.unlink(fresh)
        && e.kind() != ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = File::from(dir.file(fresh, Opening::New)?);
    file.write_all(text)?;
    give(&file, mode, owner)?;
    file.sync_all()?;
    dir.rename(fresh, name)?;
    dir.sync_dir(Path::new(""))
}

/// Adds a line to a file in a directory that is open, and makes the file if need be (mode 0644).
///
/// # Errors
/// Also if what has this name is a link, or anything but a plain file of `owner`'s with one name.
pub(crate) fn append(dir: &At, name: &Path, owner: u32, line: &str) -> io::Result<()> {
    let opened = match dir.file(name, Opening::Write) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let made = File::from(dir.file(name, Opening::New)?);
            set_mode(&made, 0o644).map(|()| made)?
        }
        opened => opened?.into(),
    };
    let there = opened.metadata()?;
    if !there.is_file() || there.uid() != owner || there.nlink() != 1 {
        return Err(io::Error::other("it is not the home's owner's alone"));
    }
    sys::at::write(&opened, line.as_bytes(), there.len())
}

/// Writes a file whole, or leaves what was there: written beside, under a name that no other process
/// uses, synced, renamed over it.
pub(crate) fn replace(path: &Path, mode: u32, text: &[u8]) -> Result<(), Trouble> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(fresh);
    sys::file::replace(path, &fresh, mode, text).or_else(|(step, why)| {
        // What was there stays; a half-written file beside it is of no use to anybody.
        let _ = fs::remove_file(&fresh);
        about(if step == Step::Move { path } else { &fresh }, Err(why))
    })
}

/// Writes a file unless it is there already: an administrator's settings are never overwritten.
pub(crate) fn unless_there(path: &Path, text: &str) -> Result<(), Trouble> {
    if path.exists() { Ok(()) } else { replace(path, 0o644, text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use yard::Yard;

    fn scratch(name: &str) -> Yard {
        Yard::new(&format!("permissions-{name}"))
    }

    fn role() -> Ids {
        Ids { uid: 47_794, gid: 42_107, groups: Vec::new() }
    }

    #[test]
    fn root_follows_no_link_of_a_roles() {
        if sys::user::euid() != 0 {
            return;
        }
        let dir = scratch("roles");
        let (theirs, secret) = (dir.join("theirs"), dir.join("secret"));
        directory(&theirs, 0o755, &role()).unwrap();
        fs::create_dir(&secret).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&secret, theirs.join("lock")).unwrap();
        for below in ["lock", "lock/deeper"] {
            let why = directory(&theirs.join(below), 0o755, &role()).unwrap_err();
            assert!(why.contains("lock is no directory, or a link that is not root's"), "{why}");
        }
        let there = fs::metadata(&secret).unwrap();
        assert_eq!((there.uid(), there.mode() & 0o7777), (0, 0o700));
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_root_has_made_is_followed() {
        let dir = scratch("own");
        fs::create_dir(dir.join("disk")).unwrap();
        symlink("disk", dir.join("queue")).unwrap();
        let owner = match sys::user::euid() {
            0 => role(),
            uid => Ids { uid, ..role() },
        };
        directory(&dir.join("queue/log"), 0o700, &owner).unwrap();
        let there = fs::metadata(dir.join("disk/log")).unwrap();
        assert_eq!((there.uid(), there.mode() & 0o7777), (owner.uid, 0o700));
    }

    #[test]
    fn a_line_is_added_to_a_plain_file_of_ones_own_and_to_nothing_else() {
        let dir = scratch("append");
        let (at, me) = (enter(&dir).unwrap(), sys::user::euid());
        let add = |name: &str, owner| append(&at, Path::new(name), owner, "line\n");
        add("upgrade", me).unwrap();
        add("upgrade", me).unwrap();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(read("upgrade"), "line\nline\n");
        symlink("upgrade", dir.join("link")).unwrap();
        assert!(add("link", me).is_err() && add("upgrade", me.wrapping_add(1)).is_err());
        fs::hard_link(dir.join("upgrade"), dir.join("second")).unwrap();
        assert!(add("second", me).is_err());
        assert_eq!(read("upgrade"), "line\nline\n");
    }
}
