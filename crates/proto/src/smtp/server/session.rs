//! The session itself: its state is one enum that owns the transaction, so that nothing of a
//! transaction can be left over when the state changes.

use alloc::vec::Vec;

use base::{limits, text0};

use super::{Action, Ending, Expects, Input, Question, Settings, Verdict, Welcome};
use crate::dot::Stray;
use crate::smtp::command::{Command, Path};
use crate::smtp::hops::Hops;
use crate::smtp::reply::Reply;

/// Sender and recipients so far.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Envelope {
    /// Each address ended by a NUL, the sender first.
    block: Vec<u8>,
    /// How many recipients, at most [`limits::SMTP_RECIPIENTS`].
    recipients: usize,
    /// The sender is in badmailfrom: no recipient will be taken.
    barred: bool,
}

/// A letter on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Letter {
    envelope: Envelope,
    hops: Hops,
    /// Decoded bytes so far.
    size: u64,
    /// Why it will be refused at its end; the queue has been told to forget it.
    doomed: Option<Reply>,
}

/// Where the conversation is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No transaction.
    Idle,
    /// MAIL was taken, perhaps some RCPT.
    Mail(Envelope),
    /// A recipient is being looked up.
    Asking(Envelope, Vec<u8>),
    /// DATA: the queue has been asked to take a letter.
    Opening(Envelope),
    /// The letter comes in.
    Body(Letter),
    /// The letter is being made final.
    Committing,
    /// Over.
    Closed,
}

/// One SMTP session.
#[derive(Clone, Debug)]
pub struct Session<'s> {
    settings: &'s Settings,
    helo: Option<Vec<u8>>,
    /// Commands that were unknown, out of place or too long.
    bad_commands: u32,
    /// Commands since the last letter that brought none nearer.
    idle_commands: u32,
    /// Recipients that were refused, less the letters taken.
    refused: u32,
    state: State,
}

type Actions = Vec<Action>;

impl<'s> Session<'s> {
    /// A new session, and its greeting.
    pub fn open(settings: &'s Settings) -> (Self, Actions) {
        let (helo, bad_commands, idle_commands, refused) = (None, 0, 0, 0);
        let state = State::Idle;
        let session = Self { settings, helo, bad_commands, idle_commands, refused, state };
        (session, say(Reply::Greeting))
    }

    /// A new session with a client that has been greeted already.
    pub fn greeted(settings: &'s Settings) -> Self {
        Self::open(settings).0
    }

    /// What the session waits for.
    pub const fn expects(&self) -> Expects {
        match self.state {
            State::Idle | State::Mail(_) => Expects::Line,
            State::Asking(..) | State::Opening(_) | State::Committing => Expects::Answer,
            State::Body(_) => Expects::Data,
            State::Closed => Expects::Nothing,
        }
    }

    /// Takes one input. An input the session does not expect is a fault of the driver and ends it.
    pub fn step(mut self, input: Input<'_>) -> (Self, Actions) {
        let actions = match (core::mem::replace(&mut self.state, State::Closed), input) {
            (State::Closed, _) => Vec::new(),
            (state, Input::Eof) => Self::leave(&state, None),
            (state, Input::Deadline) => Self::leave(&state, Some(Reply::Timeout)),
            (state, Input::Hurried) => Self::leave(&state, Some(Reply::TooBusy)),
            (state @ (State::Idle | State::Mail(_)), Input::Endless) => {
                Self::leave(&state, Some(Reply::EndlessLine))
            }
            (state @ (State::Idle | State::Mail(_)), Input::Line(line)) => {
                self.command(state, line)
            }
            (state @ (State::Idle | State::Mail(_)), Input::TooLong) => {
                self.bad(state, Reply::LineTooLong)
            }
            (State::Asking(envelope, recipient), Input::Answer(Verdict::Recipient(welcome))) => {
                self.do_rcpt(envelope, &recipient, welcome)
            }
            (State::Opening(envelope), Input::Answer(Verdict::Begun)) => self.do_data(envelope),
            (State::Opening(_), Input::Answer(Verdict::NoQueue)) => {
                self.settle(State::Idle, Reply::NoQueue)
            }
            (State::Body(letter), Input::Data(bytes)) => self.body(letter, bytes),
            (State::Body(letter), Input::End) => self.end(letter),
            (state @ State::Body(_), Input::Stray(stray)) => {
                Self::leave(&state, Some(judge_stray(stray)))
            }
            (State::Committing, Input::Answer(Verdict::Queued { secs, pid })) => {
                self.idle_commands = 0;
                self.refused = self.refused.saturating_sub(1);
                self.settle(State::Idle, Reply::Queued { secs, pid })
            }
            (
                State::Opening(_) | State::Committing,
                Input::Answer(Verdict::Refused(outcome, text)),
            ) => self.settle(State::Idle, Reply::Refused(outcome, text)),
            (
                state,
                Input::Line(_)
                | Input::TooLong
                | Input::Endless
                | Input::Data(_)
                | Input::End
                | Input::Stray(_)
                | Input::Answer(_),
            ) => Self::leave(&state, None),
        };
        (self, actions)
    }

    /// One command, between letters.
    fn command(&mut self, state: State, line: &[u8]) -> Actions {
        match Command::parse(line) {
            Command::Helo(name) => self.hello(name, Reply::Hello),
            Command::Ehlo(name) => self.hello(name, Reply::Extensions),
            Command::Mail(argument) => self.mail(argument),
            Command::Rcpt(argument) => self.rcpt(state, argument),
            Command::Data => self.data(state),
            Command::Rset if state == State::Idle => self.idle(state, Reply::Flushed),
            Command::Rset => self.settle(State::Idle, Reply::Flushed),
            Command::Noop => self.idle(state, Reply::Ok),
            Command::Vrfy => self.idle(state, Reply::Try),
            Command::Help => self.idle(state, Reply::Help),
            Command::Quit => alloc::vec![Action::Reply(Reply::Bye), Action::Close(Ending::Quit)],
            Command::Unknown => self.bad(state, Reply::Unimplemented),
        }
    }

    /// HELO and EHLO: the name is kept for the `Received` line.
    fn hello(&mut self, name: &[u8], reply: Reply) -> Actions {
        match self.helo.replace(name.to_vec()) {
            None => self.settle(State::Idle, reply),
            Some(_) => self.idle(State::Idle, reply),
        }
    }

    /// MAIL begins a transaction wherever the session is. If it is refused there is none: other
    /// than in stock, where recipients that follow would join the transaction before.
    fn mail(&mut self, argument: &[u8]) -> Actions {
        match self.judge_mail(argument) {
            Ok(envelope) => self.idle(State::Mail(envelope), Reply::Ok),
            Err(reply) => self.idle(State::Idle, reply),
        }
    }

    fn judge_mail(&self, argument: &[u8]) -> Result<Envelope, Reply> {
        let path = Path::parse(argument, &self.settings.own).map_err(|_| Reply::Syntax)?;
        if path.size.is_some_and(|size| self.too_large(size)) {
            return Err(Reply::TooLarge);
        }
        let mut block = Vec::new();
        text0::put(&mut block, &path.address);
        let barred = self.settings.bad_senders.list(&path.address);
        Ok(Envelope { block, recipients: 0, barred })
    }

    fn rcpt(&mut self, state: State, argument: &[u8]) -> Actions {
        let State::Mail(envelope) = state else { return self.bad(state, Reply::MailFirst) };
        match self.judge_rcpt(&envelope, argument) {
            Ok(address) => {
                self.state = State::Asking(envelope, address.clone());
                let relay = self.settings.relay.is_some();
                alloc::vec![Action::Ask(Question::Recipient { address, relay })]
            }
            // There may be many in one letter of an honest client; they tell it nothing.
            Err(Reply::TooManyRecipients) => {
                self.settle(State::Mail(envelope), Reply::TooManyRecipients)
            }
            Err(reply) => self.refuse(envelope, reply),
        }
    }

    /// The recipient's address, as far as the machine itself can tell.
    fn judge_rcpt(&self, envelope: &Envelope, argument: &[u8]) -> Result<Vec<u8>, Reply> {
        let path = Path::parse(argument, &self.settings.own).map_err(|_| Reply::Syntax)?;
        if envelope.barred {
            return Err(Reply::BadSender);
        }
        if envelope.recipients >= limits::SMTP_RECIPIENTS {
            return Err(Reply::TooManyRecipients);
        }
        let mut address = path.address;
        address.extend_from_slice(self.settings.relay.as_deref().unwrap_or_default());
        if address.len() > limits::ADDRESS { Err(Reply::Syntax) } else { Ok(address) }
    }

    fn do_rcpt(&mut self, mut envelope: Envelope, recipient: &[u8], welcome: Welcome) -> Actions {
        match welcome {
            Welcome::Yes => {
                text0::put(&mut envelope.block, recipient);
                envelope.recipients = envelope.recipients.saturating_add(1);
                self.settle(State::Mail(envelope), Reply::Ok)
            }
            Welcome::NotOurs => self.refuse(envelope, Reply::NotAllowed),
            Welcome::NoMailbox => self.refuse(envelope, Reply::NoMailbox),
            Welcome::Unsure => self.refuse(envelope, Reply::Unsure),
            Welcome::NoControls => Self::leave(&State::Idle, Some(Reply::NoControls)),
        }
    }

    /// A recipient that is not taken: one too many ends the session, so that nobody tries names at
    /// leisure.
    fn refuse(&mut self, envelope: Envelope, reply: Reply) -> Actions {
        self.refused = self.refused.saturating_add(1);
        if self.refused > limits::REFUSED_RECIPIENTS {
            return Self::leave(&State::Mail(envelope), Some(Reply::TooManyRefused));
        }
        self.settle(State::Mail(envelope), reply)
    }

    fn data(&mut self, state: State) -> Actions {
        match state {
            State::Mail(envelope) if envelope.recipients > 0 => {
                self.state = State::Opening(envelope);
                alloc::vec![Action::Begin { helo: self.helo.clone() }]
            }
            State::Mail(_) => self.bad(state, Reply::RcptFirst),
            State::Idle
            | State::Asking(..)
            | State::Opening(_)
            | State::Body(_)
            | State::Committing
            | State::Closed => self.bad(state, Reply::MailFirst),
        }
    }

    fn do_data(&mut self, envelope: Envelope) -> Actions {
        let letter = Letter { envelope, hops: Hops::default(), size: 0, doomed: None };
        self.settle(State::Body(letter), Reply::GoAhead)
    }

    /// A piece of the letter: passed on, unless the letter is doomed; then it is only read.
    fn body(&mut self, mut letter: Letter, bytes: &[u8]) -> Actions {
        letter.size = letter.size.saturating_add(bytes.len() as u64);
        letter.hops.look(bytes);
        let verdict = self.judge_body(&letter);
        let action = match (letter.doomed.is_some(), verdict.is_some()) {
            (false, false) => Some(Action::Body),
            (false, true) => Some(Action::Abort),
            (true, _) => None,
        };
        letter.doomed = verdict;
        self.state = State::Body(letter);
        action.into_iter().collect()
    }

    /// Why the letter will be refused, if it will.
    fn judge_body(&self, letter: &Letter) -> Option<Reply> {
        if letter.hops.looping() {
            return Some(Reply::TooManyHops);
        }
        self.too_large(letter.size).then_some(Reply::TooLarge)
    }

    fn end(&mut self, letter: Letter) -> Actions {
        match letter.doomed {
            Some(reply) => self.settle(State::Idle, reply),
            None => {
                self.state = State::Committing;
                alloc::vec![Action::Commit { envelope: letter.envelope.block }]
            }
        }
    }

    const fn too_large(&self, size: u64) -> bool {
        self.settings.databytes > 0 && size > self.settings.databytes
    }

    /// A bad command: one too many ends the session.
    fn bad(&mut self, state: State, reply: Reply) -> Actions {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands > limits::BAD_COMMANDS {
            return Self::leave(&state, Some(Reply::TooManyBadCommands));
        }
        self.settle(state, reply)
    }

    /// A command that brings no letter nearer: one too many since the last letter ends the session.
    fn idle(&mut self, state: State, reply: Reply) -> Actions {
        self.idle_commands = self.idle_commands.saturating_add(1);
        if self.idle_commands > limits::IDLE_COMMANDS {
            return Self::leave(&state, Some(Reply::TooManyIdleCommands));
        }
        self.settle(state, reply)
    }

    fn settle(&mut self, state: State, reply: Reply) -> Actions {
        self.state = state;
        say(reply)
    }

    /// Ends the session from `state`; a letter on its way is forgotten first.
    fn leave(state: &State, reply: Option<Reply>) -> Actions {
        let open = matches!(state, State::Opening(_) | State::Body(Letter { doomed: None, .. }));
        let abort = open.then_some(Action::Abort);
        let reply = reply.map(Action::Reply);
        abort.into_iter().chain(reply).chain([Action::Close(Ending::Broken)]).collect()
    }
}

const fn judge_stray(stray: Stray) -> Reply {
    match stray {
        Stray::Lf => Reply::StrayLf,
        Stray::Cr => Reply::StrayCr,
    }
}

fn say(reply: Reply) -> Actions {
    alloc::vec![Action::Reply(reply)]
}
