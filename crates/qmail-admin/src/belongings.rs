//! What lies in directories where a role writes: whether it is the role's, and giving it to the
//! role, as after a home was copied from a machine with other uids.
//!
//! Root goes where others may write. So no link is followed, nothing with a second name is given
//! away, all is changed through descriptors of what was looked at, and a directory is its owner's
//! alone while its files change hands.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use store::home::{Home, Roles};
use sys::at::{At, Opening};
use sys::errno;
use sys::user::Ids;

use crate::permissions::{about, directory};
use crate::places::Places;
use crate::{Trouble, services, setup};

/// Warnings about the files of one directory at most.
const OFTEN: usize = 5;

/// A directory of a role, and the plain files in it.
#[derive(Debug)]
pub(crate) struct Belongings {
    dir: PathBuf,
    owner: Ids,
    /// The directory's mode.
    mode: u32,
    /// Its group is for somebody to choose.
    keeps_group: bool,
    /// The files' mode; `None`: whatever the role gave them.
    files: Option<u32>,
}

/// Every directory of the home whose files must be a role's.
pub(crate) fn all(home: &Home, roles: &Roles, places: &Places) -> Vec<Belongings> {
    let of_queue = ["queue/log", "queue/big"].map(|dir| Belongings {
        dir: home.path(dir),
        owner: roles.qmailq.clone(),
        mode: 0o700,
        keeps_group: false,
        files: Some(0o600),
    });
    // Where the guide has them its words hold: open to all, or as somebody has made them.
    let logs = services::NAMES.iter().filter(|_| !places.guided).map(|name| {
        let (dir, owner) = (places.log(name), roles.qmaill.clone());
        Belongings { dir, owner, mode: LOG, keeps_group: true, files: None }
    });
    of_queue.into_iter().chain(logs).collect()
}

/// A log's directory: its writer's, and nobody's else who is not in its group, which is root's. A
/// group that somebody has chosen, so that others may read, stays; our own is strangers' as well.
pub(crate) fn log(dir: &Path, home: &Home, roles: &Roles) -> Result<(), Trouble> {
    let chosen = std::fs::symlink_metadata(dir).ok().map(|there| there.gid());
    let gid = chosen.filter(|gid| ![roles.nofiles, roles.qmail].contains(gid));
    let gid = gid.unwrap_or(home.owner_ids().gid);
    directory(dir, LOG, &Ids { gid, ..roles.qmaill.clone() })
}

/// A log's directory has this mode.
pub(crate) const LOG: u32 = 0o750;

/// A name in the directory, or the directory itself.
struct Thing {
    path: PathBuf,
    /// `None`: a link.
    file: Option<(File, Metadata)>,
    /// The mode it should have.
    mode: Option<u32>,
    is_dir: bool,
}

impl Thing {
    /// What is not as it should be.
    fn wrong(&self, owner: Option<&Ids>) -> Option<&'static str> {
        let Some((_, there)) = self.file.as_ref().filter(|(_, there)| self.is_like(there)) else {
            return Some(TYPE);
        };
        if owner.is_some_and(|owner| there.uid() != owner.uid) {
            return Some(OWNER);
        }
        let mode = there.permissions().mode() & 0o7777;
        self.mode.is_some_and(|wanted| mode != wanted).then_some("has wrong permissions")
    }

    fn is_like(&self, there: &Metadata) -> bool {
        if self.is_dir { there.is_dir() } else { there.is_file() }
    }

    /// The file, if there is something that can be mended.
    ///
    /// # Errors
    /// It has other names, under which it may be somebody else's.
    fn given(&self, owner: Option<&Ids>) -> Result<Option<&File>, Trouble> {
        match (self.wrong(owner), &self.file) {
            (None | Some(TYPE), _) | (_, None) => Ok(None),
            (_, Some((_, there))) if !self.is_dir && there.nlink() != 1 => {
                let path = self.path.display();
                Err(format!("{path} has other names: remove it, or put a copy in its place"))
            }
            (_, Some((file, _))) => Ok(Some(file)),
        }
    }
}

/// Said of what is no plain file.
const TYPE: &str = "has wrong type";
/// Said of what is somebody else's.
const OWNER: &str = "has wrong owner";

/// Gives what belongs to roles back to them.
pub(crate) fn mend(home: &Home, roles: &Roles, places: &Places) -> Result<(), Trouble> {
    let lock = (home.path("queue/queued.lock"), 0o600, roles.qmailq.clone());
    for (path, mode, owner) in setup::locked(home, roles).into_iter().chain([lock]) {
        give_file(&path, mode, &owner)?;
    }
    all(home, roles, places).iter().try_for_each(Belongings::mend)
}

impl Belongings {
    /// What is not as it should be, in the words of stock's instcheck; nothing if it is not there.
    pub(crate) fn look(&self, owners: bool) -> Vec<String> {
        let owner = Some(&self.owner).filter(|_| owners);
        let mut warnings = Vec::new();
        let looked = self.each(|thing| {
            let wrong = thing.wrong(owner);
            warnings.extend(wrong.map(|wrong| format!("{} {wrong}", thing.path.display())));
            Ok(())
        });
        warnings.extend(looked.err());
        if let Some(more) = warnings.len().checked_sub(OFTEN).filter(|more| *more > 0) {
            warnings.truncate(OFTEN);
            warnings.push(format!("{}: and {more} more", self.dir.display()));
        }
        warnings
    }

    /// Gives all that is not its owner's to him, with its mode. Whoever is not root can only give
    /// what he has its mode.
    pub(crate) fn mend(&self) -> Result<(), Trouble> {
        let owner = Some(&self.owner).filter(|_| sys::user::euid() == 0);
        let mut some = false;
        self.each(|thing| {
            if owner.is_none() && thing.wrong(Some(&self.owner)) == Some(OWNER) {
                let (path, dir, Ids { uid, gid, .. }) =
                    (thing.path.display(), self.dir.display(), &self.owner);
                let astray = "unless its path leads through a link";
                let mend = format!("as root, {astray}: chown -hR {uid}:{gid} {dir}");
                return Err(format!("{path} belongs to somebody else (mend: {mend})"));
            }
            some = thing.given(owner)?.is_some() || some;
            Ok(())
        })?;
        if !some {
            return Ok(());
        }
        let Some((itself, _)) = self.open()? else { return Ok(()) };
        let before = about(&self.dir, itself.metadata())?;
        if owner.is_some() {
            // Nobody else adds a name from here on.
            about(&self.dir, give(&itself, Some((0, 0)), Some(0o700)))?;
        }
        let ids = owner.map(|owner| (owner.uid, owner.gid));
        let given = self.each(|thing| match thing.given(owner)?.filter(|_| !thing.is_dir) {
            Some(file) => about(&thing.path, give(file, ids, thing.mode)),
            None => Ok(()),
        });
        // It becomes its owner's whatever came in between.
        let gid = if self.keeps_group { before.gid() } else { self.owner.gid };
        let ids = owner.map(|owner| (owner.uid, gid));
        given.and(about(&self.dir, give(&itself, ids, Some(self.mode))))
    }

    /// Shows every file, and the directory itself last.
    fn each(&self, mut act: impl FnMut(&Thing) -> Result<(), Trouble>) -> Result<(), Trouble> {
        let Some((itself, at)) = self.open()? else { return Ok(()) };
        for name in about(&self.dir, at.names(Path::new("")))? {
            let path = self.dir.join(&name);
            let file = match at.file(Path::new(&name), Opening::Look) {
                Ok(file) => {
                    let file = File::from(file);
                    let there = about(&path, file.metadata())?;
                    if there.is_dir() {
                        // Another one's belongings, or nobody's.
                        continue;
                    }
                    Some((file, there))
                }
                // It went away, or is a socket that its owner makes anew.
                Err(err) if is_none_of_ours(&err) => continue,
                Err(err) if is_link(&err) => None,
                Err(err) => return about(&path, Err(err)),
            };
            act(&Thing { path, file, mode: self.files, is_dir: false })?;
        }
        let there = about(&self.dir, itself.metadata())?;
        let (path, mode) = (self.dir.clone(), Some(self.mode));
        act(&Thing { path, file: Some((itself, there)), mode, is_dir: true })
    }

    /// The directory, twice; `None` if it is not there.
    fn open(&self) -> Result<Option<(File, At)>, Trouble> {
        let (above, name) = (self.dir.parent(), self.dir.file_name());
        let (Some(above), Some(name)) = (above, name) else { return Ok(None) };
        let opened = At::open(above).and_then(|above| above.below(Path::new(name)));
        match opened {
            Ok(at) => {
                let itself = about(&self.dir, at.as_fd().try_clone_to_owned())?;
                Ok(Some((File::from(itself), at)))
            }
            // What stands above in its place is named by itself.
            Err(err) if is_missing(&err) => Ok(None),
            Err(err) => Err(format!("{}: {}", self.dir.display(), errno::text(&err))),
        }
    }
}

fn is_missing(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A link is not followed.
fn is_link(err: &io::Error) -> bool {
    errno::is(err, errno::ELOOP)
}

/// A name that went away, or what cannot be opened at all: a socket.
fn is_none_of_ours(err: &io::Error) -> bool {
    err.kind() == ErrorKind::NotFound || errno::is(err, errno::ENXIO)
}

fn give(file: &File, ids: Option<(u32, u32)>, mode: Option<u32>) -> io::Result<()> {
    let there = file.metadata()?;
    if let Some((uid, gid)) = ids.filter(|ids| (there.uid(), there.gid()) != *ids) {
        fchown(file, Some(uid), Some(gid))?;
    }
    match mode.filter(|mode| there.permissions().mode() & 0o7777 != *mode) {
        Some(mode) => file.set_permissions(Permissions::from_mode(mode)),
        None => Ok(()),
    }
}

/// Gives a file that a role locks or writes in place to that role, if it is there.
fn give_file(path: &Path, mode: u32, owner: &Ids) -> Result<(), Trouble> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let opened = At::open(above).and_then(|at| at.file(Path::new(name), Opening::Look));
    let file = match opened {
        Ok(file) => File::from(file),
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        Err(err) => return about(path, Err(err)),
    };
    let there = about(path, file.metadata())?;
    let owner = Some(owner).filter(|_| sys::user::euid() == 0);
    let ids = owner.map(|owner| (owner.uid, owner.gid));
    let thing =
        Thing { path: path.into(), file: Some((file, there)), mode: Some(mode), is_dir: false };
    match thing.given(owner)? {
        Some(file) => about(path, give(file, ids, Some(mode))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::{Kept, Yard};

    fn tree(name: &str) -> Kept<Belongings> {
        let yard = Yard::new(&format!("belongings-{name}"));
        let dir = yard.join("tree");
        std::fs::create_dir(&dir).unwrap();
        let there = std::fs::metadata(&dir).unwrap();
        let (uid, gid) = match there.uid() {
            0 => (47_794, 42_107),
            uid => (uid, there.gid()),
        };
        let owner = Ids { uid, gid, groups: vec![gid] };
        yard.keep(Belongings { dir, owner, mode: 0o700, keeps_group: false, files: Some(0o600) })
    }

    fn put(tree: &Belongings, name: &str, mode: u32) {
        let path = tree.dir.join(name);
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_copied_directory_is_given_back_with_all_its_files() {
        let tree = tree("copied");
        put(&tree, "1", 0o644);
        put(&tree, "2", 0o600);
        std::fs::set_permissions(&tree.dir, Permissions::from_mode(0o755)).unwrap();
        assert!(!tree.look(true).is_empty());
        tree.mend().unwrap();
        assert_eq!(tree.look(true), [""; 0]);
        for name in ["1", "2", "."] {
            let there = std::fs::metadata(tree.dir.join(name)).unwrap();
            assert_eq!((there.uid(), there.gid()), (tree.owner.uid, tree.owner.gid), "{name}");
        }
    }

    fn theirs(tree: &Belongings) -> PathBuf {
        let theirs = tree.dir.with_extension("theirs");
        std::fs::write(&theirs, "secret").unwrap();
        std::fs::set_permissions(&theirs, Permissions::from_mode(0o644)).unwrap();
        theirs
    }

    #[test]
    fn a_file_with_a_second_name_is_not_given_away_and_nothing_else_either() {
        let tree = tree("second");
        let theirs = theirs(&tree);
        put(&tree, "1", 0o644);
        std::fs::hard_link(&theirs, tree.dir.join("2")).unwrap();
        let looks = || {
            [theirs.clone(), tree.dir.join("1"), tree.dir.clone()].map(|path| {
                let there = std::fs::metadata(path).unwrap();
                (there.uid(), there.mode())
            })
        };
        let before = looks();
        assert!(tree.mend().unwrap_err().contains("2 has other names"));
        assert_eq!(looks(), before);
    }

    #[test]
    fn a_link_is_named_and_not_followed() {
        let tree = tree("link");
        let theirs = theirs(&tree);
        std::os::unix::fs::symlink(&theirs, tree.dir.join("1")).unwrap();
        let before = std::fs::metadata(&theirs).unwrap();
        tree.mend().unwrap();
        assert_eq!(tree.look(true), [format!("{} has wrong type", tree.dir.join("1").display())]);
        let after = std::fs::metadata(&theirs).unwrap();
        assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
    }

    #[test]
    fn what_is_not_there_has_nothing_wrong() {
        let mut tree = tree("none");
        tree.dir.push("not/there");
        assert_eq!(tree.look(true), [""; 0]);
        assert_eq!(tree.mend(), Ok(()));
    }
}
