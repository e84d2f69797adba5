//! Before the mailbox: who is it? The machine of `qmail-popup`.
//!
//! One secret may be tried in one connection; whether it fits is for somebody else to say
//! ([`Action::Ask`]).

use alloc::vec;
use alloc::vec::Vec;

use base::limits;

use super::{OK, capabilities, no, split, word, yes};
use crate::sasl;

/// Bytes of the host name in the timestamp, so that it always fits [`limits::LOGIN`].
const TIMESTAMP_HOST: usize = 130;
/// The longest timestamp, for the same reason; another one is not believed.
const TIMESTAMP: usize = limits::LOGIN - limits::LOGIN_NAME_AND_SECRET - 3;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The client said this (without its line end).
    Line(&'a [u8]),
    /// The client said a line longer than [`limits::COMMAND_LINE`].
    TooLong,
    /// The client says a line without end.
    Endless,
    /// The answer to [`Action::Ask`].
    Verdict(Verdict),
    /// The client has been silent too long.
    Deadline,
    /// The same, for a client that was waited for less long because places are short.
    Hurried,
    /// The client is gone.
    Eof,
}

/// Does the secret fit?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did, and the mailbox is served by somebody else: nothing is left to say.
    Served,
    /// It does not.
    Refused,
    /// It did, but the mailbox has too many sessions already.
    Busy,
    /// Whoever checks such things died of it.
    Crashed,
    /// It could not be found out now; the client need not ask its user for another.
    Trouble,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes, line ends included.
    Reply(Vec<u8>),
    /// Find out whether this fits, and say so with [`Input::Verdict`]. Nothing the client sent
    /// behind its secret may be read: it belongs to whoever serves the mailbox.
    Ask(Credentials),
    /// Wait a second or two: guessing shall be slow.
    Pause,
    /// The connection is over.
    Close,
}

/// Who claims to be whom. The secret is overwritten when this is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login name.
    pub name: Vec<u8>,
    /// The password, or the digest of `APOP`.
    pub secret: Vec<u8>,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.secret.fill(0);
        core::hint::black_box(&self.secret);
    }
}

/// The greeting: `+OK <stamp@host>`; no two clients get the same stamp (RFC 1939 §7, `APOP`).
pub fn greeting(stamp: &[u8], host: &[u8]) -> Vec<u8> {
    let mut greeting = [b"+OK <", stamp, b"@"].concat();
    greeting.extend(host.iter().filter(|c| c.is_ascii_graphic()).take(TIMESTAMP_HOST));
    greeting.extend_from_slice(b">\r\n");
    greeting
}

/// How far the client has come.
#[derive(Debug)]
enum State {
    /// Nothing is known.
    Start,
    /// `USER` gave a name.
    Named(Vec<u8>),
    /// `AUTH PLAIN` waits for its one message.
    Plain,
    /// `AUTH LOGIN` waits for the name.
    SaslName,
    /// `AUTH LOGIN` waits for the secret.
    SaslSecret(Vec<u8>),
    /// The secret is being checked.
    Asked,
    /// Nothing more is heard.
    Over,
}

/// One client before its login.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// The banner's timestamp, angle brackets included: the seed of `APOP`.
    timestamp: Vec<u8>,
    lines: u32,
    bad: u32,
}

type Actions = Vec<Action>;
type Step = (State, Actions);

impl Session {
    /// A client that has just connected, and the greeting.
    pub fn new(pid: u32, unix_time: u64, host: &[u8]) -> (Self, Actions) {
        let greeting = greeting(alloc::format!("{pid}.{unix_time}").as_bytes(), host);
        (Self::greeted(&greeting), vec![Action::Reply(greeting)])
    }

    /// A client that somebody else has greeted so ([`greeting`], its line end or not).
    pub fn greeted(greeting: &[u8]) -> Self {
        let stamp = greeting.strip_prefix(b"+OK ").unwrap_or_default().trim_ascii_end();
        let timestamp = if stamp.len() <= TIMESTAMP { stamp.to_vec() } else { Vec::new() };
        Self { state: State::Start, timestamp, lines: 0, bad: 0 }
    }

    /// The banner's timestamp, angle brackets included.
    pub fn timestamp(&self) -> &[u8] {
        &self.timestamp
    }

    /// Takes what happened and says what to do. After [`Action::Close`] there is nothing to do.
    pub fn step(mut self, input: Input<'_>) -> (Self, Actions) {
        let state = core::mem::replace(&mut self.state, State::Over);
        let (state, actions) = match (state, input) {
            (State::Over, _) => (State::Over, Vec::new()),
            (State::Asked, Input::Verdict(verdict)) => (State::Over, judged(verdict)),
            (State::Asked, Input::Line(_) | Input::TooLong) => (State::Asked, Vec::new()),
            (_, Input::Endless) => close("-ERR line without end\r\n"),
            (_, Input::Hurried) => close("-ERR [SYS/TEMP] too busy to wait any longer\r\n"),
            (_, Input::Deadline | Input::Eof) => (State::Over, vec![Action::Close]),
            (state, Input::Verdict(_)) => (state, Vec::new()),
            (state, Input::Line(line)) => self.line(state, line),
            (state, Input::TooLong) => self.bad(state, "line too long"),
        };
        self.state = state;
        (self, actions)
    }

    /// One line, if there have not been too many.
    fn line(&mut self, state: State, line: &[u8]) -> Step {
        self.lines = self.lines.saturating_add(1);
        if self.lines > limits::LOGIN_LINES {
            return close("-ERR too many commands\r\n");
        }
        match state {
            State::Plain => self.plain(line),
            State::SaslName => self.sasl_name(line),
            State::SaslSecret(name) => self.sasl_secret(name, line),
            State::Start | State::Named(_) | State::Asked | State::Over => {
                self.command(state, line)
            }
        }
    }

    fn command(&mut self, state: State, line: &[u8]) -> Step {
        let (verb, argument) = split(line);
        match (verb.as_slice(), state) {
            (b"USER" | b"PASS" | b"APOP", state) if argument.is_empty() => {
                // USER must come first, even for a PASS that says nothing.
                match (verb.as_slice(), state) {
                    (b"PASS", State::Start) => (State::Start, vec![reply("USER first")]),
                    (_, state) => (state, vec![reply("syntax error")]),
                }
            }
            (b"USER", _) => (State::Named(argument.to_vec()), vec![Action::Reply(yes())]),
            (b"PASS", State::Named(name)) => ask(name, argument),
            (b"PASS", state) => (state, vec![reply("USER first")]),
            (b"APOP", state) => match word(argument) {
                (_, []) => (state, vec![reply("syntax error")]),
                (name, digest) => ask(name.to_vec(), digest),
            },
            (b"AUTH", state) => self.auth(state, argument),
            (b"CAPA", state) => (state, vec![Action::Reply(capabilities(b"SASL PLAIN LOGIN\r\n"))]),
            (b"NOOP", state) => (state, vec![Action::Reply(yes())]),
            (b"QUIT", _) => (State::Over, vec![Action::Reply(yes()), Action::Close]),
            (_, state) => self.bad(state, "authorization first"),
        }
    }

    /// `AUTH mechanism [initial response]` (RFC 5034 §4); alone it lists the mechanisms, as some
    /// clients from before `CAPA` expect.
    fn auth(&mut self, state: State, argument: &[u8]) -> Step {
        let (mechanism, initial) = word(argument);
        let (wanted, asking): (State, &[u8]) = match mechanism.to_ascii_uppercase().as_slice() {
            b"PLAIN" => (State::Plain, b""),
            b"LOGIN" => (State::SaslName, sasl::ASK_NAME),
            b"" => return (state, vec![Action::Reply([OK, b"PLAIN\r\nLOGIN\r\n.\r\n"].concat())]),
            _ => return self.bad(state, "unknown authentication mechanism"),
        };
        match (wanted, initial) {
            (wanted, []) => (wanted, vec![challenge(asking)]),
            // A lone `=` is the empty message.
            (State::SaslName, initial) => self.sasl_name(initial),
            (_, initial) => self.plain(initial),
        }
    }

    fn plain(&mut self, line: &[u8]) -> Step {
        let Some(message) = self.sasl_message(line) else { return self.spoilt(line) };
        match sasl::plain(&message) {
            Ok((name, secret)) => ask(name.to_vec(), secret),
            Err(sasl::Malformed) => self.spoilt(line),
        }
    }

    fn sasl_name(&mut self, line: &[u8]) -> Step {
        match self.sasl_message(line) {
            Some(name) if !name.is_empty() && !name.contains(&0) => {
                (State::SaslSecret(name), vec![challenge(sasl::ASK_SECRET)])
            }
            _ => self.spoilt(line),
        }
    }

    fn sasl_secret(&mut self, name: Vec<u8>, line: &[u8]) -> Step {
        match self.sasl_message(line) {
            Some(secret) if !secret.contains(&0) => ask(name, &secret),
            _ => self.spoilt(line),
        }
    }

    /// What the client's base64 says.
    fn sasl_message(&self, line: &[u8]) -> Option<Vec<u8>> {
        if line == b"=" { Some(Vec::new()) } else { sasl::decode(line).ok() }
    }

    /// The exchange came to nothing; the client may begin anew.
    fn spoilt(&mut self, line: &[u8]) -> Step {
        let text = if line == b"*" { "authentication cancelled" } else { "malformed response" };
        self.bad(State::Start, text)
    }

    /// Answers what cannot be done, until it is too much.
    fn bad(&mut self, state: State, text: &str) -> Step {
        self.bad = self.bad.saturating_add(1);
        if self.bad > limits::BAD_COMMANDS {
            return close("-ERR too many bad commands\r\n");
        }
        (state, vec![reply(text)])
    }
}

/// Asks whether the secret fits; what is too long for the interface to carry is refused unasked.
fn ask(name: Vec<u8>, secret: &[u8]) -> Step {
    if name.len().saturating_add(secret.len()) > limits::LOGIN_NAME_AND_SECRET {
        return (State::Over, judged(Verdict::Refused));
    }
    (State::Asked, vec![Action::Ask(Credentials { name, secret: secret.to_vec() })])
}

/// What the client hears of the verdict.
fn judged(verdict: Verdict) -> Actions {
    match verdict {
        Verdict::Served => vec![Action::Close],
        Verdict::Refused => vec![Action::Pause, reply("authorization failed"), Action::Close],
        Verdict::Busy => vec![reply("[IN-USE] too many sessions in this mailbox"), Action::Close],
        Verdict::Crashed => vec![reply("aack, child crashed"), Action::Close],
        Verdict::Trouble => {
            vec![reply("[SYS/TEMP] unable to check your password now"), Action::Close]
        }
    }
}

fn reply(text: &str) -> Action {
    Action::Reply(no(text))
}

fn challenge(text: &[u8]) -> Action {
    Action::Reply([b"+ ", text, b"\r\n"].concat())
}

fn close(text: &str) -> Step {
    (State::Over, vec![Action::Reply(text.as_bytes().to_vec()), Action::Close])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_greets_the_timestamp_is_what_was_said() {
        let (session, actions) = Session::new(7, 9, b"host");
        assert_eq!(actions, [Action::Reply(b"+OK <7.9@host>\r\n".to_vec())]);
        assert_eq!(session.timestamp(), b"<7.9@host>");
        assert_eq!(Session::greeted(b"+OK <7.1.9@host>").timestamp(), b"<7.1.9@host>");
        for odd in [&b""[..], b"hello", &[&b"+OK "[..], &[b'x'; 1_000]].concat()] {
            assert_eq!(Session::greeted(odd).timestamp(), b"");
        }
        let longest = greeting(&[b'9'; 52], &[b'h'; 1_000]);
        assert!(!Session::greeted(&longest).timestamp().is_empty());
    }
    use alloc::format;
    use alloc::string::{String, ToString};

    fn start() -> Session {
        Session::new(6876, 1_201_000_838, b"FQDN").0
    }

    /// What a fresh client hears; `ask NAME SECRET` for a question.
    fn say(lines: &[&str]) -> Vec<String> {
        let (mut session, mut heard) = (start(), Vec::new());
        for line in lines {
            let (next, actions) = session.step(Input::Line(line.as_bytes()));
            session = next;
            heard.extend(actions.iter().map(show));
        }
        heard
    }

    fn show(action: &Action) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match action {
            Action::Reply(bytes) => text(bytes).trim_end_matches("\r\n").to_string(),
            Action::Ask(c) => format!("ask {}/{}", text(&c.name), text(&c.secret)),
            Action::Pause => "pause".to_string(),
            Action::Close => "close".to_string(),
        }
    }

    #[test]
    fn the_greeting_is_the_seed_of_apop() {
        let (session, actions) = Session::new(6873, 1_201_000_830, b"FQDN\r\n>");
        assert_eq!(show(&actions[0]), "+OK <6873.1201000830@FQDN>>");
        assert_eq!(session.timestamp(), b"<6873.1201000830@FQDN>>");
    }

    #[test]
    fn the_secret_is_the_rest_of_the_line() {
        assert_eq!(say(&["USER a", "user joe", "pass a b "]), ["+OK ", "+OK ", "ask joe/a b "]);
    }

    #[test]
    fn stock_texts_are_kept_to_the_byte() {
        let want = ["-ERR USER first", "-ERR USER first", "-ERR syntax error", "+OK "];
        assert_eq!(say(&["PASS x", "PASS", "USER", "NOOP"]), want);
        assert_eq!(say(&["STAT", "QUIT"]), ["-ERR authorization first", "+OK ", "close"]);
        assert_eq!(say(&["APOP joe", "APOP"]), ["-ERR syntax error", "-ERR syntax error"]);
    }

    #[test]
    fn apop_is_passed_on_to_whoever_can_check_it() {
        assert_eq!(say(&["APOP joe c4c9334bac560ecc979e58001b3e22fb"]).len(), 1);
        assert_eq!(say(&["apop  joe  c4c9"]), ["ask joe/c4c9"]);
    }

    #[test]
    fn plain_comes_at_once_or_when_asked() {
        assert_eq!(say(&["AUTH PLAIN AGpvZQBhIGI="]), ["ask joe/a b"]);
        assert_eq!(say(&["auth plain", "AGpvZQBhIGI="]), ["+ ", "ask joe/a b"]);
    }

    #[test]
    fn login_asks_for_name_and_secret() {
        let want = ["+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6", "ask joe/a b"];
        assert_eq!(say(&["AUTH LOGIN", "am9l", "YSBi"]), want);
        assert_eq!(say(&["AUTH LOGIN am9l", "YSBi"]), want[1..]);
    }

    #[test]
    fn a_cancelled_or_malformed_exchange_begins_anew() {
        assert_eq!(say(&["AUTH PLAIN", "*"])[1], "-ERR authentication cancelled");
        assert_eq!(say(&["AUTH PLAIN", "USER x"])[1], "-ERR malformed response");
        assert_eq!(say(&["AUTH LOGIN", "AA==", "NOOP"])[1..], ["-ERR malformed response", "+OK "]);
        assert_eq!(say(&["AUTH CRAM-MD5"]), ["-ERR unknown authentication mechanism"]);
    }

    #[test]
    fn capabilities_offer_sasl_so_that_nobody_needs_apop() {
        let heard = say(&["CAPA"]);
        let lines: Vec<&str> = heard[0].split("\r\n").collect();
        assert!(lines.contains(&"SASL PLAIN LOGIN"));
        assert_eq!((lines[0], lines[lines.len() - 1]), ("+OK ", "."));
    }

    #[test]
    fn one_attempt_is_all_there_is() {
        for (verdict, want) in [
            (Verdict::Served, &["close"][..]),
            (Verdict::Refused, &["pause", "-ERR authorization failed", "close"]),
            (Verdict::Crashed, &["-ERR aack, child crashed", "close"]),
        ] {
            let (session, _) = start().step(Input::Line(b"APOP joe x"));
            let (session, actions) = session.step(Input::Verdict(verdict));
            assert_eq!(actions.iter().map(show).collect::<Vec<_>>(), want);
            assert!(session.step(Input::Line(b"USER joe")).1.is_empty());
        }
    }

    #[test]
    fn who_says_no_end_or_takes_long_when_places_are_short_is_told_and_closed() {
        for (input, want) in [
            (Input::Endless, "-ERR line without end"),
            (Input::Hurried, "-ERR [SYS/TEMP] too busy to wait any longer"),
        ] {
            let (session, actions) = start().step(input);
            assert_eq!(actions.iter().map(show).collect::<Vec<_>>(), [want, "close"]);
            assert!(session.step(Input::Line(b"NOOP")).1.is_empty());
        }
    }

    #[test]
    fn what_the_interface_cannot_carry_is_refused_unasked() {
        let long = "x".repeat(500);
        let heard = say(&[&format!("USER {long}"), "PASS y", "NOOP"]);
        assert_eq!(heard[1..], ["pause", "-ERR authorization failed", "close"]);
    }

    #[test]
    fn patience_has_an_end() {
        let bad = ["STAT"; 20];
        let heard = say(&bad);
        assert_eq!(heard.len() as u32, limits::BAD_COMMANDS + 2);
        assert_eq!(heard.last().unwrap(), "close");
        let heard = say(&["NOOP"; 1_000]);
        assert_eq!(heard.len() as u32, limits::LOGIN_LINES + 2);
    }
}
