//! Speaking to queued: one blocking connection, every wait with an end.
//!
//! A letter is [`begin`](QueueClient::begin), any number of [`chunk`](QueueClient::chunk)s, then
//! [`commit`](QueueClient::commit), which returns the letter's number once it is on disk. queued
//! itself writes the `Received` line on top. qmail-send uses the same connection differently:
//! [`ask`](QueueClient::ask) anything and take answers with [`next`](QueueClient::next).

mod held;
mod letter;
mod refusal;
mod talk;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::wire::queue::{Answer, Entry, Request};
use sys::net::ReadLimit;
use sys::pass::{self, Kind};

pub use refusal::Refusal;

use crate::home::Home;

/// How long queued may take to take a request or to answer one. A letter waits for the disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests that are sent before their answers are read.
const TOGETHER_ASKED: usize = 256;

/// A connection to queued.
#[derive(Debug)]
pub struct QueueClient {
    socket: OwnedFd,
    /// Where queued, or its successor, is.
    at: PathBuf,
    inbox: Vec<u8>,
    /// Bytes at the front of the inbox that were given out.
    taken: usize,
    fds: VecDeque<OwnedFd>,
    outbox: Vec<u8>,
    /// A letter has begun, and all of it is in the outbox.
    whole: bool,
    /// Where bytes are received; grows while queued has more to say than fits.
    room: Vec<u8>,
    patience: Duration,
    limit: ReadLimit,
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "queued gave an answer that was not asked for")
}

impl QueueClient {
    /// Connects to the queued of a home; waits at most 10 seconds.
    ///
    /// # Errors
    /// queued is not running, or does not answer in time.
    pub fn connect(home: &Home) -> io::Result<Self> {
        Self::connect_at(&home.path("queue/queued"))
    }

    /// Connects to the socket `queue/queued` of a home; waits at most 10 seconds.
    ///
    /// # Errors
    /// queued is not running, or does not answer in time.
    pub fn connect_at(socket: &Path) -> io::Result<Self> {
        Ok(Self::on(pass::connect(socket, Kind::Stream)?, socket))
    }

    /// Connects to the queued of a home that should be running: one that is just being started, or
    /// started again, is waited for up to five seconds, as its letter would otherwise wait for minutes.
    ///
    /// # Errors
    /// As [`QueueClient::connect_at`].
    pub fn connect_soon(home: &Home) -> io::Result<Self> {
        let at = home.path("queue/queued");
        Ok(Self::on(pass::connect_soon(&at, Kind::Stream)?, &at))
    }

    /// Connects to the queued of a home without waiting: `WouldBlock` if it is behind.
    ///
    /// # Errors
    /// queued is not running, or has no room for one more at the moment.
    pub fn connect_now(home: &Home) -> io::Result<Self> {
        let at = home.path("queue/queued");
        Ok(Self::on(pass::connect_now(&at, Kind::Stream)?, &at))
    }

    /// Whatever must not wait says so by itself: the socket need not be told.
    fn on(socket: OwnedFd, at: &Path) -> Self {
        let (inbox, outbox, room, fds) = Default::default();
        let (patience, limit) = (PATIENCE, ReadLimit::new(PATIENCE));
        let (at, whole) = (at.to_path_buf(), false);
        Self { socket, at, inbox, taken: 0, fds, outbox, whole, room, patience, limit }
    }

    /// Waits so long for queued to take a request or to answer one, instead of 120 seconds.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, limit: ReadLimit::new(patience), ..self }
    }

    /// Whether queued still holds the connection, as far as can be told without asking it.
    pub fn is_open(&mut self) -> bool {
        matches!(self.receive(false), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The bytes of a letter, as a descriptor at its beginning, and how many they are.
    ///
    /// # Errors
    /// There is no such letter (`NotFound`), or the connection is lost.
    pub fn open(&mut self, letter: u64) -> io::Result<(OwnedFd, u64)> {
        self.ask(&Request::Open(letter))?;
        let size = match self.answer()? {
            Answer::Opened(size) => size,
            Answer::Refused(_, text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                return Err(io::Error::other(text));
            }
            _ => return Err(unexpected()),
        };
        self.take_fd().map(|fd| (fd, size)).ok_or_else(unexpected)
    }

    /// Forgets a letter all of whose recipients are settled.
    ///
    /// # Errors
    /// queued refused, or the connection is lost.
    pub fn finish(&mut self, letter: u64) -> Result<(), Refusal> {
        self.say(&Request::Finish(letter))?;
        self.accepted().map(|_| ())
    }

    /// Forgets many letters: asks for all at once, then tells `each` in their order whether it was
    /// done.
    ///
    /// # Errors
    /// The connection is lost: the letters that `each` was not told of are forgotten or not.
    pub fn finish_all(&mut self, letters: &[u64], each: impl FnMut(bool)) -> io::Result<()> {
        self.ask_each(letters, Request::Finish, each)
    }

    fn ask_each(
        &mut self,
        letters: &[u64],
        ask: impl Fn(u64) -> Request<'static>,
        mut each: impl FnMut(bool),
    ) -> io::Result<()> {
        for some in letters.chunks(TOGETHER_ASKED) {
            let mut outbox = std::mem::take(&mut self.outbox);
            some.iter().for_each(|&letter| ask(letter).encode(&mut outbox));
            let written = self.write(&outbox);
            outbox.clear();
            self.outbox = outbox;
            written?;
            for _ in some {
                match self.answer()? {
                    Answer::Accepted(_) => each(true),
                    Answer::Refused(..) => each(false),
                    _ => return Err(unexpected()),
                }
            }
        }
        Ok(())
    }

    /// Every failure paragraph of a letter, in the order of its recipients.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn paragraphs(&mut self, letter: u64) -> io::Result<Vec<Vec<u8>>> {
        let mut paragraphs = Vec::new();
        self.each_paragraph(letter, |paragraph| {
            paragraphs.push(paragraph.to_vec());
            io::Result::Ok(())
        })?;
        Ok(paragraphs)
    }

    /// Shows every failure paragraph of a letter to `each`, in the order of its recipients.
    ///
    /// # Errors
    /// The connection is lost; or `each`'s own, after which this connection is of no more use.
    pub fn each_paragraph<E: From<io::Error>>(
        &mut self,
        letter: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.ask(&Request::Paragraphs(letter))?;
        loop {
            match self.answer()? {
                Answer::Paragraph(text) => each(text)?,
                Answer::End => return Ok(()),
                Answer::Refused(_, text) => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    return Err(io::Error::other(text).into());
                }
                _ => return Err(unexpected().into()),
            }
        }
    }

    /// Shows every letter in the queue to `each`, oldest first.
    ///
    /// # Errors
    /// queued refuses (`PermissionDenied`), or the connection is lost.
    pub fn list(&mut self, mut each: impl FnMut(&Entry<'_>)) -> io::Result<()> {
        self.ask(&Request::List)?;
        loop {
            match self.answer()? {
                Answer::Entry(entry) => each(&entry),
                Answer::End => return Ok(()),
                Answer::Refused(..) => return Err(io::ErrorKind::PermissionDenied.into()),
                _ => return Err(unexpected()),
            }
        }
    }
}

impl AsFd for QueueClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use base::outcome::Outcome;
    use base::wire::queue::{Envelope, Origin};

    use super::*;
    use yard::Yard;

    fn pair() -> (QueueClient, OwnedFd) {
        let (socket, other) = pass::pair(Kind::Stream).unwrap();
        (QueueClient::on(socket, Path::new("")), other)
    }

    fn answer(to: &OwnedFd, answer: &Answer<'_>, fds: &[BorrowedFd<'_>]) {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        assert_eq!(pass::send(to, &bytes, fds).unwrap(), bytes.len());
    }

    #[test]
    fn a_queued_that_is_just_being_started_is_waited_for() {
        let dir = Yard::new("client-soon");
        std::fs::create_dir_all(dir.join("queue")).unwrap();
        let home = Home::at(&dir).unwrap();
        assert_eq!(QueueClient::connect(&home).unwrap_err().kind(), io::ErrorKind::NotFound);
        let socket = dir.join("queue/queued");
        std::thread::scope(|scope| {
            let connected = scope.spawn(|| QueueClient::connect_soon(&home).is_ok());
            sys::clock::sleep(Duration::from_millis(20));
            let _listener = pass::listen(&socket, Kind::Stream, 0o600, 8).unwrap();
            assert!(connected.join().unwrap());
        });
    }

    #[test]
    fn answers_come_one_by_one_and_then_none() {
        let (mut client, queued) = pair();
        answer(&queued, &Answer::Ack(7), &[]);
        answer(&queued, &Answer::End, &[]);
        assert_eq!(client.next(Duration::ZERO).unwrap(), Some(Answer::Ack(7)));
        assert_eq!(client.next(Duration::ZERO).unwrap(), Some(Answer::End));
        assert_eq!(client.next(Duration::ZERO).unwrap(), None);
        drop(queued);
        let lost = client.next(Duration::ZERO).unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_small_letter_is_one_write() {
        let (socket, queued) = pass::pair(Kind::Seqpacket).unwrap();
        let mut client = QueueClient::on(socket, Path::new(""));
        client.begin_with_next(Origin::Network);
        answer(&queued, &Answer::Accepted(9), &[]);
        let envelope = Envelope::new(b"a@b\0c@d\0").unwrap();
        assert_eq!(client.commit_with(b"Subject: x\n", &envelope).unwrap(), 9);
        let mut want = Vec::new();
        Request::Begin(Origin::Network).encode(&mut want);
        Request::Chunk(b"Subject: x\n").encode(&mut want);
        Request::Envelope(envelope).encode(&mut want);
        let mut got = vec![0; 1_000];
        let (len, _) = pass::recv(&queued, &mut got, 0).unwrap();
        assert_eq!(got.get(..len), Some(&want[..]));
        assert!(client.is_open());
        drop(queued);
        assert!(!client.is_open());
    }

    #[test]
    fn a_small_letter_that_nobody_has_read_goes_to_the_successor() {
        let dir = Yard::new("client-again");
        let at = dir.join("queued");
        let old = pass::listen(&at, Kind::Stream, 0o600, 8).unwrap();
        let client = || {
            let mut client = QueueClient::connect_at(&at).unwrap();
            client.begin_with_next(Origin::Network);
            client
        };
        let (mut unread, mut heard) = (client(), client());
        let (first, second) = (pass::accept(&old).unwrap(), pass::accept(&old).unwrap());
        drop((old, first));
        std::fs::remove_file(&at).unwrap();
        let new = pass::listen(&at, Kind::Stream, 0o600, 8).unwrap();
        let envelope = Envelope::new(b"a@b\0c@d\0").unwrap();
        std::thread::scope(|scope| {
            let queued = scope.spawn(|| unread.commit_with(b"x\n", &envelope));
            let successor = pass::accept(&new).unwrap();
            let got = sys::fd::read(&successor, &mut [0; 1_000]).unwrap();
            assert!(got > b"x\n".len());
            answer(&successor, &Answer::Accepted(9), &[]);
            assert_eq!(queued.join().unwrap(), Ok(9));
            // Read, and no answer: it may be in the queue.
            let queued = scope.spawn(|| heard.commit_with(b"x\n", &envelope));
            assert_eq!(sys::fd::read(&second, &mut [0; 1_000]).unwrap(), got);
            drop(second);
            assert_eq!(queued.join().unwrap().unwrap_err().outcome, Outcome::Later);
        });
    }

    #[test]
    fn many_answers_at_once_are_all_taken() {
        let (mut client, queued) = pair();
        (0..200).for_each(|n| answer(&queued, &Answer::Ack(n), &[]));
        for n in 0..200 {
            assert_eq!(client.next(Duration::ZERO).unwrap(), Some(Answer::Ack(n)));
        }
        assert_eq!(client.next(Duration::ZERO).unwrap(), None);
    }

    #[test]
    fn descriptors_go_with_their_answers() {
        let (mut client, queued) = pair();
        let (one, two) =
            (sys::fd::memfd("a", b"one").unwrap(), sys::fd::memfd("b", b"two").unwrap());
        answer(&queued, &Answer::Opened(3), &[one.as_fd()]);
        answer(&queued, &Answer::Opened(3), &[two.as_fd()]);
        for expected in [b"one", b"two"] {
            let (fd, size) = client.open(1).unwrap();
            assert_eq!((sys::fd::read_to_end(&fd, 9).unwrap(), size), (expected.to_vec(), 3));
        }
    }

    #[test]
    fn many_letters_are_finished_in_one_go_and_each_is_told_of() {
        let (mut client, queued) = pair();
        for n in 0..5 {
            let no = Answer::Refused(Outcome::Later, b"no");
            let said = if n == 3 { no } else { Answer::Accepted(n) };
            answer(&queued, &said, &[]);
        }
        let mut told = Vec::new();
        client.finish_all(&[0, 1, 2, 3, 4], |done| told.push(done)).unwrap();
        assert_eq!(told, [true, true, true, false, true]);
        let mut said = [0; 999];
        let mut expected = Vec::new();
        (0..5).for_each(|n| Request::Finish(n).encode(&mut expected));
        let (n, _) = pass::recv(&queued, &mut said, 1).unwrap();
        assert_eq!(&said[..n], expected);
        drop(queued);
        assert!(client.finish_all(&[1], |_| panic!("told of nothing")).is_err());
    }

    #[test]
    fn who_has_little_patience_does_not_wait_long() {
        let (client, _silent) = pair();
        let since = Instant::now();
        let error = client.patient(Duration::from_millis(30)).open(1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(since.elapsed() < PATIENCE / 2);
    }

    #[test]
    fn a_refusal_is_heard_even_after_queued_has_hung_up() {
        let (mut client, queued) = pair();
        answer(&queued, &Answer::Refused(Outcome::Later, b"qq out of memory (#4.3.0)"), &[]);
        drop(queued);
        let refusal = client.begin(Origin::Local).unwrap_err();
        assert_eq!(refusal.text, b"qq out of memory (#4.3.0)");
    }
}
