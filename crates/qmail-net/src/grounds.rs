//! The directories a clean parent has closed its fence around. When one of them is replaced by
//! another, the fence still stands around the old one: then the clean parent makes way for a fresh
//! one, whose fence is around what is there now.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use store::home::Home;
use sys::brood::CleanParent;

/// Directories of a home, and which they were.
#[derive(Debug)]
pub(crate) struct Grounds(Vec<(PathBuf, Place)>);

/// Device and inode; `None`: it is not there.
type Place = Option<(u64, u64)>;

impl Grounds {
    /// These directories, as they are before the fence is closed.
    pub(crate) fn of(home: &Home, names: &[&str]) -> Self {
        let known = |name: &&str| {
            let path = home.path(name);
            let place = place(&path);
            (path, place)
        };
        Self(names.iter().map(known).collect())
    }

    /// Nothing that could be replaced.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// The directory that is another one now.
    pub(crate) fn moved(&self) -> Option<&Path> {
        self.0.iter().find(|(path, was)| place(path) != *was).map(|(path, _)| path.as_path())
    }
}

/// Which directory it is. Its attributes are outside of every fence.
fn place(path: &Path) -> Place {
    std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

/// A clean parent whose children look at the settings themselves: as good as its grounds are.
pub(crate) struct Fenced<F> {
    /// Whose name stands in the log.
    pub(crate) name: &'static str,
    pub(crate) grounds: Grounds,
    pub(crate) is_obsolete: bool,
    /// One job.
    pub(crate) child: F,
}

impl<F: FnMut(&[u8], Vec<OwnedFd>) -> i32> CleanParent for Fenced<F> {
    fn refresh(&mut self, _told: bool) -> bool {
        if !self.is_obsolete
            && let Some(dir) = self.grounds.moved()
        {
            self.is_obsolete = true;
            make_way(self.name, dir);
        }
        false
    }

    fn is_obsolete(&self) -> bool {
        self.is_obsolete
    }

    fn child(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> i32 {
        (self.child)(payload, fds)
    }
}

/// Says in the log why a fresh clean parent comes.
pub(crate) fn make_way(name: &str, dir: &Path) {
    let dir = dir.display();
    let line =
        format!("{name}: warning: {dir} is another directory now: starting anew to read it\n");
    sys::log::put(sys::fd::stderr(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_directory_that_is_replaced_is_noticed_and_one_that_changes_is_not() {
        let root = Yard::new("grounds");
        std::fs::create_dir_all(root.join("control")).unwrap();
        std::fs::create_dir_all(root.join("new")).unwrap();
        let home = Home::at(&root).unwrap();
        let (grounds, gone) = (Grounds::of(&home, &["control"]), Grounds::of(&home, &["users"]));
        std::fs::write(home.path("control/me"), "x").unwrap();
        assert_eq!((grounds.moved(), gone.moved(), Grounds::none().moved()), (None, None, None));
        std::fs::rename(home.path("control"), home.path("control.old")).unwrap();
        assert_eq!(grounds.moved(), Some(home.path("control").as_path()));
        std::fs::rename(home.path("new"), home.path("control")).unwrap();
        assert_eq!(grounds.moved(), Some(home.path("control").as_path()));
        std::fs::create_dir(home.path("users")).unwrap();
        assert_eq!(gone.moved(), Some(home.path("users").as_path()));
        let mut parent = Fenced {
            name: "x",
            grounds: Grounds::of(&home, &["users"]),
            is_obsolete: false,
            child: |_: &[u8], _| 7,
        };
        assert!(!parent.refresh(false) && !parent.is_obsolete());
        std::fs::remove_dir(home.path("users")).unwrap();
        assert!(!parent.refresh(false) && parent.is_obsolete());
        assert_eq!(parent.child(b"", Vec::new()), 7);
    }
}
