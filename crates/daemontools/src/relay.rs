//! Bytes both ways between two that both may stop reading: neither direction waits for the other.

use crate::crlf::Change;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::poll::{self, Interest};

/// What is read at once. What becomes of it is written before more is read.
const PIECE: usize = 256;

/// One direction.
#[derive(Debug)]
pub(crate) struct Flow {
    /// `None` once its end was read.
    from: Option<OwnedFd>,
    /// `None` once nothing more will be written; then it is closed.
    to: Option<OwnedFd>,
    change: Change,
    told: Option<Told>,
    /// Read, and not yet written.
    rest: Vec<u8>,
}

/// Who is told of what passes, on descriptor 2 (recordio).
#[derive(Debug)]
pub(crate) struct Told {
    /// Whose bytes they are.
    pub(crate) pid: u32,
    /// `<` or `>`.
    pub(crate) sign: char,
}

impl Told {
    /// `PID < TEXT`, for each line in the piece; a blank behind a whole line, `+` behind a part of one.
    fn lines(&self, piece: &[u8]) -> Vec<u8> {
        let mut said = Vec::new();
        for line in piece.split_inclusive(|&byte| byte == b'\n') {
            said.extend(format!("{} {} ", self.pid, self.sign).into_bytes());
            match line.split_last() {
                Some((b'\n', text)) => {
                    said.extend_from_slice(text);
                    said.extend_from_slice(b" \n");
                }
                _ => {
                    said.extend_from_slice(line);
                    said.extend_from_slice(b"+\n");
                }
            }
        }
        said
    }

    fn end(&self) -> Vec<u8> {
        format!("{} {} [EOF]\n", self.pid, self.sign).into_bytes()
    }
}

impl Flow {
    /// From one descriptor to another.
    pub(crate) fn new(from: OwnedFd, to: OwnedFd, change: Change) -> Self {
        Self { from: Some(from), to: Some(to), change, told: None, rest: Vec::new() }
    }

    /// The same, with somebody who is told.
    pub(crate) fn told(self, told: Told) -> Self {
        Self { told: Some(told), ..self }
    }

    /// What it waits for; `None` if it is over.
    fn wants(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        let to = self.to.as_ref()?;
        if !self.rest.is_empty() {
            return Some((to.as_fd(), Interest::WRITE));
        }
        self.from.as_ref().map(|from| (from.as_fd(), Interest::READ))
    }

    /// Reads or writes what can be now; an error is that of a write.
    fn step(&mut self) -> io::Result<()> {
        if self.rest.is_empty() {
            self.read();
        } else if let Some(to) = &self.to {
            match sys::fd::write_now(to, &self.rest) {
                Ok(done) => drop(self.rest.drain(..done.min(self.rest.len()))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if self.rest.is_empty() && self.from.is_none() {
            self.to = None;
        }
        Ok(())
    }

    /// A failure to read is the end.
    fn read(&mut self) {
        let mut piece = [0; PIECE];
        let got = match self.from.as_ref().map(|from| sys::fd::read(from, &mut piece)) {
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => return,
            got => got.and_then(Result::ok).unwrap_or(0),
        };
        let piece = piece.get(..got).unwrap_or_default();
        if let Some(told) = &self.told {
            crate::message::say(&if piece.is_empty() { told.end() } else { told.lines(piece) });
        }
        if piece.is_empty() {
            self.change.end(&mut self.rest);
            self.from = None;
        } else {
            self.change.take(piece, &mut self.rest);
        }
    }
}

/// Passes bytes both ways until what comes `down` is over; that `up` is over, or that nobody takes
/// what goes there, ends only that. SIGPIPE must be ignored.
///
/// # Errors
/// Nobody takes what comes down.
pub(crate) fn run(mut up: Flow, mut down: Flow) -> io::Result<()> {
    while down.wants().is_some() {
        let wanted = [up.wants(), down.wants()];
        let list: Vec<_> = wanted.iter().copied().flatten().collect();
        let mut ready = poll::ready_each(&list, None)?.into_iter();
        let [up_is, down_is] = wanted.map(|wants| wants.and_then(|_| ready.next()) == Some(true));
        if up_is && up.step().is_err() {
            (up.from, up.to) = (None, None);
        }
        if down_is {
            down.step()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::fd::{pipe, read_to_end, write_all};

    #[test]
    fn lines_and_parts_of_lines_are_told() {
        let told = Told { pid: 6603, sign: '<' };
        assert_eq!(told.lines(b"in\nmore\r\npart"), b"6603 < in \n6603 < more\r \n6603 < part+\n");
        assert_eq!(told.end(), b"6603 < [EOF]\n");
    }

    /// A flow, what to write into it, and where it comes out.
    fn flow(change: Change) -> (Flow, OwnedFd, OwnedFd) {
        let ((from, source), (sink, to)) = (pipe().unwrap(), pipe().unwrap());
        (Flow::new(from, to, change), source, sink)
    }

    #[test]
    fn much_that_nobody_reads_holds_up_only_its_own_direction() {
        let (up, up_source, up_sink) = flow(Change::Nothing);
        let (down, down_source, down_sink) = flow(Change::fix());
        sys::fd::set_nonblocking(&up_source, true).unwrap();
        let feed = std::thread::spawn(move || {
            while write_all(&up_source, &[b'x'; 4096]).is_ok() {}
            write_all(&down_source, b"answer\n").unwrap();
            drop(down_source);
            up_source
        });
        run(up, down).unwrap();
        assert_eq!(read_to_end(&down_sink, 99).unwrap(), b"answer\r\n");
        drop((feed.join().unwrap(), up_sink));
    }

    #[test]
    fn a_reader_that_is_gone_ends_up_and_not_down() {
        let (up, up_source, up_sink) = flow(Change::Nothing);
        let (down, down_source, down_sink) = flow(Change::Nothing);
        drop(up_sink);
        write_all(&up_source, b"nobody reads this").unwrap();
        let say = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            write_all(&down_source, b"last words").unwrap();
        });
        run(up, down).unwrap();
        say.join().unwrap();
        assert_eq!(read_to_end(&down_sink, 99).unwrap(), b"last words");
    }

    #[test]
    fn nobody_who_takes_what_comes_down_is_an_error() {
        let (up, _up_source, _up_sink) = flow(Change::Nothing);
        let (down, down_source, down_sink) = flow(Change::Nothing);
        drop(down_sink);
        write_all(&down_source, b"x").unwrap();
        assert_eq!(run(up, down).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
