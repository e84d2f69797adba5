//! One connection: the machine's wishes carried out on a socket, every wait with an end.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use proto::dot::Encoder;
use proto::smtp::client::{Action, Broken, Input, Job, Replies, Session};

/// Bytes of the letter read at a time, and about as many written.
const PIECE: usize = 64 << 10;

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The letter has been judged: the items to report.
    Judged(Vec<Vec<u8>>),
    /// This server would not do; the item to report if there is no other.
    Next(Vec<u8>),
}

/// The letter on its way out.
#[derive(Debug)]
pub(super) struct Letter {
    file: File,
    /// Where reading goes on; a pipe has no such place.
    at: Option<u64>,
}

impl Letter {
    /// The whole file, whoever has read in it before.
    pub(super) fn from_start(file: File) -> Self {
        let at = file.metadata().is_ok_and(|meta| meta.is_file()).then_some(0);
        Self { file, at }
    }

    /// What is still unread.
    pub(super) fn from_here(file: File) -> Self {
        Self { file, at: None }
    }

    /// Its size in bytes, if that is known before it is read.
    pub(super) fn size(&self) -> Option<u64> {
        let meta = self.file.metadata().ok().filter(std::fs::Metadata::is_file);
        meta.map(|meta| meta.len())
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self.at {
                Some(at) => self.file.read_at(room, at),
                None => self.file.read(room),
            };
            match read {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.at = self.at.map(|at| at.saturating_add(n as u64));
                    return Ok(n);
                }
                Err(err) => return Err(err),
            }
        }
    }
}

/// Connects in time.
pub(super) fn connect(addr: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&addr, limit)
}

/// Carries one conversation to its end.
pub(super) fn converse(stream: TcpStream, job: Job, letter: &mut Letter, limit: Duration) -> Ended {
    let mut wire =
        Connection { stream, limit, out: Vec::with_capacity(3 * PIECE), unread: Vec::new() };
    let (mut session, mut items, mut replies) = (Session::new(job), Vec::new(), Replies::default());
    loop {
        let mut input = Some(wire.reply(&mut replies));
        while let Some(said) = input.take() {
            let (next, actions) = session.step(said);
            session = next;
            for action in actions {
                match action {
                    Action::Send(bytes) => wire.out.extend_from_slice(&bytes),
                    Action::Body => input = Some(wire.body(letter)),
                    Action::Item(item) => items.push(item),
                    Action::Next(item) => {
                        wire.leave();
                        return Ended::Next(item);
                    }
                    Action::Close => {
                        wire.leave();
                        return Ended::Judged(items);
                    }
                }
            }
        }
    }
}

/// The socket and what waits on either side of it.
struct Connection {
    stream: TcpStream,
    limit: Duration,
    /// Not yet written.
    out: Vec<u8>,
    /// Read, but not yet part of a reply.
    unread: Vec<u8>,
}

impl Connection {
    /// The next whole reply. It has to come in one time limit: a server that sends a byte a minute
    /// does not hold us for ever.
    fn reply(&mut self, replies: &mut Replies) -> Input {
        if self.flush().is_err() {
            return Input::Lost;
        }
        let since = Instant::now();
        let mut room = [0; 4 << 10];
        loop {
            let mut rest = self.unread.as_slice();
            let reply = replies.take(&mut rest);
            self.unread = rest.to_vec();
            match reply {
                Some(Ok(reply)) => return Input::Reply(reply),
                Some(Err(Broken)) => return Input::Lost,
                None => {}
            }
            let left = self.limit.saturating_sub(since.elapsed());
            match sys::fd::read_within(&self.stream, &mut room, left) {
                Ok(0) | Err(_) => return Input::Lost,
                Ok(n) => self.unread.extend_from_slice(room.get(..n).unwrap_or_default()),
            }
        }
    }

    /// Writes the letter but for its dot. A last line without an end is given one.
    fn body(&mut self, letter: &mut Letter) -> Input {
        let (mut encoder, mut room) = (Encoder::new(), vec![0; PIECE]);
        loop {
            let Ok(read) = letter.read(&mut room) else { return Input::Unreadable };
            let piece = room.get(..read).unwrap_or_default();
            if piece.is_empty() {
                encoder.close_line(&mut self.out);
                return Input::BodySent;
            }
            encoder.encode(piece, &mut self.out);
            if self.out.len() >= PIECE && self.flush().is_err() {
                return Input::Lost;
            }
        }
    }

    /// Writes everything that waits, in one time limit.
    fn flush(&mut self) -> io::Result<()> {
        let written = sys::fd::write_all_within(&self.stream, &self.out, self.limit);
        self.out.clear();
        written
    }

    /// Says the last words; nobody waits for an answer.
    fn leave(mut self) {
        self.limit = self.limit.min(Duration::from_secs(5));
        let _gone = self.flush();
    }
}
