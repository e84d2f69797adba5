//! An mbox file opened and locked, so that nobody else's letter is lost: every program of ours that
//! writes one goes through here (dot-qmail(5)).

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long the file may stay locked by others.
const LOCKED: Duration = Duration::from_secs(30);
/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(50);

/// Why the file cannot be written to now.
#[derive(Debug)]
pub(crate) enum NoLock {
    /// It cannot be opened.
    Open(io::Error),
    /// It cannot be locked: without a lock two writers would mix their letters.
    Lock(io::Error),
    /// Others have held the lock for [`LOCKED`].
    Busy,
}

/// Opens a file for appending, made with mode 0600 by a umask of 077 if it is missing, and holds
/// its lock until the file is dropped. It is the file that has the name when the lock is there:
/// whoever held it may have put a new one in its place (maildir2mbox does), and what would be
/// appended to the old one nobody would ever see.
pub(crate) fn append(name: &Path) -> Result<File, NoLock> {
    let until = sys::clock::monotonic().saturating_add(LOCKED);
    loop {
        // A FIFO that nobody reads is an error, not a wait.
        let file = sys::file::open_append(name).map_err(NoLock::Open)?;
        wait(&file, until)?;
        let locked = file.metadata().map_err(NoLock::Open)?;
        match std::fs::metadata(name) {
            Ok(named) if sys::file::is_same(&locked, &named) => return Ok(file),
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(NoLock::Open(err)),
            _ if sys::clock::monotonic() >= until => return Err(NoLock::Busy),
            _ => {}
        }
    }
}

/// Waits for the lock.
fn wait(file: &File, until: Duration) -> Result<(), NoLock> {
    loop {
        match sys::lock::try_exclusive(file) {
            Ok(()) => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) => return Err(NoLock::Lock(err)),
        }
        if sys::clock::monotonic() >= until {
            return Err(NoLock::Busy);
        }
        sys::clock::sleep(TRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use yard::Yard;

    #[test]
    fn a_file_that_was_replaced_while_we_waited_is_not_the_one_written_to() {
        let dir = Yard::new("mbox-lock");
        let name = dir.join("Mailbox");
        let held = append(&name).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| append(&name).unwrap().write_all(b"later\n").unwrap());
            sys::clock::sleep(TRY * 4);
            std::fs::write(dir.join("tmp"), b"before\n").unwrap();
            std::fs::rename(dir.join("tmp"), &name).unwrap();
            drop(held);
            waiting.join().unwrap();
        });
        assert_eq!(std::fs::read(&name).unwrap(), b"before\nlater\n");
    }

    #[test]
    fn a_device_is_a_file_like_others_and_a_directory_is_none() {
        assert!(append(Path::new("/dev/null")).is_ok());
        assert!(matches!(append(Path::new("/tmp")), Err(NoLock::Open(_))));
    }
}
