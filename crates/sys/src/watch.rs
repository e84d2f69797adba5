//! Hearing that a directory has changed, without asking again and again.

use rustix::fs::inotify::{CreateFlags, WatchFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A watch on directories; its descriptor is readable when something changed.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Watch {
    /// Starts watching the names in one directory: told is when one came, went or was replaced.
    /// Fails where the kernel has no inotify or the account has no watch left.
    pub fn on(dir: &Path) -> io::Result<Watch> {
        Self::for_these(&[dir], names())
    }

    /// The same of several directories.
    pub fn on_all(dirs: &[&Path]) -> io::Result<Watch> {
        Self::for_these(dirs, names())
    }

    /// Starts watching the names in directories and what is in their files. A file that is a link
    /// to one elsewhere is watched as a name only.
    pub fn on_contents(dirs: &[&Path]) -> io::Result<Watch> {
        Self::for_these(dirs, names() | WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE)
    }

    fn for_these(dirs: &[&Path], what: WatchFlags) -> io::Result<Watch> {
        let fd = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        for dir in dirs {
            rustix::fs::inotify::add_watch(&fd, *dir, what | WatchFlags::ONLYDIR)?;
        }
        Ok(Watch(fd))
    }

    /// Forgets what was heard so far; true if there was something.
    pub fn drain(&self) -> bool {
        let mut heard = false;
        let mut buf = [0; 4096];
        // Bounded: a directory that changes all the time must not hold the caller here.
        for _ in 0..16 {
            match rustix::io::read(&self.0, &mut buf) {
                Ok(n) if n > 0 => heard = true,
                _ => break,
            }
        }
        heard
    }
}

/// What happens to names.
fn names() -> WatchFlags {
    WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_new_name_is_heard_once() {
        let path = Yard::new("sys-watch");
        let watch = Watch::on(&path).unwrap();
        assert!(!watch.drain());
        std::fs::create_dir(path.join("new")).unwrap();
        assert!(watch.drain());
        assert!(!watch.drain());
        std::fs::write(path.join("file"), "").unwrap();
        let contents = Watch::on_contents(&[&path]).unwrap();
        assert!(watch.drain());
        std::fs::write(path.join("file"), "new").unwrap();
        assert!(contents.drain());
        assert!(!watch.drain());
    }
}
