//! Requests out, answers in: who waits, for how long, and with how much in memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use base::wire::frame::{self, Frame};
use base::wire::queue::{Answer, MAX_ANSWER, Request};
use sys::pass;
use sys::poll::{self, Interest};

use super::{QueueClient, Refusal, unexpected};

/// Descriptors that come with one message.
const TOGETHER: usize = 16;
/// Bytes asked of the socket at a time, at most.
pub(super) const PIECE: usize = 64 << 10;
/// Bytes asked of the socket at first: one answer to a letter.
const ANSWER: usize = 512;
/// Answers that may pile up while a request waits to be taken.
const UNREAD: usize = 2 * MAX_ANSWER;

impl QueueClient {
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
    pub(super) fn answer(&mut self) -> io::Result<Answer<'_>> {
        self.next(self.patience)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    pub(super) fn accepted(&mut self) -> Result<u64, Refusal> {
        match self.answer()? {
            Answer::Accepted(id) => Ok(id),
            Answer::Refused(outcome, text) => Err(Refusal { outcome, text: text.to_vec() }),
            _ => Err(unexpected().into()),
        }
    }

    /// Sends a request; if queued has gone, it may have said why.
    pub(super) fn say(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
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
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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
    pub(super) fn receive(&mut self, waits: bool) -> io::Result<()> {
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
