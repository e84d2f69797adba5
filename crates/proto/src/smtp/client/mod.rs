//! Sending letters to one server: the machine of qmail-remote(8), for
//! several letters in one session.
//!
//! Up to `MAIL` nothing is decided: whatever goes wrong before is [`Action::Next`], so that another
//! host of the domain may be tried (RFC 5321 §5.1). A server that offers it is told a letter's
//! sender, recipients and `DATA` in one piece (RFC 2920). A session that has carried a letter before
//! and fails the next before that has begun to go out is [`Action::Stale`]: the letter is not to
//! blame and goes out over a new connection.

mod login;
pub mod reply;
#[cfg(test)]
mod tests;
mod words;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

pub use login::{Login, Mechanisms};
pub use reply::{Broken, Replies, Reply};
pub use words::Offers;
use words::severity;

/// Commands that go out in one piece at most; a letter to more recipients is told one by one, so
/// that the server's answers always find room in the sockets' buffers (RFC 2920 §3.1).
const BATCH: usize = 16 << 10;
const QUIT: &[u8] = b"QUIT\r\n";
const DATA: &[u8] = b"DATA\r\n";
const RSET: &[u8] = b"RSET\r\n";
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

    fn greeted(&mut self, reply: &Reply) -> Actions {
        if reply.code != 220 {
            return self.next(b" but greeting failed", reply);
        }
        self.state = State::Ehlo;
        vec![Action::Send([b"EHLO ", self.helo.as_slice(), b"\r\n"].concat())]
    }

    fn ehlo(&mut self, reply: &Reply) -> Actions {
        match reply.code {
            250 => {
                self.offers = Offers::of(reply);
                self.known()
            }
            500..=599 => {
                self.state = State::Helo;
                vec![Action::Send([b"HELO ", self.helo.as_slice(), b"\r\n"].concat())]
            }
            _ => self.next(b" but my name was rejected", reply),
        }
    }

    /// The server knows our name: logs in, or begins with the letter.
    fn known(&mut self) -> Actions {
        let Some(login) = &self.login else { return self.transact() };
        let Some((line, step)) = login.begin(self.offers.login) else {
            let peer = self.peer.as_slice();
            let why = b" but it offers no way to log in that I know. (#4.7.4)\n";
            let item = [b"ZConnected to ", peer, why].concat();
            return self.quit(Some(Action::Next(item)));
        };
        self.state = State::Login(step);
        vec![Action::Send(line)]
    }

    fn log_in(&mut self, step: login::Step, reply: &Reply) -> Actions {
        match self.login.as_ref().map(|login| login.go_on(step, reply)) {
            Some(login::Next::Say(line, step)) => {
                self.state = State::Login(step);
                vec![Action::Send(line)]
            }
            Some(login::Next::In) | None => self.transact(),
            // The administrator's slip, or the relay's: no letter is to be lost by it.
            Some(login::Next::Refused) => self.not_in(reply),
        }
    }

    fn not_in(&mut self, reply: &Reply) -> Actions {
        let code = reply.code;
        let unsaid = || format!("{code} (not shown: the words hold the password)\n").into_bytes();
        let betrayed = self.login.as_ref().is_some_and(|login| login.is_betrayed_by(&reply.text));
        let text = if betrayed { unsaid() } else { reply.text.clone() };
        self.next(b" but authentication was rejected", &Reply { code, text })
    }

    fn another(&mut self, job: Job) -> Actions {
        self.job = job;
        (self.accepted, self.judged, self.used) = (false, false, true);
        self.transact()
    }

    /// Begins the letter: says as much of its envelope as may be said at once.
    fn transact(&mut self) -> Actions {
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

    fn reset(&mut self, reply: &Reply) -> Actions {
        if severity(reply.code).is_some() {
            return self.stale();
        }
        (self.half, self.state) = (false, State::Mail);
        let mail = if self.batch { None } else { self.mail_command() };
        mail.into_iter().map(Action::Send).collect()
    }

    fn mail(&mut self, reply: &Reply) -> Actions {
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

    fn rcpt(&mut self, index: usize, reply: &Reply) -> Actions {
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
