//! A letter's sender and recipients, told at once where the server can hear that.

use alloc::vec;
use alloc::vec::Vec;

use super::words::{self, severity};
use super::{Action, Actions, DATA, Reply, Session, State};

/// Commands that go out in one piece at most; a letter to more recipients is told one by one, so
/// that the server's answers always find room in the sockets' buffers (RFC 2920 §3.1).
const BATCH: usize = 16 << 10;
const RSET: &[u8] = b"RSET\r\n";

impl Session {
    /// Begins the letter: says as much of its envelope as may be said at once.
    pub(super) fn transact(&mut self) -> Actions {
        self.batch = false;
        let Some(mail) = self.mail_command() else {
            let item = b"DSorry, SMTP cannot carry the bytes of that envelope sender. (#5.1.7)\n";
            return self.verdict(item.to_vec());
        };
        let rcpts: Vec<u8> =
            self.job.recipients.iter().filter_map(|r| words::rcpt(r)).flatten().collect();
        if rcpts.is_empty() {
            return self.recipients(0);
        }
        self.batch = self.offers.pipelining && mail.len().saturating_add(rcpts.len()) <= BATCH;
        self.state = if self.half { State::Rset } else { State::Mail };
        let reset = if self.half { RSET } else { b"" };
        let envelope = [&mail, rcpts.as_slice(), DATA];
        vec![Action::Send(match (self.half, self.batch) {
            (_, true) => [reset, &envelope.concat()].concat(),
            (true, false) => reset.to_vec(),
            (false, false) => mail,
        })]
    }

    fn mail_command(&self) -> Option<Vec<u8>> {
        words::mail(&self.job.sender, self.job.size.filter(|_| self.offers.size))
    }

    pub(super) fn reset(&mut self, reply: &Reply) -> Actions {
        if severity(reply.code).is_some() {
            return self.stale();
        }
        (self.half, self.state) = (false, State::Mail);
        let mail = if self.batch { None } else { self.mail_command() };
        mail.into_iter().map(Action::Send).collect()
    }

    pub(super) fn mail(&mut self, reply: &Reply) -> Actions {
        match severity(reply.code) {
            None => {
                self.half = true;
                self.recipients(0)
            }
            // A server may tire of a session: what it says in a new one counts.
            Some(_) if self.used && matches!(reply.code, 400..=499 | 503) => self.stale(),
            Some(letter) => {
                let item =
                    self.said(&[letter], b"Connected to ", b" but sender was rejected.", reply);
                let mut actions = self.verdict(item);
                if self.state != State::Over && self.batch {
                    actions.extend(self.recipients(0));
                }
                actions
            }
        }
    }

    pub(super) fn rcpt(&mut self, index: usize, reply: &Reply) -> Actions {
        if self.closing && self.is_before_the_letter() {
            return self.stale();
        }
        if self.closing && self.judged {
            return self.settled(Vec::new());
        }
        let mut actions = Vec::new();
        if !self.judged {
            actions.push(Action::Item(self.recipient(reply)));
        }
        actions.extend(self.recipients(index.saturating_add(1)));
        actions
    }

    /// Goes on with the next recipient from `index` on that can be said, or with what follows the
    /// last.
    fn recipients(&mut self, mut index: usize) -> Actions {
        let mut actions = Vec::new();
        while let Some(recipient) = self.job.recipients.get(index) {
            if let Some(command) = words::rcpt(recipient) {
                self.state = State::Rcpt(index);
                if !self.batch {
                    actions.push(Action::Send(command));
                }
                return actions;
            }
            if !self.judged {
                let item = b"hSorry, SMTP cannot carry the bytes of that address. (#5.1.3)\n";
                actions.push(Action::Item(item.to_vec()));
            }
            index = index.saturating_add(1);
        }
        if self.batch {
            self.state = State::Data;
        }
        if !self.judged && !self.accepted {
            let item = [b"DGiving up on ", self.peer.as_slice(), b".\n"].concat();
            actions.extend(self.verdict(item));
        } else if !self.batch {
            self.state = State::Data;
            actions.push(Action::Send(DATA.to_vec()));
        }
        actions
    }

    /// The report of one recipient.
    fn recipient(&mut self, reply: &Reply) -> Vec<u8> {
        let letter: &[u8] = match severity(reply.code) {
            None => {
                self.accepted = true;
                return b"r".to_vec();
            }
            Some(b'D') => b"h",
            Some(_) => b"s",
        };
        self.said(letter, b"", b" does not like recipient.", reply)
    }
}
