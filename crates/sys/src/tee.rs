//! Looking into a pipe without taking anything out.

use rustix::pipe::SpliceFlags;
use std::io;
use std::os::fd::AsFd;

/// Copies up to `max` bytes that wait in the pipe `from` into the pipe `to`, leaving them in
/// `from`; 0 at the end of input, `WouldBlock` if nothing waits, `InvalidInput` if either is no
/// pipe. Never waits.
pub fn tee(from: impl AsFd, to: impl AsFd, max: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::tee(&from, &to, max, SpliceFlags::NONBLOCK) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Throws away up to `max` bytes that wait in the pipe `from` without copying them: `null` is the
/// null device, open for writing. How many that were; 0 at the end of input, `WouldBlock` if nothing
/// waits, `InvalidInput` if either is not what it should be. Never waits.
pub fn skip(from: impl AsFd, null: impl AsFd, max: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::splice(&from, None, &null, None, max, SpliceFlags::NONBLOCK) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Lets a pipe hold so many bytes at least. The kernel allows root anything and others a megabyte
/// (`fs.pipe-max-size`), and less where one user has many large pipes.
pub fn enlarge(pipe: impl AsFd, bytes: usize) -> io::Result<()> {
    if rustix::pipe::fcntl_getpipe_size(&pipe)? < bytes {
        rustix::pipe::fcntl_setpipe_size(&pipe, bytes)?;
    }
    Ok(())
}

/// Makes the pipe `own` able to hold as much as the pipe `other`, so that one tee() shows all.
pub fn match_capacity(own: impl AsFd, other: impl AsFd) -> io::Result<()> {
    let size = rustix::pipe::fcntl_getpipe_size(other)?;
    rustix::pipe::fcntl_setpipe_size(own, size)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::patience::eventually;

    #[test]
    fn what_was_seen_is_still_there_to_be_read() {
        let (read, write) = crate::fd::pipe().unwrap();
        let (own_read, own_write) = crate::fd::pipe().unwrap();
        match_capacity(&own_write, &read).unwrap();
        rustix::io::write(&write, b"line\n").unwrap();
        assert_eq!(tee(&read, &own_write, 100).unwrap(), 5);
        assert_eq!(tee(&read, &own_write, 100).unwrap(), 5);
        let mut buf = [0; 32];
        assert_eq!(rustix::io::read(&own_read, &mut buf).unwrap(), 10);
        assert_eq!(rustix::io::read(&read, &mut buf).unwrap(), 5);
        assert_eq!(tee(&read, &own_write, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        rustix::io::write(&write, b"one\ntwo\n").unwrap();
        let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
        assert_eq!(skip(&read, &null, 4).unwrap(), 4);
        assert_eq!(rustix::io::read(&read, &mut buf).unwrap(), 4);
        assert_eq!(skip(&read, &null, 4).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(write);
        // Another test's child may hold a copy until it is the program it is to be.
        eventually("the end", || tee(&read, &own_write, 100).is_ok_and(|seen| seen == 0));
        assert_eq!(skip(&read, &null, 4).unwrap(), 0);
    }
}
