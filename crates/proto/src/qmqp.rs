//! QMQP, receiving: one letter of a client that may send anywhere, and one answer
//! (qmail-qmqpd(8)).

use alloc::vec;
use alloc::vec::Vec;

use base::{limits, netstring, queue_exit, text0};

use crate::packet::{self, Action, Part};
use crate::smtp::server::Verdict;

/// A session: one letter.
#[derive(Debug, Default)]
pub struct Session {
    /// The queue has the letter: it must be committed or aborted.
    begun: bool,
    /// Why it is not taken.
    refusal: Option<Vec<u8>>,
    /// Sender and recipients.
    envelope: Vec<u8>,
}

impl Session {
    fn address(&mut self, address: Option<Vec<u8>>) -> Vec<Action> {
        match address {
            None => {
                let text = b"Dsorry, I can't accept addresses like that (#5.1.3)";
                self.refusal = Some(text.to_vec());
            }
            Some(address)
                if address.len() < limits::LOGGED_ENVELOPE.saturating_sub(self.envelope.len()) =>
            {
                text0::put(&mut self.envelope, &address);
                return Vec::new();
            }
            Some(_) => {
                let (outcome, text) = queue_exit::Exit::AddressTooLong.meaning();
                let refused = Verdict::Refused(outcome, text.to_vec());
                self.refusal = self.refusal.take().or_else(|| packet::refusal(refused));
            }
        }
        self.abort()
    }

    /// Has the queue forget the letter, if it knows it.
    fn abort(&mut self) -> Vec<Action> {
        match core::mem::take(&mut self.begun) {
            true => vec![Action::Abort],
            false => Vec::new(),
        }
    }
}

/// The answer, and the end.
fn last(text: &[u8]) -> Vec<Action> {
    let mut answer = Vec::new();
    netstring::put(&mut answer, text);
    vec![Action::Reply(answer), Action::Close(0)]
}

impl packet::Session for Session {
    fn part(&mut self, part: Part) -> Vec<Action> {
        match part {
            Part::Letter => vec![Action::Begin],
            Part::Body(_) if self.begun => vec![Action::Body],
            Part::Body(_) | Part::Stray => Vec::new(),
            Part::Looping => {
                let text = b"Dtoo many hops, this message is looping (#5.4.6)";
                self.refusal = self.refusal.take().or_else(|| Some(text.to_vec()));
                self.abort()
            }
            Part::Sender(address) | Part::Recipient(address) => self.address(address),
            Part::End => match &self.refusal {
                Some(text) => last(text),
                None => vec![Action::Commit { envelope: core::mem::take(&mut self.envelope) }],
            },
        }
    }

    fn answer(&mut self, verdict: Verdict) -> Vec<Action> {
        match verdict {
            Verdict::Begun => {
                self.begun = true;
                Vec::new()
            }
            Verdict::Queued { secs, pid } => last(&packet::taken(secs, pid)),
            refused if self.begun => last(&packet::refusal(refused).unwrap_or_default()),
            refused => {
                self.refusal = packet::refusal(refused);
                Vec::new()
            }
        }
    }
}
