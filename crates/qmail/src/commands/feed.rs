//! A program that gets some lines of ours and then what descriptor 0 has.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use base::errno::is_temporary;
use base::limits;
use sys::signal::{self, Signal};
use sys::spawn::{self, Command, Status};
use sys::{errno, fd};

use super::Stop;

/// Runs a program with `head` and then our descriptor 0 on its own; its exit code. If it cannot be
/// run, `code` says with what we end.
pub(super) fn feed(
    program: &OsString,
    args: &[OsString],
    head: &[u8],
    code: impl FnOnce(&io::Error) -> i32,
) -> Result<i32, Stop> {
    let (from, to) = fd::pipe().map_err(|err| Stop::unable("create pipe", &err))?;
    let started = Command::new(program).args(args).fd(from, 0).spawn();
    let child = started.map_err(|err| match err.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Stop::unable("fork", &err),
        _ => Stop::not_run(program, &err, code(&err)),
    })?;
    let copied = copy(head, fd::stdin(), &to);
    if copied.is_err() {
        // It must not take half of the letter for all of it.
        let _ = signal::kill(child, Signal::Kill);
    }
    drop(to);
    let end = spawn::wait(child);
    copied.map_err(|err| Stop::unable("copy input", &err))?;
    match end {
        Ok(Status::Exited(code)) => Ok(code.into()),
        Ok(Status::Killed(_)) => Err(Stop::later("child crashed")),
        Err(_) => Err(Stop::later("wait failed")),
    }
}

/// 111 for an error that may pass, else 100: how a program on a `.qmail` line ends.
pub(super) fn by_error(err: &io::Error) -> i32 {
    if is_temporary(errno::number(err)) { 111 } else { 100 }
}

/// Writes `head` and then all that `from` has. A program that has read enough is content: what it
/// makes of it, its exit code says.
fn copy(head: &[u8], from: impl AsFd, to: &OwnedFd) -> io::Result<()> {
    let mut buf = vec![0; limits::CHUNK];
    let mut piece = head.to_vec();
    loop {
        match fd::write_all(to, &piece) {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        let n = fd::read(&from, &mut buf)?;
        if n == 0 {
            return Ok(());
        }
        piece.clear();
        piece.extend_from_slice(buf.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_comes_first_and_then_everything() {
        let letter = fd::memfd("letter", b"letter\n").unwrap();
        let (from, to) = fd::pipe().unwrap();
        copy(b"head\n", &letter, &to).unwrap();
        drop(to);
        assert_eq!(fd::read_to_end(&from, 100).unwrap(), b"head\nletter\n");
    }

    #[test]
    fn who_stops_reading_has_read_enough_but_half_a_letter_is_none() {
        let letter = fd::memfd("letter", &vec![b'x'; 200_000]).unwrap();
        let (from, to) = fd::pipe().unwrap();
        drop(from);
        assert!(copy(b"", &letter, &to).is_ok());
        let (_from, to) = fd::pipe().unwrap();
        let directory = std::fs::File::open("/").unwrap();
        assert!(copy(b"", &directory, &to).is_err());
    }

    #[test]
    fn a_missing_program_never_works_and_a_busy_one_later() {
        assert_eq!(by_error(&io::Error::from_raw_os_error(2)), 100);
        assert_eq!(by_error(&io::Error::from_raw_os_error(26)), 111);
    }
}
