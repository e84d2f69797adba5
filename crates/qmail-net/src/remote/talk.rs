//! One connection: the machine's wishes carried out on a socket, every wait with an end.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use base::limits;
use proto::dot::Encoder;
use proto::smtp::client::{Action, Broken, Input, Job, Login, Replies, Session};
use sys::poll::{self, Interest};

use super::letter::Letter;

/// Bytes of the letter read at a time, and about as many written.
const PIECE: usize = 64 << 10;

/// How one letter ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has been judged: the items to report.
    Judged(Vec<Vec<u8>>),
    /// This server would not do; the item to report if there is no other.
    Next(Vec<u8>),
    /// The session was over before the letter began to go out; a new one may carry it.
    Stale,
}

/// A session with a server, for one letter after the other.
pub(super) struct Talk {
    wire: Connection,
    /// The server's address as reports show it.
    peer: IpAddr,
    /// None: nothing has been said yet, or the session is over.
    session: Option<Session>,
    replies: Replies,
    /// Letters it has carried.
    letters: u32,
    since: Instant,
}

impl Talk {
    /// Nothing is said before the first letter.
    pub(super) fn new(stream: TcpStream, peer: IpAddr, limit: Duration) -> Self {
        let wire =
            Connection { stream, limit, out: Vec::new(), unread: Vec::new(), room: vec![0; PIECE] };
        let (replies, since) = (Replies::default(), Instant::now());
        Self { wire, peer, session: None, replies, letters: 0, since }
    }

    /// The first letter: we call ourselves `helo`, and log in if that is asked for.
    pub(super) fn first(
        &mut self,
        helo: Vec<u8>,
        login: Option<Login>,
        job: Job,
        letter: &mut Letter,
    ) -> Ended {
        let peer = self.peer.to_string().into_bytes();
        self.session = Some(Session::new(peer, helo, job).logging_in(login));
        let greeting = self.wire.reply(&mut self.replies);
        self.converse(greeting, letter)
    }

    /// Another letter, after the last was judged.
    pub(super) fn another(&mut self, job: Job, letter: &mut Letter) -> Ended {
        self.converse(Input::Job(job), letter)
    }

    /// Whether it may carry another letter.
    pub(super) fn is_open(&self) -> bool {
        self.session.is_some() && lasts(self.letters, self.since.elapsed())
    }

    /// The socket, to see the server hang up or speak unasked.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wire.stream.as_fd()
    }

    /// Says good-bye, if there is still somebody to say it to.
    pub(super) fn leave(mut self) {
        if let Some(session) = self.session.take() {
            for action in session.step(Input::Leave).1 {
                if let Action::Send(bytes) = action {
                    self.wire.out.extend_from_slice(&bytes);
                }
            }
            self.wire.last_words();
        }
    }

    /// Carries one letter until it is judged.
    fn converse(&mut self, mut input: Input, letter: &mut Letter) -> Ended {
        let mut items = Vec::new();
        while let Some(session) = self.session.take() {
            let (session, actions) = session.step(input);
            let mut next = None;
            for action in actions {
                match action {
                    Action::Send(bytes) => self.wire.out.extend_from_slice(&bytes),
                    Action::Body => next = Some(self.wire.body(letter)),
                    Action::Item(item) => items.push(item),
                    Action::Ready => {
                        self.letters = self.letters.saturating_add(1);
                        self.session = Some(session);
                        return Ended::Judged(items);
                    }
                    Action::Next(item) => return self.end(Ended::Next(item)),
                    Action::Stale => return self.end(Ended::Stale),
                    Action::Close => return self.end(Ended::Judged(items)),
                }
            }
            self.session = Some(session);
            input = match next {
                Some(input) => input,
                None => self.wire.reply(&mut self.replies),
            };
        }
        Ended::Stale
    }

    fn end(&mut self, ended: Ended) -> Ended {
        self.wire.last_words();
        ended
    }
}

/// Whether a session that has carried so many letters in so long a time may carry another.
const fn lasts(letters: u32, age: Duration) -> bool {
    letters < limits::REMOTE_LETTERS && age.as_secs() < limits::REMOTE_SESSION.as_secs()
}

/// The socket and what waits on either side of it.
struct Connection {
    stream: TcpStream,
    limit: Duration,
    /// Not yet written.
    out: Vec<u8>,
    /// Read, but not yet part of a reply.
    unread: Vec<u8>,
    /// Room to read into, a piece of the letter or of what the server says; [`PIECE`] bytes.
    room: Vec<u8>,
}

impl Connection {
    /// The next whole reply. It has to come in one time limit: a server that sends a byte a minute
    /// does not hold us for ever.
    fn reply(&mut self, replies: &mut Replies) -> Input {
        if self.flush().is_err() {
            return Input::Lost;
        }
        let since = Instant::now();
        loop {
            let mut rest = self.unread.as_slice();
            let reply = replies.take(&mut rest);
            let used = self.unread.len().saturating_sub(rest.len());
            self.unread.drain(..used);
            match reply {
                Some(Ok(reply)) => return Input::Reply(reply),
                Some(Err(Broken)) => return Input::Lost,
                None => {}
            }
            let left = self.limit.saturating_sub(since.elapsed());
            match sys::fd::read_within(&self.stream, &mut self.room, left) {
                Ok(0) | Err(_) => return Input::Lost,
                Ok(n) => self.unread.extend_from_slice(self.room.get(..n).unwrap_or_default()),
            }
        }
    }

    /// Writes the letter but for its dot; what fits one piece stays to be written with the dot. A
    /// last line without an end is given one.
    fn body(&mut self, letter: &mut Letter) -> Input {
        // Nothing we said is unanswered: this would be taken for the answer to the dot.
        if !self.unread.is_empty() {
            return Input::Lost;
        }
        let mut encoder = Encoder::new();
        loop {
            let Ok(read) = letter.read(&mut self.room) else { return Input::Unreadable };
            let piece = self.room.get(..read).unwrap_or_default();
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

    /// Says what waits to be said; nobody waits for an answer.
    fn last_words(&mut self) {
        self.limit = self.limit.min(Duration::from_secs(5));
        let _gone = self.flush();
    }
}

/// What came first: the next job, the server, or the end of our patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something on the channel; and whether the server has not spoken or hung up.
    Channel {
        /// The session may go on.
        quiet: bool,
    },
    /// Nothing more is to be done.
    Nobody,
}

/// Waits for a job on `channel`, while the server keeps quiet.
pub(super) fn wait(channel: BorrowedFd<'_>, talk: &Talk, limit: Duration) -> Woken {
    let since = Instant::now();
    loop {
        let left = limit.saturating_sub(since.elapsed());
        let ready = poll::ready(&[channel, talk.fd()], Interest::READ, Some(left));
        match ready.as_deref() {
            Ok([true, spoke]) => return Woken::Channel { quiet: !spoke },
            Ok([false, false]) if since.elapsed() < limit => {}
            _ => return Woken::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_a_hundred_letters_and_none_after_five_minutes() {
        let young = Duration::from_secs(299);
        assert!(lasts(0, young) && lasts(limits::REMOTE_LETTERS - 1, young));
        assert!(!lasts(limits::REMOTE_LETTERS, Duration::ZERO));
        assert!(!lasts(1, limits::REMOTE_SESSION));
    }
}
