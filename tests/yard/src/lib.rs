//! What tests of all crates share: first of all a directory for one test. Nobody can guess its name or
//! has been there before, and it goes when the test ends, also by a panic.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "a test says what it expects by failing")]

mod aloud;
pub mod patience;
mod script;

pub use aloud::skipped;
pub use script::script;

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs::Permissions;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::{Builder, TempDir};

/// How often it is tried to remove a directory.
const TRIES: u32 = 20;

/// A fresh directory, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Yard {
    dir: TempDir,
    /// Who removes it.
    maker: Option<u32>,
}

impl Yard {
    /// An empty directory below the one for temporary files, its name beginning with `name`
    /// (short: the paths of UNIX sockets end at 107 bytes). Everybody may enter it, as tests of
    /// root's become other users; only its maker may write there.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::made(name).unwrap_or_else(|why| panic!("no directory for the test {name}: {why}"))
    }

    /// [`Yard::new`] for who can say that it failed.
    ///
    /// # Errors
    /// The directory cannot be made.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that others go to")]
    pub fn made(name: &str) -> io::Result<Self> {
        Self::made_in(&std::env::temp_dir(), name)
    }

    /// [`Yard::made`] below a directory of one's choice.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn made_in(above: &Path, name: &str) -> io::Result<Self> {
        let dir = Builder::new().prefix(&format!("{name}-")).tempdir_in(above)?;
        // Whatever the umask is.
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        Ok(Self { dir, maker: Some(std::process::id()) })
    }

    /// Leaves the directory where it is, for who looks why something failed.
    pub fn leave(&mut self) {
        self.maker = None;
    }

    /// Ties something that stands in the directory to it.
    pub fn keep<T>(self, what: T) -> Kept<T> {
        Kept { what, yard: self }
    }
}

impl Drop for Yard {
    /// A child that a test forked leaves its parent's directory alone.
    fn drop(&mut self) {
        if self.maker != Some(std::process::id()) {
            self.dir.disable_cleanup(true);
            return;
        }
        // What a test leaves running may make a file while all others are being removed.
        let gone = || std::fs::remove_dir_all(&self.dir).is_ok() || !self.exists();
        let _gone = (0..TRIES).any(|_| gone() || sleep());
    }
}

impl Deref for Yard {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.dir.path()
    }
}

impl AsRef<Path> for Yard {
    fn as_ref(&self) -> &Path {
        self.dir.path()
    }
}

impl AsRef<OsStr> for Yard {
    fn as_ref(&self) -> &OsStr {
        self.dir.path().as_os_str()
    }
}

impl<T: Display> Display for Kept<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

/// Waits until it may be tried again.
fn sleep() -> bool {
    std::thread::sleep(Duration::from_millis(20));
    false
}

/// Something that stands in a yard, and is used as if it stood alone; both go together.
#[derive(Debug)]
pub struct Kept<T> {
    what: T,
    yard: Yard,
}

impl<T> Kept<T> {
    /// Where it stands.
    #[must_use]
    pub fn yard(&self) -> &Yard {
        &self.yard
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.what
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.what
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_yard_goes_with_what_is_in_it_and_no_two_are_one() {
        let (one, two) = (Yard::new("yard"), Yard::new("yard"));
        assert_ne!(*one, *two);
        assert_eq!(one.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        let path = one.to_path_buf();
        let kept = one.keep(path.join("below/file"));
        std::fs::create_dir(kept.yard().join("below")).unwrap();
        std::fs::write(&*kept, "x").unwrap();
        drop(kept);
        assert!(!path.exists() && two.exists());
    }

    #[test]
    fn a_file_made_while_it_goes_does_not_keep_it() {
        let yard = Yard::new("yard");
        let path = yard.to_path_buf();
        std::thread::scope(|scope| {
            let made = |n| std::fs::write(path.join(format!("{n}")), "x").is_ok();
            let busy = scope.spawn(move || (0_u64..).take_while(|n| made(*n)).count());
            while !path.join("50").exists() {
                std::thread::yield_now();
            }
            drop(yard);
            assert!(busy.join().unwrap() > 50);
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_script_can_be_run_at_once_and_takes_the_place_of_another() {
        let yard = Yard::new("yard");
        let path = yard.join("script");
        for code in [7, 8] {
            script(&path, &format!("#!/bin/sh\nexit {code}\n"));
            let status = std::process::Command::new(&path).status().unwrap();
            assert_eq!(status.code(), Some(code));
        }
        assert_eq!(std::fs::read_dir(&yard).unwrap().count(), 1);
    }

    #[test]
    fn what_is_left_stays() {
        let above = Yard::new("yard");
        let mut left = Yard::made_in(&above, "left").unwrap();
        let path = left.to_path_buf();
        left.leave();
        drop(left);
        assert!(path.starts_with(&above) && path.exists());
        assert!(Yard::made_in(&above.join("none"), "x").is_err());
    }

    #[test]
    fn a_test_that_fails_leaves_nothing() {
        let path = std::thread::spawn(|| {
            let yard = Yard::new("yard");
            std::panic::panic_any(yard.to_path_buf());
        });
        let path = *path.join().unwrap_err().downcast::<PathBuf>().unwrap();
        assert!(path.is_absolute() && !path.exists());
    }
}
