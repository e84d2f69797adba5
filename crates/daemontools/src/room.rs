//! Room for our own programs under limits from days when a program fitted into two megabytes.
//!
//! Under such a limit the kernel kills a program of today in exec, before it could say why. So whoever
//! is about to become one of ours looks first.

use crate::message::Voice;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::rlimit::{self, Resource};

/// The address space, and the data in it, that each of our programs can do with, bytes.
pub(crate) const NEEDED: u64 = 64 << 20;

/// Raises limits under which `child`, one of our programs, could not start, and says so. Raises them
/// before anything else: under such a limit we have no memory to spare either.
pub(crate) fn make(voice: Voice, child: &OsStr) {
    let mut least = u64::MAX;
    for what in [Resource::As, Resource::Data] {
        let Ok((soft, hard)) = rlimit::get(what) else { continue };
        let enough = NEEDED.min(hard);
        // If they cannot be raised, exec will fail, and that is told.
        if soft < enough && rlimit::set(what, enough, hard).is_ok() {
            least = least.min(soft);
        }
    }
    if least < u64::MAX {
        let few = format!("{least} bytes of memory are too few for ");
        let text = format!(": giving it {NEEDED} (write -m {NEEDED})");
        voice.warning(&[&few, &child, &text], None);
    }
}

/// Whether a program, found as exec will, lies in one directory with this one: links count as what
/// they lead to.
pub(crate) fn is_ours(child: &OsStr) -> bool {
    let beside = |path: &Path| {
        let own = std::env::current_exe().ok();
        let real = std::fs::canonicalize(path).ok();
        own.zip(real).is_some_and(|(own, real)| own.parent() == real.parent())
    };
    if child.as_bytes().contains(&b'/') {
        return beside(Path::new(child));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut found = std::env::split_paths(&path).map(|dir: PathBuf| dir.join(child));
    found.find(|path| path.is_file()).is_some_and(|path| beside(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_us_is_ours() {
        let own = std::env::current_exe().unwrap();
        assert!(is_ours(own.as_os_str()));
        assert!(!is_ours("/bin/sh".as_ref()) && !is_ours("sh".as_ref()));
        assert!(!is_ours("no-such-program".as_ref()));
    }
}
