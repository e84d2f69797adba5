//! Sending letters to one server: the machine of qmail-remote(8), for
//! several letters in one session.
//!
//! Up to `MAIL` nothing is decided: whatever goes wrong before is [`Action::Next`], so that another
//! host of the domain may be tried (RFC 5321 §5.1). A server that offers it is told a letter's
//! sender, recipients and `DATA` in one piece (RFC 2920). A session that has carried a letter before
//! and fails the next before that has begun to go out is [`Action::Stale`]: the letter is not to
//! blame and goes out over a new connection.

mod envelope;
mod hello;
mod login;
pub mod reply;
#[cfg(test)]
mod tests;
mod words;

use alloc::vec;
use alloc::vec::Vec;

pub use login::{Login, Mechanisms};
pub use reply::{Broken, Replies, Reply};
pub use words::Offers;
use words::severity;

const QUIT: &[u8] = b"QUIT\r\n";
const DATA: &[u8] = b"DATA\r\n";
const DOT: &[u8] = b".\r\n";

/// One letter to be sent.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Envelope sender, unquoted.
    pub sender: Vec<u8>,
    /// Envelope recipients, unquoted.
    pub recipients: Vec<Vec<u8>>,
    /// The letter's bytes, if known: told to a server that offers SIZE (RFC 1870).
    pub size: Option<u64>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The server said this.
    Reply(Reply),
    /// The whole letter is on its way, the dot not.
    BodySent,
    /// The letter cannot be read to its end.
    Unreadable,
    /// The connection broke, or a reply was none or one nobody asked for, or it took too long.
    Lost,
    /// After [`Action::Ready`]: another letter for this server.
    Job(Job),
    /// After [`Action::Ready`]: there is no other letter.
    Leave,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes; they may wait for more until a reply is read.
    Send(Vec<u8>),
    /// Write the letter's wire form without its dot, then say [`Input::BodySent`]. A reply that is
    /// there already answers nothing we said: then say [`Input::Lost`] instead.
    Body,
    /// Report this item (qmail-remote(8)); it has no NUL.
    Item(Vec<u8>),
    /// This server will not do; if there is no other, this is the item to report.
    Next(Vec<u8>),
    /// The letter has been judged by its items; the server is ready for another.
    Ready,
    /// The session turned out dead before the letter began to go out: forget its items and send it
    /// over a new connection.
    Stale,
    /// The letter has been judged by its items, if there was one, and the conversation is over.
    Close,
}

type Actions = Vec<Action>;

/// Where the conversation is: what the next reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    /// A step of a login.
    Login(login::Step),
    /// No letter is on its way.
    Idle,
    Rset,
    Mail,
    /// The recipient of this index.
    Rcpt(usize),
    Data,
    /// The letter is being written.
    Body,
    Dot,
    /// The dot of a letter without recipients, which the server asked for all the same.
    Void,
    Over,
}

/// One conversation.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub struct Session {
    /// The server's address as reports show it.
    peer: Vec<u8>,
    /// Our own name.
    helo: Vec<u8>,
    /// With which to log in before the first letter.
    login: Option<Login>,
    job: Job,
    state: State,
    offers: Offers,
    /// Everything up to `DATA` has been said; the answers come one by one.
    batch: bool,
    /// A recipient was accepted.
    accepted: bool,
    /// The letter's verdict has been reported; nothing the server says changes it.
    judged: bool,
    /// The server has a transaction that did not come to its end.
    half: bool,
    /// The server has said that it will hang up (RFC 5321 §3.8, 421).
    closing: bool,
    /// A letter was judged in this session before.
    used: bool,
}

impl Session {
    /// A conversation that begins when the server at `peer` greets; we call ourselves `helo`.
    pub fn new(peer: Vec<u8>, helo: Vec<u8>, job: Job) -> Self {
        Self {
            peer,
            helo,
            login: None,
            job,
            state: State::Greeting,
            offers: Offers::default(),
            batch: false,
            accepted: false,
            judged: false,
            half: false,
            closing: false,
            used: false,
        }
    }

    /// The same, logging in before the first letter if there is a login. Whoever says so has made
    /// sure that the secret may be heard on the way.
    #[must_use]
    pub fn logging_in(self, login: Option<Login>) -> Self {
        Self { login, ..self }
    }

    /// What the server offered in its answer to `EHLO`.
    pub const fn offers(&self) -> Offers {
        self.offers
    }

    /// Takes what happened and says what to do. After [`Action::Close`], [`Action::Next`] and
    /// [`Action::Stale`] there is nothing more to do.
    pub fn step(mut self, input: Input) -> (Self, Actions) {
        let actions = match (self.state, input) {
            (State::Over, Input::Job(_)) => vec![Action::Stale],
            (State::Over, _) => Vec::new(),
            (_, Input::Lost) => self.lost(),
            (State::Idle, Input::Job(job)) => self.another(job),
            (State::Idle, Input::Leave) => self.quit(None),
            (State::Body, Input::BodySent) => {
                self.state = State::Dot;
                vec![Action::Send(DOT.to_vec())]
            }
            (State::Body, Input::Unreadable) => {
                self.state = State::Over;
                vec![Action::Item(b"ZUnable to read message. (#4.3.0)\n".to_vec()), Action::Close]
            }
            (_, Input::Job(_) | Input::Leave | Input::BodySent | Input::Unreadable) => Vec::new(),
            (state, Input::Reply(reply)) => {
                self.closing |= reply.code == 421;
                self.reply(state, &reply)
            }
        };
        (self, actions)
    }

    fn reply(&mut self, state: State, reply: &Reply) -> Actions {
        match state {
            State::Greeting => self.greeted(reply),
            State::Ehlo => self.ehlo(reply),
            State::Helo if reply.code == 250 => self.known(),
            State::Login(step) => self.log_in(step, reply),
            State::Helo => self.next(b" but my name was rejected", reply),
            State::Rset => self.reset(reply),
            State::Mail => self.mail(reply),
            State::Rcpt(index) => self.rcpt(index, reply),
            State::Data => self.data(reply),
            State::Body | State::Dot => self.dot(reply),
            State::Void => {
                self.half = false;
                self.settled(Vec::new())
            }
            State::Idle => self.quit(None),
            State::Over => Vec::new(),
        }
    }

    fn another(&mut self, job: Job) -> Actions {
        self.job = job;
        (self.accepted, self.judged, self.used) = (false, false, true);
        self.transact()
    }

    fn data(&mut self, reply: &Reply) -> Actions {
        match severity(reply.code) {
            // Nobody is to have the letter, and yet the server waits for it (RFC 2920 §3.1).
            None if self.judged && reply.code >= 300 => {
                self.state = State::Void;
                vec![Action::Send(DOT.to_vec())]
            }
            _ if self.judged => {
                self.closing |= reply.code < 300;
                self.settled(Vec::new())
            }
            // It answers something else than the last of our commands.
            None if self.batch && reply.code < 300 => self.lost(),
            None => {
                self.state = State::Body;
                vec![Action::Body]
            }
            Some(_) if self.closing && self.is_before_the_letter() => self.stale(),
            Some(letter) => {
                self.batch = false;
                let item = self.said(&[letter], b"", b" failed on DATA command.", reply);
                self.verdict(item)
            }
        }
    }

    /// The answer to the dot; or one in the middle of the letter, which the server did not wait to
    /// give.
    fn dot(&mut self, reply: &Reply) -> Actions {
        let early = self.state == State::Body;
        self.closing |= early;
        (self.half, self.batch) = (false, false);
        match severity(reply.code) {
            // It asks for a letter it has: it answers something else than our dot.
            None if early || reply.code >= 300 => self.lost(),
            None => {
                let item = self.said(b"K", b"", b" accepted message.", reply);
                self.verdict(item)
            }
            Some(letter) => {
                let item = self.said(&[letter], b"", b" failed after I sent the message.", reply);
                self.verdict(item)
            }
        }
    }

    /// `letter before PEER after`, and what the server said.
    fn said(&self, letter: &[u8], before: &[u8], after: &[u8], reply: &Reply) -> Vec<u8> {
        let peer = self.peer.as_slice();
        [letter, before, peer, after, b"\nRemote host said: ", &reply.text].concat()
    }

    /// Reports the letter's verdict. Answers to what has been said already are still to come, if
    /// the server means to give them.
    fn verdict(&mut self, item: Vec<u8>) -> Actions {
        self.judged = true;
        let item = vec![Action::Item(item)];
        if self.batch && !self.closing { item } else { self.settled(item) }
    }

    /// Nothing of the letter is under way any more.
    fn settled(&mut self, mut actions: Actions) -> Actions {
        if self.closing {
            actions.extend(self.quit(None));
        } else {
            self.state = State::Idle;
            actions.push(Action::Ready);
        }
        actions
    }

    fn next(&mut self, why: &[u8], reply: &Reply) -> Actions {
        let item = self.said(b"Z", b"Connected to ", &[why, b"."].concat(), reply);
        self.quit(Some(Action::Next(item)))
    }

    /// Takes leave and does not wait for an answer.
    fn quit(&mut self, instead: Option<Action>) -> Actions {
        self.state = State::Over;
        vec![Action::Send(QUIT.to_vec()), instead.unwrap_or(Action::Close)]
    }

    fn stale(&mut self) -> Actions {
        self.quit(Some(Action::Stale))
    }

    /// Whether another connection may have the letter: none of it has gone out over this one, which
    /// was good before.
    const fn is_before_the_letter(&self) -> bool {
        let envelope =
            matches!(self.state, State::Rset | State::Mail | State::Rcpt(_) | State::Data);
        self.used && !self.judged && envelope
    }

    fn lost(&mut self) -> Actions {
        let stale = self.is_before_the_letter();
        let state = core::mem::replace(&mut self.state, State::Over);
        if self.judged || state == State::Idle {
            return vec![Action::Close];
        }
        if stale {
            return vec![Action::Stale];
        }
        let perhaps: &[u8] = if state == State::Dot { b"Possible duplicate! " } else { b"" };
        let died = b" but connection died. ";
        let item = [b"ZConnected to ", self.peer.as_slice(), died, perhaps, b"(#4.4.2)\n"].concat();
        if matches!(state, State::Greeting | State::Ehlo | State::Helo | State::Login(_)) {
            return vec![Action::Next(item)];
        }
        vec![Action::Item(item), Action::Close]
    }
}
