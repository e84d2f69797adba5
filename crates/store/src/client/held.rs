//! Letters that are held while they are on their way from or to another queue.

use std::io;

use base::wire::queue::{Answer, Entry, Mark, Request};

use super::{QueueClient, unexpected};

impl QueueClient {
    /// Holds many letters or lets them go (`None`), as [`QueueClient::finish_all`] forgets them.
    ///
    /// # Errors
    /// As there.
    pub fn hold_all(
        &mut self,
        letters: &[u64],
        mark: Option<Mark>,
        each: impl FnMut(bool),
    ) -> io::Result<()> {
        self.ask_each(letters, |letter| Request::Hold { letter, mark }, each)
    }

    /// Shows every held letter to `each` with what it is held for, oldest first.
    ///
    /// # Errors
    /// As [`QueueClient::list`].
    pub fn held(&mut self, mut each: impl FnMut(Mark, &Entry<'_>)) -> io::Result<()> {
        self.ask(&Request::Held)?;
        let mut mark = None;
        loop {
            match self.answer()? {
                Answer::Held(next) => mark = Some(next),
                Answer::Entry(entry) => each(mark.take().ok_or_else(unexpected)?, &entry),
                Answer::End => return Ok(()),
                Answer::Refused(..) => return Err(io::ErrorKind::PermissionDenied.into()),
                _ => return Err(unexpected()),
            }
        }
    }
}
