//! readproctitle: show the last lines of a log where `ps` shows the command line.
//!
//! *Runs as* whoever calls it · *hears* the log on descriptor 0 · *opens* `/proc/self/{stat,mem}` ·
//! *speaks to* whoever runs `ps`.

use crate::message::{PERMANENT, TEMPORARY};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

/// The dots that stay in front.
const DOTS: usize = 3;
/// The shortest last argument.
const SHORTEST: usize = 5;

/// `readproctitle words... dots`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let last = match args {
        [_, .., last] if last.len() >= SHORTEST => last.as_bytes(),
        _ => return PERMANENT,
    };
    let mut title = Title(vec![b'.'; last.len()]);
    match follow(&mut title) {
        Ok(()) => 0,
        Err(_) => TEMPORARY,
    }
}

/// The text shown.
struct Title(Vec<u8>);

impl Title {
    /// Shifts everything behind the dots to the left and puts the new bytes last; NULs are skipped.
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().filter(|&&byte| byte != 0) {
            self.0.push(byte);
            self.0.remove(DOTS);
        }
    }
}

/// Reads the log to its end and shows it.
fn follow(title: &mut Title) -> io::Result<()> {
    let place = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| last_byte(&stat));
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").ok();
    // It reads what any service says, and may be root. Nobody hears what it says itself.
    let _ = crate::fences::readproctitle().close_or_tell();
    let mut buf = [0; 512];
    loop {
        if let (Some(memory), Some(end)) = (&memory, place) {
            // Our own argument strings, which nothing else in this program looks at: the kernel
            // shows them to ps. Without /proc there is nobody to show anything to.
            let start = end.saturating_sub(title.0.len() as u64);
            let _ = memory.write_all_at(&title.0, start);
        }
        let got = sys::fd::read(sys::fd::stdin(), &mut buf)?;
        let Some(bytes) = buf.get(..got).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        title.push(bytes);
    }
}

/// The address of the NUL that ends the last argument (proc(5): field 49 is one past it).
fn last_byte(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let end: u64 = after.split_ascii_whitespace().nth(46)?.parse().ok()?;
    end.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_bytes_come_last_behind_three_dots_and_nuls_are_skipped() {
        let mut title = Title(vec![b'.'; 26]);
        title.push(b"one\ntwo\0three\n");
        assert_eq!(title.0, b".............one\ntwothree\n");
        title.push(&[b'x'; 40]);
        assert_eq!(title.0, [b"...".as_slice(), &[b'x'; 23]].concat());
    }
}
