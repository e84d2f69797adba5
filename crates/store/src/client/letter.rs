//! A letter on its way to queued.

use std::io;
use std::time::Duration;

use base::limits;
use base::wire::queue::{Answer, Envelope, Origin, Request};
use sys::pass::{self, Kind};

use super::talk::PIECE;
use super::{QueueClient, Refusal, unexpected};

/// Bytes of a small letter and all that is said of it.
const SMALL: usize = 8 << 10;
/// Bytes of a letter that wait for what is said next, at most.
const WAITING: usize = limits::CHUNK / 2;

/// Whether an error says that queued has closed the connection with something of ours unread.
fn is_unread(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl QueueClient {
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
}
