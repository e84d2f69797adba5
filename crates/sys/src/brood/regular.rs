//! A client that keeps coming: the child that has served it may serve its next connection too.
//!
//! The listener gives a line along with the connection. The child that has served it to a good end
//! says so on the line and waits there; the listener sends it another connection of the same
//! client, or hangs up. Whose connections they are is the listener's business alone.

use super::FDS;
use crate::pass::{self, Kind};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a child says when it is free.
const FREE: &[u8] = b"free";

/// The listener's end of the line to one child. Dropping it lets the child go: at once, or when it
/// has served the connection it has.
#[derive(Debug)]
pub struct Regular {
    sock: OwnedFd,
}

/// What is heard on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// The child has served its connection to a good end and takes another.
    Free,
    /// It takes no more.
    Gone,
}

impl Regular {
    /// A line, and its other end for [`super::Brood::hand_over_regular`].
    pub fn open() -> io::Result<(Self, OwnedFd)> {
        let (sock, theirs) = pass::pair(Kind::Seqpacket)?;
        crate::fd::set_nonblocking(&sock, true)?;
        Ok((Self { sock }, theirs))
    }

    /// The line, to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    /// Hands another connection to a child that is free; our descriptor stays open. An error: the
    /// child is gone.
    pub fn hand_over(&self, payload: &[u8], connection: BorrowedFd<'_>) -> io::Result<()> {
        if payload.is_empty() || payload.len() > base::limits::HANDOVER {
            return Err(ErrorKind::InvalidInput.into());
        }
        pass::send(&self.sock, payload, &[connection]).map(drop)
    }

    /// What the child has said.
    pub fn heard(&self) -> Heard {
        let mut room = [0; FREE.len()];
        match pass::recv_now(&self.sock, &mut room, 0) {
            Ok((length, _)) if room.get(..length) == Some(FREE) => Heard::Free,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Heard::Nothing,
            Ok(_) | Err(_) => Heard::Gone,
        }
    }
}

/// The child's side, when it has served a connection and ended with `code`: serves the client's
/// next ones until one ends badly or the listener hangs up; the exit code of the last.
pub(super) fn serve_on(
    line: &OwnedFd,
    mut code: i32,
    mut serve: impl FnMut(&[u8], Vec<OwnedFd>) -> i32,
) -> i32 {
    let mut room = Vec::new();
    while code == 0 && pass::send(line, FREE, &[]).is_ok() {
        room.resize(base::limits::HANDOVER, 0);
        match pass::recv(line, &mut room, FDS) {
            Ok((0, _)) | Err(_) => break,
            Ok((length, fds)) => code = serve(room.get(..length).unwrap_or_default(), fds),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;

    #[test]
    fn a_child_serves_one_after_the_other_until_one_ends_badly() {
        let (regular, line) = Regular::open().unwrap();
        assert_eq!(regular.heard(), Heard::Nothing);
        let (end, connection) = fd::pipe().unwrap();
        for payload in [&b"first"[..], b"second"] {
            regular.hand_over(payload, connection.as_fd()).unwrap();
        }
        drop(connection);
        let mut codes = [0, 7].into_iter();
        let code = serve_on(&line, 0, |payload, fds| {
            assert_eq!(fds.len(), 1);
            fd::write_all(&fds[0], payload).unwrap();
            codes.next().unwrap()
        });
        drop(line);
        assert_eq!(code, 7);
        let mut said = [0; 20];
        let got = fd::read(&end, &mut said).unwrap();
        assert_eq!(&said[..got], b"firstsecond");
        assert_eq!(
            [regular.heard(), regular.heard(), regular.heard()],
            [Heard::Free, Heard::Free, Heard::Gone]
        );
        assert!(regular.hand_over(b"third", end.as_fd()).is_err());
    }

    #[test]
    fn a_child_goes_when_the_listener_hangs_up_or_its_first_end_was_bad() {
        let never = |_: &[u8], _| panic!("nothing was handed over");
        let (regular, line) = Regular::open().unwrap();
        assert_eq!(serve_on(&line, 1, never), 1);
        assert_eq!(regular.heard(), Heard::Nothing);
        drop(regular);
        assert_eq!(serve_on(&line, 0, never), 0);
    }
}
