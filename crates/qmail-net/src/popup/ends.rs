//! The client's connection, read no further than the line at hand: what the client sent behind its
//! secret belongs to whoever serves the mailbox.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use base::limits;
use proto::line::{Line, Lines};
use sys::errno;
use sys::poll::{self, Interest};

/// Both directions of one connection.
#[derive(Debug)]
pub(super) struct Ends {
    /// A socket of whatever kind, or a pipe: std has `peek` only by this name.
    input: TcpStream,
    output: OwnedFd,
    lines: Lines,
    /// The input can be looked at without being taken.
    peeks: bool,
}

/// What came from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Line(Vec<u8>),
    TooLong,
    Endless,
    Deadline,
    Eof,
}

impl Ends {
    /// A connection with a descriptor for each direction.
    pub(super) fn two(input: OwnedFd, output: OwnedFd) -> Self {
        let lines = Lines::new(limits::COMMAND_LINE);
        Self { input: TcpStream::from(input), output, lines, peeks: true }
    }

    /// The descriptor the client is heard on.
    pub(super) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// The descriptor the client is spoken to on.
    pub(super) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Writes all of it in time.
    pub(super) fn say(&self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        sys::fd::write_all_within(&self.output, bytes, limit)
    }

    /// The next line, and not a byte more.
    pub(super) fn hear(&mut self, limit: Duration) -> Heard {
        let since = Instant::now();
        loop {
            let left = limit.saturating_sub(since.elapsed());
            let ready = poll::ready(&[self.input.as_fd()], Interest::READ, Some(left));
            match ready.as_deref() {
                Ok([true]) => {}
                Ok(_) if since.elapsed() < limit => continue,
                Ok(_) => return Heard::Deadline,
                Err(_) => return Heard::Eof,
            }
            match self.take() {
                Ok(Some(heard)) => return heard,
                Ok(None) => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Heard::Eof,
            }
        }
    }

    /// Takes what is there, up to the end of the line.
    fn take(&mut self) -> io::Result<Option<Heard>> {
        let mut room = [0; limits::COMMAND_LINE];
        let seen = self.look(&mut room)?;
        let mut rest = room.get(..seen).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Some(Heard::Eof));
        }
        let heard = self.lines.take(&mut rest).map(|line| match line {
            Line::Text(text) => Heard::Line(text.to_vec()),
            Line::TooLong => Heard::TooLong,
            Line::Endless => Heard::Endless,
        });
        let used = seen.saturating_sub(rest.len());
        if self.peeks {
            self.swallow(used)?;
        }
        Ok(heard)
    }

    /// Looks at what is there; a pipe cannot be looked at, and gives one byte at a time.
    fn look(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.peeks {
            match self.input.peek(room) {
                // The only answer a pipe has to that question.
                Err(err) if errno::is(&err, errno::ENOTSOCK) => self.peeks = false,
                seen => return seen,
            }
        }
        sys::fd::read(&self.input, room.get_mut(..1).unwrap_or_default())
    }

    /// Takes so many bytes that have been seen.
    fn swallow(&self, mut count: usize) -> io::Result<()> {
        let mut room = [0; limits::COMMAND_LINE];
        while count > 0 {
            match sys::fd::read(&self.input, room.get_mut(..count).unwrap_or_default())? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => count = count.saturating_sub(n),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn what_follows_the_secret_stays_in_the_connection() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"USER joe\r\nPASS x\r\nSTAT\r\nQUIT\r\n").unwrap();
        let mut rest = server.try_clone().unwrap();
        let mut ends = Ends::two(server.try_clone().unwrap().into(), server.into());
        assert_eq!(ends.hear(SOON), Heard::Line(b"USER joe".to_vec()));
        assert_eq!(ends.hear(SOON), Heard::Line(b"PASS x".to_vec()));
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut left = String::new();
        rest.read_to_string(&mut left).unwrap();
        assert_eq!(left, "STAT\r\nQUIT\r\n");
    }

    #[test]
    fn a_pipe_is_read_as_carefully() {
        let (read, write) = sys::fd::pipe().unwrap();
        sys::fd::write_all(&write, b"USER joe\nPASS").unwrap();
        let rest = read.try_clone().unwrap();
        let mut ends = Ends::two(read, write.try_clone().unwrap());
        assert_eq!(ends.hear(SOON), Heard::Line(b"USER joe".to_vec()));
        let mut room = [0; 10];
        assert_eq!(sys::fd::read(&rest, &mut room).unwrap(), 4);
    }

    #[test]
    fn silence_and_endless_lines_have_an_end() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut ends = Ends::two(server.try_clone().unwrap().into(), server.into());
        assert_eq!(ends.hear(Duration::from_millis(10)), Heard::Deadline);
        client.write_all(&[b'x'; 3_000]).unwrap();
        assert_eq!(ends.hear(Duration::from_millis(50)), Heard::Deadline);
        client.write_all(b"\r\n").unwrap();
        assert_eq!(ends.hear(SOON), Heard::TooLong);
        drop(client);
        assert_eq!(ends.hear(SOON), Heard::Eof);
    }
}
