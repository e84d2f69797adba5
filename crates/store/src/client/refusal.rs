//! Why a letter was not queued.

use std::fmt;
use std::io;

use base::outcome::Outcome;
use base::queue_exit::{Exit, Refused};

/// Why a letter was not queued: in the words of qmail-queue(8), without the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `Later` or `Never`.
    pub outcome: Outcome,
    /// Such as `qq write error or disk full (#4.3.0)`; at most [`base::limits::QUEUE_TEXT`] bytes.
    pub text: Vec<u8>,
}

impl Refusal {
    /// As if `qmail-queue` had ended so.
    pub fn of_exit(exit: Exit) -> Self {
        exit.meaning().into()
    }

    /// To come again, in these words.
    pub(crate) fn later(text: &str) -> Self {
        (Outcome::Later, text.as_bytes()).into()
    }
}

impl From<Refused<'_>> for Refusal {
    fn from((outcome, text): Refused<'_>) -> Self {
        Self { outcome, text: text.to_vec() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Refusal {}

impl From<io::Error> for Refusal {
    /// queued cannot be reached or has gone away: `qq trouble creating files in queue (#4.3.0)`.
    fn from(_: io::Error) -> Self {
        Self::of_exit(Exit::Queue)
    }
}
