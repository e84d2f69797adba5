//! QMTP, receiving: letters to whom this host takes mail for, and an answer for every recipient of
//! each (qmail-qmtpd(8)). [`client`] is the sending side.

pub mod client;

use alloc::vec;
use alloc::vec::Vec;

use base::{limits, netstring, text0};

use crate::packet::{self, Action, Part};
use crate::smtp::server::{Verdict, Welcome};

/// What becomes of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// What becomes of the letter.
    Letters,
    NotOurs,
    NoMailbox,
    Unsure,
    /// No envelope holds it.
    Unspeakable,
    /// There are too many before it.
    Late,
    /// So many were refused that it is not looked at.
    Tired,
}

impl Fate {
    /// The answer, if it is not the letter's.
    const fn text(self) -> Option<&'static [u8]> {
        Some(match self {
            Self::Letters => return None,
            Self::NotOurs => b"Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
            Self::NoMailbox => b"Dsorry, no mailbox here by that name (#5.1.1)",
            Self::Unsure => b"Zsorry, I can't look up that mailbox now (#4.3.0)",
            Self::Unspeakable => b"Dsorry, I can't handle that recipient (#5.1.3)",
            Self::Late => b"Ztoo many recipients (#4.5.3)",
            Self::Tired => b"Ztoo many refused recipients (#4.7.0)",
        })
    }
}

/// The letter under way.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "faults that do not exclude each other")]
struct Letter {
    /// The queue has it: it must be committed or aborted.
    begun: bool,
    /// Its bytes so far.
    size: u64,
    too_big: bool,
    stray: bool,
    looping: bool,
    bad_sender: bool,
    /// The queue would not begin it.
    refusal: Option<Vec<u8>>,
    /// Sender and welcome recipients.
    envelope: Vec<u8>,
    /// The recipient that is being looked at.
    asked: Option<Vec<u8>>,
    fates: Vec<Fate>,
}

impl Letter {
    /// What is wrong with it whatever the queue says, in stock's order of precedence.
    fn fault(&self) -> Option<&[u8]> {
        if self.stray {
            Some(b"Dbare CR or LF in message (#5.6.11)")
        } else if self.looping {
            Some(b"Dtoo many hops, this message is looping (#5.4.6)")
        } else if self.too_big {
            Some(b"Dsorry, that message size exceeds my databytes limit (#5.3.4)")
        } else if self.bad_sender {
            Some(b"Dunacceptable sender (#5.1.7)")
        } else {
            self.refusal.as_deref()
        }
    }

    /// One answer for each recipient, `letters` for those that are welcome.
    fn answers(&self, letters: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for fate in &self.fates {
            netstring::put(&mut answers, fate.text().unwrap_or(letters));
        }
        answers
    }
}

/// A session: one letter after the other.
#[derive(Debug)]
pub struct Session {
    /// `$DATABYTES` or `control/databytes`: the largest letter in bytes; 0 is no limit.
    databytes: u64,
    /// `$RELAYCLIENT`: this client may send anywhere, and every recipient gets this suffix.
    relay: Option<Vec<u8>>,
    /// Recipients refused, less letters taken.
    refused: u32,
    letter: Letter,
}

impl Session {
    /// A session with a client; see the fields.
    pub fn new(databytes: u64, relay: Option<Vec<u8>>) -> Self {
        Self { databytes, relay, refused: 0, letter: Letter::default() }
    }

    fn body(&mut self, more: usize) -> Vec<Action> {
        let letter = &mut self.letter;
        letter.size = letter.size.saturating_add(more as u64);
        if self.databytes != 0 && letter.size > self.databytes {
            letter.too_big = true;
            return self.abort();
        }
        if letter.begun { vec![Action::Body] } else { Vec::new() }
    }

    /// Has the queue forget the letter, if it knows it.
    fn abort(&mut self) -> Vec<Action> {
        match core::mem::take(&mut self.letter.begun) {
            true => vec![Action::Abort],
            false => Vec::new(),
        }
    }

    fn sender(&mut self, sender: Option<Vec<u8>>) -> Vec<Action> {
        self.letter.bad_sender = sender.is_none();
        text0::put(&mut self.letter.envelope, &sender.unwrap_or_default());
        Vec::new()
    }

    fn recipient(&mut self, address: Option<Vec<u8>>) -> Vec<Action> {
        let suffix = self.relay.as_deref().unwrap_or_default();
        let address = address.map(|address| [address.as_slice(), suffix].concat());
        let Some(address) = address.filter(|a| a.len() < limits::PACKET_ADDRESS) else {
            return self.fate(Fate::Unspeakable);
        };
        let room = limits::LOGGED_ENVELOPE.saturating_sub(self.letter.envelope.len());
        if address.len() >= room {
            return self.fate(Fate::Late);
        }
        if self.refused >= limits::REFUSED_RECIPIENTS {
            return self.fate(Fate::Tired);
        }
        self.letter.asked = Some(address.clone());
        vec![Action::Ask { address, relay: self.relay.is_some() }]
    }

    fn fate(&mut self, fate: Fate) -> Vec<Action> {
        if matches!(fate, Fate::NotOurs | Fate::NoMailbox) {
            self.refused = self.refused.saturating_add(1);
        }
        self.letter.fates.push(fate);
        Vec::new()
    }

    fn welcomed(&mut self, welcome: Welcome) -> Vec<Action> {
        let Some(address) = self.letter.asked.take() else { return Vec::new() };
        let fate = match welcome {
            Welcome::Yes => {
                text0::put(&mut self.letter.envelope, &address);
                Fate::Letters
            }
            Welcome::NotOurs => Fate::NotOurs,
            Welcome::NoMailbox => Fate::NoMailbox,
            Welcome::Unsure => Fate::Unsure,
            Welcome::NoControls => {
                let mut actions = self.abort();
                actions.push(Action::Close(111));
                return actions;
            }
        };
        self.fate(fate)
    }

    fn end(&mut self) -> Vec<Action> {
        let nobody = !self.letter.fates.contains(&Fate::Letters);
        if let Some(fault) = self.letter.fault().filter(|_| !nobody) {
            let fault = fault.to_vec();
            return self.over(&fault);
        }
        if nobody || !self.letter.begun {
            return self.over(&[]);
        }
        self.letter.begun = false;
        vec![Action::Commit { envelope: core::mem::take(&mut self.letter.envelope) }]
    }

    /// Answers every recipient and is done with the letter.
    fn over(&mut self, letters: &[u8]) -> Vec<Action> {
        let mut actions = self.abort();
        let letter = core::mem::take(&mut self.letter);
        actions.push(Action::Reply(letter.answers(letters)));
        if self.refused >= limits::REFUSED_RECIPIENTS {
            // Whoever tries names at our expense is to call again for the next hundred.
            actions.push(Action::Close(111));
        }
        actions
    }
}

impl packet::Session for Session {
    fn part(&mut self, part: Part) -> Vec<Action> {
        match part {
            Part::Letter => vec![Action::Begin],
            Part::Body(more) => self.body(more),
            Part::Stray => {
                self.letter.stray = true;
                self.abort()
            }
            Part::Looping => {
                self.letter.looping = true;
                self.abort()
            }
            Part::Sender(sender) => self.sender(sender),
            Part::Recipient(address) => self.recipient(address),
            Part::End => self.end(),
        }
    }

    fn answer(&mut self, verdict: Verdict) -> Vec<Action> {
        match verdict {
            Verdict::Begun => {
                self.letter.begun = true;
                Vec::new()
            }
            Verdict::Recipient(welcome) => self.welcomed(welcome),
            Verdict::Queued { secs, pid } => {
                self.refused = self.refused.saturating_sub(1);
                self.over(&packet::taken(secs, pid))
            }
            // Before the sender the queue would not begin; behind the recipients it will not end.
            refused if self.letter.fates.is_empty() => {
                self.letter.refusal = packet::refusal(refused);
                Vec::new()
            }
            refused => self.over(&packet::refusal(refused).unwrap_or_default()),
        }
    }
}
