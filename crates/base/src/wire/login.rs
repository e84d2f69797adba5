//! popup → pspawn: who wants in, and the answer. One seqpacket message each way; the question
//! carries the connection as its one descriptor.

use alloc::vec::Vec;

use super::{Malformed, Reader};
use crate::{limits, text0};

/// What is asked of pspawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Does the secret fit? (SMTP AUTH)
    Check,
    /// If it fits, serve POP3 on the connection as that user.
    Open,
}

/// A login: name, secret and the challenge it may answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// What is wanted.
    pub verb: Verb,
    /// The login name as the client gave it.
    pub name: &'a [u8],
    /// The password, or the digest of an APOP login. Never logged.
    pub secret: &'a [u8],
    /// The banner's timestamp, angle brackets included; empty if there was none.
    pub timestamp: &'a [u8],
}

impl Login<'_> {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.verb {
            Verb::Check => b'c',
            Verb::Open => b'o',
        });
        for field in [self.name, self.secret, self.timestamp] {
            text0::put(out, field);
        }
    }
}

impl<'a> Login<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Malformed`] if it is not exactly a verb and three fields within [`limits::LOGIN`].
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader(message);
        let verb = match r.u8()? {
            b'c' => Verb::Check,
            b'o' => Verb::Open,
            _ => return Err(Malformed),
        };
        let login = Login {
            verb,
            name: r.text(limits::LOGIN)?,
            secret: r.text(limits::LOGIN)?,
            timestamp: r.text(limits::LOGIN)?,
        };
        r.end().map(|()| login)
    }
}

/// pspawn's answer: one letter, and for trouble a text for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// `K`: the secret fits (and, for [`Verb::Open`], the mailbox is being served).
    Welcome,
    /// `D`: it does not. Which of name and secret was wrong is not said.
    Refused,
    /// `B`: it does, but that mailbox has too many sessions already.
    Busy,
    /// `Z`: it could not be found out now; the text is for the log.
    Trouble(&'a [u8]),
}

impl<'a> Answer<'a> {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome => out.push(b'K'),
            Self::Refused => out.push(b'D'),
            Self::Busy => out.push(b'B'),
            Self::Trouble(text) => {
                out.push(b'Z');
                out.extend_from_slice(text);
            }
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`Malformed`] if it is none of the four.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        match message.split_first() {
            Some((b'K', [])) => Ok(Self::Welcome),
            Some((b'D', [])) => Ok(Self::Refused),
            Some((b'B', [])) => Ok(Self::Busy),
            Some((b'Z', text)) if text.len() <= limits::QUEUE_TEXT => Ok(Self::Trouble(text)),
            _ => Err(Malformed),
        }
    }
}
