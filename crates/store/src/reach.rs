//! Which directories of settings a running qmail-send can read: it notes them in the file that it
//! holds locked, `queue/lock/sendmutex`. A directory that was put in their place later is outside
//! its fence, and only a qmail-send that is started anew can read it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sys::sandbox;

use crate::home::Home;

/// Bytes of the note that are looked at.
const NOTE: u64 = 64 << 10;

/// What a qmail-send has noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach(Vec<(u64, u64)>);

impl Reach {
    /// Notes what `control/` of a home is now, and where links in it lead; nothing if it is not
    /// fenced (`None`). Before the fence is closed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(mutex: &File, fenced: Option<&Home>) -> io::Result<()> {
        let text: String = fenced.map(Self::now).unwrap_or_default().lines();
        mutex.set_len(0)?;
        mutex.write_all_at(text.as_bytes(), 0)
    }

    /// What the running qmail-send of a home has noted; nothing if it has noted nothing, as one of
    /// another make.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(home: &Home) -> io::Result<Self> {
        let mut text = String::new();
        let file = sys::file::open_read(home.path("queue/lock/sendmutex"))?;
        file.take(NOTE).read_to_string(&mut text)?;
        Ok(Self(text.lines().filter_map(place).collect()))
    }

    /// As it would be noted now.
    pub fn now(home: &Home) -> Self {
        Self(sandbox::identity(&home.path("control")))
    }

    /// Whether nothing lies outside that has to be read now.
    pub fn covers(&self, now: &Self) -> bool {
        self.0.is_empty() || now.0.iter().all(|place| self.0.contains(place))
    }

    fn lines(&self) -> String {
        self.0.iter().map(|(device, inode)| format!("{device} {inode}\n")).collect()
    }
}

/// `device inode`, in decimal.
fn place(line: &str) -> Option<(u64, u64)> {
    let (device, inode) = line.split_once(' ')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn what_was_noted_covers_what_is_there_until_a_directory_is_replaced() {
        let root = Yard::new("reach");
        for dir in ["control", "elsewhere", "third", "queue/lock"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        let home = Home::at(&root).unwrap();
        let link = home.path("control/locals");
        std::fs::write(home.path("elsewhere/locals"), "x\n").unwrap();
        std::fs::write(home.path("third/locals"), "x\n").unwrap();
        std::os::unix::fs::symlink(home.path("elsewhere/locals"), &link).unwrap();
        let mutex = File::create(home.path("queue/lock/sendmutex")).unwrap();
        let covered = || Reach::of(&home).unwrap().covers(&Reach::now(&home));
        assert!(covered());
        Reach::note(&mutex, Some(&home)).unwrap();
        std::fs::write(home.path("control/me"), "x\n").unwrap();
        assert!(covered());
        std::fs::remove_file(&link).unwrap();
        assert!(covered());
        std::os::unix::fs::symlink(home.path("third/locals"), &link).unwrap();
        assert!(!covered());
        Reach::note(&mutex, Some(&home)).unwrap();
        assert!(covered());
        std::fs::rename(home.path("control"), home.path("control.old")).unwrap();
        assert!(covered());
        std::fs::create_dir(home.path("control")).unwrap();
        assert!(!covered());
        Reach::note(&mutex, None).unwrap();
        assert!(covered() && mutex.metadata().unwrap().len() == 0);
    }
}
