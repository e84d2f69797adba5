//! Speaking to queued: one blocking connection, every wait with an end.
//!
//! A letter is [`begin`](QueueClient::begin), any number of [`chunk`](QueueClient::chunk)s, then
//! [`commit`](QueueClient::commit), which returns the letter's number once it is on disk. queued
//! itself writes the `Received` line on top. qmail-send uses the same connection differently:
//! [`ask`](QueueClient::ask) anything and take answers with [`next`](QueueClient::next).

mod held;
mod refusal;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::limits;
use base::wire::frame::{self, Frame};
use base::wire::queue::{Answer, Entry, Envelope, MAX_ANSWER, Origin, Request};
use sys::net::ReadLimit;
use sys::pass::{self, Kind};
use sys::poll::{self, Interest};

pub use refusal::Refusal;

use crate::home::Home;

/// Whether an error says that queued has closed the connection with something of ours unread.
fn is_unread(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// How long queued may take to take a request or to answer one. A letter waits for the disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests that are sent before their answers are read.
const TOGETHER_ASKED: usize = 256;
/// Descriptors that come with one message.
const TOGETHER: usize = 16;
/// Bytes asked of the socket at a time, at most.
const PIECE: usize = 64 << 10;
/// Bytes asked of the socket at first: one answer to a letter.
const ANSWER: usize = 512;
/// Answers that may pile up while a request waits to be taken.
const UNREAD: usize = 2 * MAX_ANSWER;

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

/// Bytes of a small letter and all that is said of it.
const SMALL: usize = 8 << 10;
/// Bytes of a letter that wait for what is said next, at most.
const WAITING: usize = limits::CHUNK / 2;

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

    /// Says that a letter begins.
    ///
    /// # Errors
    /// queued refused, or the connection is lost.
    pub fn begin(&mut self, origin: Origin) -> Result<(), Refusal> {
        self.say(&Request::Begin(origin))
    }

    /// Says that a letter begins, together with whatever is said next: a small letter is then one
    /// write. Nothing can fail yet.
    pub fn begin_with_next(&mut self, origin: Origin) {
        // It need not move as it grows.
        self.outbox.reserve(SMALL);
        self.whole = self.outbox.is_empty();
        Request::Begin(origin).encode(&mut self.outbox);
    }

    /// Whether queued still holds the connection, as far as can be told without asking it.
    pub fn is_open(&mut self) -> bool {
        matches!(self.receive(false), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Hands over the next bytes of the letter, any number of them.
    ///
    /// # Errors
    /// queued refused, or the connection is lost.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        bytes.chunks(limits::CHUNK).try_for_each(|piece| self.say(&Request::Chunk(piece)))
    }

    /// Hands over the next bytes of the letter, with whatever is said next if they are few: a small
    /// letter is then one write.
    ///
    /// # Errors
    /// queued refused, or the connection is lost.
    pub fn chunk_with_next(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        for piece in bytes.chunks(limits::CHUNK) {
            if self.outbox.len().saturating_add(piece.len()) > WAITING {
                self.say(&Request::Chunk(piece))?;
            } else {
                Request::Chunk(piece).encode(&mut self.outbox);
            }
        }
        Ok(())
    }

    /// Hands over the envelope and waits until the letter is on disk; its number. The connection
    /// may then carry another letter.
    ///
    /// # Errors
    /// queued refused, or the connection was lost: then the letter may be queued or not.
    pub fn commit(&mut self, envelope: &Envelope<'_>) -> Result<u64, Refusal> {
        self.commit_with(&[], envelope)
    }

    /// [`QueueClient::commit`] with the last bytes of the letter, all in one write.
    ///
    /// # Errors
    /// As for [`QueueClient::commit`].
    pub fn commit_with(&mut self, last: &[u8], envelope: &Envelope<'_>) -> Result<u64, Refusal> {
        last.chunks(limits::CHUNK).for_each(|piece| Request::Chunk(piece).encode(&mut self.outbox));
        if !self.whole {
            self.say(&Request::Envelope(*envelope))?;
            return self.accepted();
        }
        Request::Envelope(*envelope).encode(&mut self.outbox);
        let mut letter = std::mem::take(&mut self.outbox);
        let mut answer = self.hand_in(&letter);
        if answer.as_ref().is_err_and(is_unread) {
            answer = self.turn_to_successor().and_then(|()| self.hand_in(&letter));
        }
        letter.clear();
        letter.shrink_to(PIECE * 2);
        self.outbox = letter;
        answer?
    }

    /// Sends all of a letter at once; the answer. The error tells by [`is_unread`] that queued has not
    /// read all of it, and will not: then it is in no queue.
    fn hand_in(&mut self, letter: &[u8]) -> io::Result<Result<u64, Refusal>> {
        self.whole = false;
        if let Err(error) = self.write(letter) {
            // If queued has gone, it may have said why.
            return match self.next(Duration::ZERO) {
                Ok(Some(Answer::Refused(outcome, text))) => {
                    Ok(Err(Refusal { outcome, text: text.to_vec() }))
                }
                _ => Err(error),
            };
        }
        match self.answer()? {
            Answer::Accepted(id) => Ok(Ok(id)),
            Answer::Refused(outcome, text) => Ok(Err(Refusal { outcome, text: text.to_vec() })),
            _ => Err(unexpected()),
        }
    }

    /// The queued there was has left; its successor is looked for.
    fn turn_to_successor(&mut self) -> io::Result<()> {
        let socket = pass::connect_soon(&self.at, Kind::Stream)?;
        *self = Self::on(socket, &self.at).patient(self.patience);
        Ok(())
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

    /// Sends a request and does not wait for its answer, only (at most 120 seconds) for room: for
    /// `Follow`, `Note`.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn ask(&mut self, request: &Request<'_>) -> io::Result<()> {
        self.ask_all([*request])
    }

    /// Sends many requests at once, as [`QueueClient::ask`] sends one.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn ask_all<'a>(
        &mut self,
        requests: impl IntoIterator<Item = Request<'a>>,
    ) -> io::Result<()> {
        self.whole = false;
        let mut outbox = std::mem::take(&mut self.outbox);
        requests.into_iter().for_each(|request| request.encode(&mut outbox));
        let outcome = self.write(&outbox);
        outbox.clear();
        outbox.shrink_to(PIECE * 2);
        self.outbox = outbox;
        outcome
    }

    /// The next answer, waiting at most `patience` for it; `None` if it is not all here by then.
    /// With a patience of zero this takes what has come, so call it until it says `None` before
    /// waiting in a poll for [`AsFd::as_fd`].
    ///
    /// # Errors
    /// The connection is lost (`UnexpectedEof`) or queued talks nonsense (`InvalidData`).
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<Answer<'_>>> {
        self.drop_taken();
        // Most answers are here already, or nobody waits for them: then the time is not asked for.
        let mut since = None;
        let whole = loop {
            if let Some((_, len)) = frame_in(&self.inbox, self.taken)? {
                break len;
            }
            let left = if patience.is_zero() {
                patience
            } else {
                patience.saturating_sub(since.get_or_insert_with(Instant::now).elapsed())
            };
            if !self.fill(left)? && left.is_zero() {
                return Ok(None);
            }
        };
        let at = self.taken;
        self.taken = at.saturating_add(whole);
        let Some((frame, _)) = frame_in(&self.inbox, at)? else { return Ok(None) };
        Answer::decode(frame).map(Some).map_err(|_| unexpected())
    }

    /// The descriptor that came with the [`Answer::Opened`] that [`QueueClient::next`] gave.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Waits for an answer.
    fn answer(&mut self) -> io::Result<Answer<'_>> {
        self.next(self.patience)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn accepted(&mut self) -> Result<u64, Refusal> {
        match self.answer()? {
            Answer::Accepted(id) => Ok(id),
            Answer::Refused(outcome, text) => Err(Refusal { outcome, text: text.to_vec() }),
            _ => Err(unexpected().into()),
        }
    }

    /// Sends a request; if queued has gone, it may have said why.
    fn say(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let Err(error) = self.ask(request) else { return Ok(()) };
        match self.next(Duration::ZERO) {
            Ok(Some(Answer::Refused(outcome, text))) => {
                Err(Refusal { outcome, text: text.to_vec() })
            }
            _ => Err(error.into()),
        }
    }

    /// Writes all of it. While there is no room, answers are read: both sides waiting for the
    /// other to read would wait for ever.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let since = Instant::now();
        while !bytes.is_empty() {
            match sys::net::send_now(&self.socket, bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait_for_room(since)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn wait_for_room(&mut self, since: Instant) -> io::Result<()> {
        let left = self.patience.saturating_sub(since.elapsed());
        let full = self.inbox.len() > UNREAD;
        if left.is_zero() || full {
            return Err(io::ErrorKind::TimedOut.into());
        }
        poll::ready(&[self.socket.as_fd()], Interest { read: true, write: true }, Some(left))?;
        self.fill(Duration::ZERO).map(|_| ())
    }

    /// Reads what has come, waiting at most `patience` for it; false if nothing has.
    fn fill(&mut self, patience: Duration) -> io::Result<bool> {
        let waits = self.limit.ends(&self.socket, patience);
        if !patience.is_zero() && !waits {
            poll::ready(&[self.socket.as_fd()], Interest::READ, Some(patience))?;
        }
        match self.receive(waits) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes what has come, or what comes if it `waits`; `UnexpectedEof` at the end.
    fn receive(&mut self, waits: bool) -> io::Result<()> {
        if self.room.is_empty() {
            self.room = vec![0; ANSWER];
        }
        let receive = if waits { pass::recv } else { pass::recv_now };
        let (len, fds) = receive(&self.socket, &mut self.room, TOGETHER)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.inbox.extend_from_slice(self.room.get(..len).unwrap_or_default());
        self.fds.extend(fds);
        if len == self.room.len() && len < PIECE {
            self.room = vec![0; len.saturating_mul(8).min(PIECE)];
        }
        Ok(())
    }

    fn drop_taken(&mut self) {
        if self.taken == self.inbox.len() {
            self.inbox.clear();
            self.inbox.shrink_to(PIECE * 2);
            self.taken = 0;
        } else if self.taken > PIECE {
            self.inbox.drain(..self.taken);
            self.taken = 0;
        }
    }
}

/// The frame that begins at an offset, if it is all there.
fn frame_in(inbox: &[u8], at: usize) -> io::Result<Option<(Frame<'_>, usize)>> {
    frame::take(inbox.get(at..).unwrap_or_default(), MAX_ANSWER).map_err(|_| unexpected())
}

impl AsFd for QueueClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use base::outcome::Outcome;

    use super::*;

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
        let dir = std::env::temp_dir().join(format!("client-soon-{}", std::process::id()));
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
        std::fs::remove_dir_all(&dir).unwrap();
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
        let dir = std::env::temp_dir().join(format!("client-again-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
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
        std::fs::remove_dir_all(&dir).unwrap();
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
