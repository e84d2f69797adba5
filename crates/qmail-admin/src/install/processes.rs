//! The processes of a home: whoever runs one of its binaries.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::signal::{self, Signal};

/// How long they may take to end after TERM.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks.
const AGAIN: Duration = Duration::from_millis(50);
/// What the kernel writes behind the path of a program that was replaced or removed.
const DELETED: &[u8] = b" (deleted)";

/// Their pids, but ours.
pub(super) fn of(home: &Path) -> Vec<u32> {
    let bin = real_bin(home);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = |pid: u32| pid != std::process::id() && runs(pid, &bin).unwrap_or(false);
    pids.filter(|pid| ours(*pid)).collect()
}

/// Whether a process runs a program of a home, as it is or was; an error if that may not be seen.
pub(crate) fn is_of(pid: u32, home: &Path) -> io::Result<bool> {
    runs(pid, &real_bin(home))
}

/// Where a home's programs lie: the kernel names no links on the way.
fn real_bin(home: &Path) -> PathBuf {
    let bin = home.join("bin");
    std::fs::canonicalize(&bin).unwrap_or(bin)
}

/// Whether a process runs a program in this directory.
fn runs(pid: u32, bin: &Path) -> io::Result<bool> {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    Ok(is_below(exe.as_os_str().as_bytes(), bin))
}

fn is_below(exe: &[u8], bin: &Path) -> bool {
    let exe = exe.strip_suffix(DELETED).unwrap_or(exe);
    Path::new(std::ffi::OsStr::from_bytes(exe)).starts_with(bin)
}

/// Ends them: those who do not hear TERM, by KILL. How many are left.
pub(super) fn end(home: &Path) -> usize {
    let (begun, mut asked) = (Instant::now(), Vec::new());
    loop {
        let left = of(home);
        if left.is_empty() || begun.elapsed() > PATIENCE.saturating_mul(2) {
            return left.len();
        }
        let loud = begun.elapsed() > PATIENCE;
        for pid in left {
            // A process that has ended meanwhile needs no signal.
            if loud {
                let _ = signal::kill(pid, Signal::Kill);
            } else if !asked.contains(&pid) {
                let _ = signal::kill(pid, Signal::Term);
                asked.push(pid);
            }
        }
        sys::clock::sleep(AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_still_the_homes() {
        let bin = Path::new("/var/qmail/bin");
        assert!(is_below(b"/var/qmail/bin/qmail", bin));
        assert!(is_below(b"/var/qmail/bin/qmail (deleted)", bin));
        assert!(!is_below(b"/var/qmail/binary/qmail", bin));
        assert!(!is_below(b"/srv/var/qmail/bin/qmail", bin));
    }
}
