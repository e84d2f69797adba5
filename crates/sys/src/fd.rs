//! Descriptors: bounded reads and writes, where a descriptor lies, what a child may inherit.

use crate::poll::{self, Interest};
use nix::libc;
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::{Errno, FdFlags, retry_on_intr};
use rustix::net::SendFlags;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One read; 0 is the end. A signal does not interrupt it.
pub fn read(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::read(&fd, &mut *buf))?)
}

/// One read of descriptor 0. One that was closed when this process began is an error: the runtime
/// has put `/dev/null` there since, and who closed it did not mean an empty letter.
pub fn read_stdin(buf: &mut [u8]) -> io::Result<usize> {
    if !stdin_was_open() {
        return Err(Errno::BADF.into());
    }
    read(stdin(), buf)
}

/// Everything up to the end, at most `max` bytes; more is `InvalidData`.
pub fn read_to_end(fd: impl AsFd, max: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let got = read(&fd, &mut piece)?;
        if got == 0 {
            return Ok(all);
        }
        all.extend(piece.iter().take(got));
        if all.len() > max {
            return Err(io::Error::new(ErrorKind::InvalidData, "longer than we allow"));
        }
    }
}

/// One write, maybe of a part. A signal does not interrupt it.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::write(&fd, bytes))?)
}

/// Writes all of `bytes`. On a non-blocking descriptor it may end in `WouldBlock` half-way.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let done = write(&fd, bytes)?;
        bytes = bytes.get(done..).unwrap_or_default();
    }
    Ok(())
}

/// Reads until `buf` is full or nothing more comes; how many bytes that were.
pub fn read_full(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0_usize;
    while let Some(room) = buf.get_mut(done..).filter(|room| !room.is_empty()) {
        match read(&fd, room)? {
            0 => break,
            n => done = done.saturating_add(n),
        }
    }
    Ok(done)
}

/// One read, waiting at most `limit` for the first byte; then the error is `TimedOut`.
pub fn read_within(fd: impl AsFd, buf: &mut [u8], limit: Duration) -> io::Result<usize> {
    let since = Instant::now();
    loop {
        wait(&fd, Interest::READ, since, limit)?;
        match read(&fd, buf) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Writes all of `bytes`; the error is `TimedOut` if that takes longer than `limit`, also on a
/// blocking descriptor.
pub fn write_all_within(fd: impl AsFd, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let since = Instant::now();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    while !bytes.is_empty() {
        // There is room more often than not: a socket is asked for it only when it says no.
        let written = match retry_on_intr(|| rustix::net::send(&fd, bytes, flags)) {
            Err(Errno::AGAIN) => {
                wait(&fd, Interest::WRITE, since, limit)?;
                continue;
            }
            Err(Errno::NOTSOCK) => {
                wait(&fd, Interest::WRITE, since, limit)?;
                // A pipe that is ready has room for so much (pipe(7)).
                write(&fd, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes))
            }
            sent => Ok(sent?),
        };
        match written {
            Ok(done) => bytes = bytes.get(done..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One write to a descriptor of which poll has said that there is room, without waiting for more of
/// it: maybe of a part, `WouldBlock` if of nothing.
pub fn write_now(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match retry_on_intr(|| rustix::net::send(&fd, bytes, flags)) {
        // A pipe that is ready has room for so much (pipe(7)).
        Err(Errno::NOTSOCK) => write(&fd, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes)),
        sent => Ok(sent?),
    }
}

/// Waits until `fd` is ready or `limit` has gone by since `since`.
fn wait(fd: &impl AsFd, interest: Interest, since: Instant, limit: Duration) -> io::Result<()> {
    loop {
        let left = limit.saturating_sub(since.elapsed());
        if poll::ready(&[fd.as_fd()], interest, Some(left))?.contains(&true) {
            return Ok(());
        }
        if since.elapsed() >= limit {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// Makes reads and writes return `WouldBlock` instead of waiting, or wait again.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(&fd)?;
    flags.set(OFlags::NONBLOCK, on);
    Ok(rustix::fs::fcntl_setfl(&fd, flags)?)
}

/// Whether an exec closes the descriptor.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> io::Result<()> {
    let flags = if on { FdFlags::CLOEXEC } else { FdFlags::empty() };
    Ok(rustix::io::fcntl_setfd(fd, flags)?)
}

/// A pipe, its read end first; an exec closes both ends.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Makes number `at` the same file as `fd`, and lets an exec keep it.
///
/// Whatever was open at `at` is closed; the caller sees to it that nothing in this process
/// still owns that number (0, 1, 2 and the fixed numbers of an interface before an exec).
pub fn place(fd: impl AsFd, at: RawFd) -> io::Result<()> {
    let fd = fd.as_fd();
    if fd.as_raw_fd() == at {
        return set_cloexec(fd, false);
    }
    // SAFETY: dup2 touches no memory; the number `at` is the caller's to give away (see above).
    if unsafe { libc::dup2(fd.as_raw_fd(), at) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Adopts an inherited descriptor by its number. Call once per number: the result closes it.
pub fn take(n: RawFd) -> OwnedFd {
    // SAFETY: inherited numbers have no owner in this process until somebody takes them, and the
    // programs take each of theirs once. A number that is not open only yields EBADF later.
    unsafe { OwnedFd::from_raw_fd(n) }
}

/// Closes an inherited descriptor by its number, if it is open. As [`take`]: nobody may own it.
pub fn close(n: RawFd) {
    // SAFETY: close touches no memory; the number is nobody's (see above).
    unsafe { libc::close(n) };
}

/// Closes every descriptor from number `n` on. Only right before an exec or in a forked child
/// that owns none of them.
pub fn close_from(n: RawFd) {
    let from = libc::c_uint::try_from(n).unwrap_or(0);
    // SAFETY: close_range touches no memory; nobody uses these numbers again (see above).
    unsafe { libc::close_range(from, libc::c_uint::MAX, 0) };
}

/// Descriptor 0.
pub const fn stdin() -> BorrowedFd<'static> {
    standard(0)
}

/// Descriptor 1.
pub const fn stdout() -> BorrowedFd<'static> {
    standard(1)
}

/// Descriptor 2.
pub const fn stderr() -> BorrowedFd<'static> {
    standard(2)
}

const fn standard(n: RawFd) -> BorrowedFd<'static> {
    // SAFETY: 0, 1 and 2 stay open for the process's life: the runtime opens them on /dev/null if
    // they were closed at the start, and we only ever replace them (`place`).
    unsafe { BorrowedFd::borrow_raw(n) }
}

/// Whether descriptor 0 was open when this process began.
pub fn stdin_was_open() -> bool {
    !CLOSED.load(Ordering::Relaxed)
}

/// Whether descriptor 0 was closed when this process began.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks at descriptor 0 before the runtime does.
extern "C" fn look() {
    // SAFETY: fcntl(2) with F_GETFD touches no memory.
    if unsafe { libc::fcntl(0, libc::F_GETFD) } < 0 {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

// SAFETY: the section holds pointers to functions that take nothing they need and return nothing;
// the C library calls each once before `main`, and `look` needs nothing that is made later.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// A file in memory holding `bytes`, rewound and sealed: nobody who gets it can change it.
pub fn memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    write_all(&fd, bytes)?;
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&fd, seals)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_read_goes_on_over_short_ones_until_the_end() {
        let (from, to) = pipe().unwrap();
        let writer = std::thread::spawn(move || {
            for piece in [b"ab", b"cd", b"ef"] {
                write_all(&to, piece).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut buf = [0; 4];
        assert_eq!((read_full(&from, &mut buf).unwrap(), &buf), (4, b"abcd"));
        assert_eq!((read_full(&from, &mut buf).unwrap(), &buf[..2]), (2, &b"ef"[..]));
        writer.join().unwrap();
    }

    #[test]
    fn a_sealed_memory_file_reads_back_and_refuses_writes() {
        let fd = memfd("test", b"letter").unwrap();
        assert_eq!(read_to_end(&fd, 100).unwrap(), b"letter");
        assert!(write(&fd, b"x").is_err());
    }

    #[test]
    fn a_write_now_takes_what_there_is_room_for() {
        let (_peer, socket) = crate::pass::pair(crate::pass::Kind::Stream).unwrap();
        let much = vec![0; 8 << 20];
        let done = write_now(&socket, &much).unwrap();
        assert!(done > 0 && done < much.len());
        assert_eq!(write_now(&socket, &much).unwrap_err().kind(), ErrorKind::WouldBlock);
        let (_read_end, pipe_end) = pipe().unwrap();
        assert_eq!(write_now(&pipe_end, &much).unwrap(), libc::PIPE_BUF);
    }

    #[test]
    fn a_read_from_a_silent_pipe_times_out() {
        let (read_end, _write_end) = pipe().unwrap();
        let error = read_within(&read_end, &mut [0; 8], Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_write_nobody_reads_times_out_on_blocking_descriptors_too() {
        let (_read_end, pipe_end) = pipe().unwrap();
        let (_peer, socket) = crate::pass::pair(crate::pass::Kind::Stream).unwrap();
        let much = vec![0; 8 << 20];
        for fd in [pipe_end, socket] {
            for nonblocking in [false, true] {
                set_nonblocking(&fd, nonblocking).unwrap();
                let error = write_all_within(&fd, &much, Duration::from_millis(20)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            }
        }
    }

    #[test]
    fn more_than_allowed_is_refused() {
        let (read_end, write_end) = pipe().unwrap();
        write_all(&write_end, b"12345").unwrap();
        drop(write_end);
        assert_eq!(read_to_end(&read_end, 4).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
