//! Behind the login: a list of letters, fixed for the session. The machine of `qmail-pop3d`.
//!
//! Nothing happens to any letter before `QUIT`: a session that breaks off changes nothing.

use alloc::vec;
use alloc::vec::Vec;

use base::limits;

use super::{OK, capabilities, no, split, yes};

/// One letter as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Bytes as sent: CRLF line ends, no doubled dots.
    pub size: u64,
    /// Its unique id: 1 to 70 bytes from 0x21 to 0x7e, the same in every session (RFC 1939 §7).
    pub uid: Vec<u8>,
}

/// The letters of a mailbox, in their order: a million of them lie where their owner likes.
pub trait Letters {
    /// How many there are.
    fn count(&self) -> usize;
    /// Bytes as sent, of the letter at this place: CRLF line ends, no doubled dots. Asked for only
    /// when the client does.
    fn size(&self, index: usize) -> u64;
    /// Appends its unique id: 1 to 70 bytes from 0x21 to 0x7e, the same in every session
    /// (RFC 1939 §7).
    fn put_uid(&self, index: usize, out: &mut Vec<u8>);
}

impl Letters for Vec<Letter> {
    fn count(&self) -> usize {
        self.len()
    }

    fn size(&self, index: usize) -> u64 {
        self.get(index).map_or(0, |letter| letter.size)
    }

    fn put_uid(&self, index: usize, out: &mut Vec<u8>) {
        out.extend(self.get(index).into_iter().flat_map(|letter| &letter.uid));
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The client said this (without its line end).
    Line(&'a [u8]),
    /// The client said a line longer than [`limits::COMMAND_LINE`].
    TooLong,
    /// The letter of [`Action::Send`] cannot be opened: nothing of it was sent.
    Missing,
    /// [`Action::Update`] is done; true if every deleted letter is gone for good.
    Updated(bool),
    /// The client has been silent too long.
    Deadline,
    /// The client is gone.
    Eof,
}

/// Which list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Number and size.
    Sizes,
    /// Number and unique id.
    Uids,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes, line ends included.
    Reply(Vec<u8>),
    /// Write [`Session::put_listed`] for every index, then `.` and CRLF.
    List(List),
    /// Open the letter; then write `+OK ` and CRLF and its [`super::letter::Wire`], or say
    /// [`Input::Missing`].
    Send {
        /// Its place in the list, from 0.
        index: usize,
        /// Lines of the body that are wanted; all if `None`.
        body_lines: Option<u64>,
    },
    /// Delete what is marked ([`Session::is_deleted`]), move the rest out of `new`, make that
    /// last, and say [`Input::Updated`].
    Update,
    /// The connection is over.
    Close,
}

type Actions = Vec<Action>;

/// Where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Updating,
    Over,
}

/// One client with its letters.
#[derive(Debug)]
pub struct Session<L = Vec<Letter>> {
    letters: L,
    deleted: Vec<bool>,
    state: State,
    /// The highest number ever deleted (stock's `LAST`).
    last: usize,
    bad: u32,
}

impl<L: Letters> Session<L> {
    /// A session over these letters, and its greeting.
    pub fn new(letters: L) -> (Self, Actions) {
        let deleted = vec![false; letters.count()];
        let session = Self { letters, deleted, state: State::Open, last: 0, bad: 0 };
        (session, vec![Action::Reply(yes())])
    }

    /// Whether the letter at `index` (from 0) is marked.
    pub fn is_deleted(&self, index: usize) -> bool {
        self.deleted.get(index).copied().unwrap_or(true)
    }

    /// The letters' indexes, deleted ones included.
    pub fn indexes(&self) -> core::ops::Range<usize> {
        0..self.deleted.len()
    }

    /// The line of `list` for one letter; nothing if it is deleted.
    pub fn listed(&self, list: List, index: usize) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.put_listed(list, index, &mut line);
        (!line.is_empty()).then_some(line)
    }

    /// Appends the line of `list` for one letter; nothing if it is deleted.
    pub fn put_listed(&self, list: List, index: usize, out: &mut Vec<u8>) {
        if self.is_deleted(index) {
            return;
        }
        put_number((index as u64).saturating_add(1), out);
        out.push(b' ');
        match list {
            List::Sizes => put_number(self.letters.size(index), out),
            List::Uids => self.letters.put_uid(index, out),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Takes what happened and says what to do. After [`Action::Close`] there is nothing to do.
    pub fn step(mut self, input: Input<'_>) -> (Self, Actions) {
        let actions = match (self.state, input) {
            (State::Over, _) => Vec::new(),
            (State::Open, Input::Line(line)) => self.command(line),
            (State::Open, Input::TooLong) => self.bad("line too long"),
            (State::Open, Input::Missing) => vec![reply("unable to open that message")],
            (State::Updating, Input::Updated(all)) => {
                self.state = State::Over;
                vec![Action::Reply(farewell(all)), Action::Close]
            }
            (_, Input::Deadline | Input::Eof) => {
                self.state = State::Over;
                vec![Action::Close]
            }
            (State::Open, Input::Updated(_))
            | (State::Updating, Input::Line(_) | Input::TooLong | Input::Missing) => Vec::new(),
        };
        (self, actions)
    }

    fn command(&mut self, line: &[u8]) -> Actions {
        let (verb, argument) = split(line);
        match verb.as_slice() {
            b"STAT" => vec![self.stat()],
            b"LIST" => self.list(List::Sizes, argument),
            b"UIDL" => self.list(List::Uids, argument),
            b"RETR" | b"TOP" => self.send(argument),
            b"DELE" => self.dele(argument),
            b"RSET" => {
                self.deleted.fill(false);
                self.last = 0;
                vec![Action::Reply(yes())]
            }
            b"LAST" => vec![Action::Reply(alloc::format!("+OK {}\r\n", self.last).into_bytes())],
            b"NOOP" => vec![Action::Reply(yes())],
            b"CAPA" => vec![Action::Reply(capabilities(b""))],
            b"QUIT" => {
                self.state = State::Updating;
                vec![Action::Update]
            }
            _ => self.bad("unimplemented"),
        }
    }

    /// Count and bytes of what is not deleted (stock counts deleted letters too).
    fn stat(&self) -> Action {
        let kept = self.indexes().filter(|index| !self.is_deleted(*index));
        let (count, bytes) = kept.fold((0_u64, 0_u64), |(count, bytes), index| {
            (count.saturating_add(1), bytes.saturating_add(self.letters.size(index)))
        });
        Action::Reply(alloc::format!("+OK {count} {bytes}\r\n").into_bytes())
    }

    fn list(&self, list: List, argument: &[u8]) -> Actions {
        if argument.is_empty() {
            return vec![Action::Reply(yes()), Action::List(list)];
        }
        match self.judge_number(argument).map(|(index, _)| self.listed(list, index)) {
            Ok(Some(line)) => vec![Action::Reply([b"+OK ", line.as_slice()].concat())],
            Ok(None) => vec![reply("already deleted")],
            Err(text) => vec![reply(text)],
        }
    }

    /// `RETR n` and `TOP n k`; without k the whole letter, as in stock.
    fn send(&self, argument: &[u8]) -> Actions {
        let wanted = self.judge_number(argument).and_then(|(index, rest)| match rest {
            [] => Ok((index, None)),
            rest => match number(rest) {
                Some((lines, [])) => Ok((index, Some(lines))),
                _ => Err("syntax error"),
            },
        });
        match wanted {
            Ok((index, body_lines)) => vec![Action::Send { index, body_lines }],
            Err(text) => vec![reply(text)],
        }
    }

    fn dele(&mut self, argument: &[u8]) -> Actions {
        match self.judge_number(argument) {
            Ok((index, _)) => {
                if let Some(mark) = self.deleted.get_mut(index) {
                    *mark = true;
                }
                self.last = self.last.max(index.saturating_add(1));
                vec![Action::Reply(yes())]
            }
            Err(text) => vec![reply(text)],
        }
    }

    /// The index of the letter `argument` names, and what follows the number.
    fn judge_number<'a>(&self, argument: &'a [u8]) -> Result<(usize, &'a [u8]), &'static str> {
        let (number, rest) = number(argument).ok_or("syntax error")?;
        let index = number.checked_sub(1).ok_or("messages are counted from 1")?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.deleted.get(index) {
            None => Err("not that many messages"),
            Some(true) => Err("already deleted"),
            Some(false) => Ok((index, rest)),
        }
    }

    /// Answers what cannot be done, until it is too much.
    fn bad(&mut self, text: &str) -> Actions {
        self.bad = self.bad.saturating_add(1);
        if self.bad > limits::BAD_COMMANDS {
            self.state = State::Over;
            return vec![reply("too many bad commands"), Action::Close];
        }
        vec![reply(text)]
    }
}

/// The one answer to `QUIT`.
fn farewell(all_gone: bool) -> Vec<u8> {
    if all_gone { OK.to_vec() } else { no("unable to unlink all deleted messages") }
}

/// A decimal number up to a space or the end (the biggest one if it does not fit), and what follows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = super::word(text);
    Some((base::number::whole(digits)?, rest))
}

/// Appends a decimal number.
fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0'.wrapping_add(u8::try_from(number % 10).unwrap_or(0));
        first = first.saturating_sub(1);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

fn reply(text: &str) -> Action {
    Action::Reply(no(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everywhere() {
        for number in [0, 1, 9, 10, 99, 100, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(out, alloc::format!("{number}").into_bytes());
        }
    }
    use alloc::format;
    use alloc::string::{String, ToString};

    fn letters() -> Vec<Letter> {
        let sizes = [1_115_u64, 307, 90];
        let letter = |(n, &size): (usize, &u64)| Letter { size, uid: format!("u{n}").into_bytes() };
        sizes.iter().enumerate().map(letter).collect()
    }

    fn say(lines: &[&str]) -> Vec<String> {
        let (mut session, mut heard) = (Session::new(letters()).0, Vec::new());
        for line in lines {
            let (next, actions) = session.step(Input::Line(line.as_bytes()));
            session = next;
            heard.extend(actions.iter().map(|action| show(&session, action)));
        }
        heard
    }

    fn show(session: &Session, action: &Action) -> String {
        match action {
            Action::Reply(bytes) => text(bytes),
            Action::List(list) => {
                let lines = session.indexes().filter_map(|n| session.listed(*list, n));
                lines.map(|line| text(&line)).collect::<Vec<_>>().join(",")
            }
            Action::Send { index, body_lines } => format!("send {index} {body_lines:?}"),
            Action::Update => "update".to_string(),
            Action::Close => "close".to_string(),
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).trim_end_matches("\r\n").to_string()
    }

    #[test]
    fn deleted_letters_are_neither_counted_nor_listed() {
        let heard = say(&["STAT", "DELE 2", "STAT", "LIST", "UIDL", "LIST 2", "RETR 2", "LAST"]);
        let gone = "-ERR already deleted";
        let want = ["+OK 3 1512", "+OK ", "+OK 2 1205", "+OK ", "1 1115,3 90", "+OK ", "1 u0,3 u2"];
        assert_eq!(heard[..7], want);
        assert_eq!(heard[7..], [gone, gone, "+OK 2"]);
    }

    #[test]
    fn rset_forgets_every_mark() {
        assert_eq!(
            say(&["DELE 1", "DELE 3", "RSET", "STAT", "LAST"])[3..],
            ["+OK 3 1512", "+OK 0"]
        );
    }

    #[test]
    fn bad_numbers_have_their_own_answers() {
        let heard = say(&["RETR", "RETR x", "DELE 1x", "LIST 0", "UIDL 4", "TOP 1 x", "TOP 1 -1"]);
        let syntax = "-ERR syntax error";
        assert_eq!(heard[..3], [syntax, syntax, syntax]);
        assert_eq!(
            heard[3..5],
            ["-ERR messages are counted from 1", "-ERR not that many messages"]
        );
        assert_eq!(heard[5..], [syntax, syntax]);
        assert_eq!(say(&["RETR 99999999999999999999999"]), ["-ERR not that many messages"]);
    }

    #[test]
    fn top_says_how_much_is_wanted() {
        let heard = say(&["RETR 1", "top 1 0", "TOP  2  7", "TOP 3"]);
        assert_eq!(heard, ["send 0 None", "send 0 Some(0)", "send 1 Some(7)", "send 2 None"]);
    }

    #[test]
    fn quit_gets_one_honest_answer() {
        for (all, want) in [(true, "+OK "), (false, "-ERR unable to unlink all deleted messages")] {
            let (session, actions) = Session::new(letters()).0.step(Input::Line(b"quit"));
            assert_eq!(actions, [Action::Update]);
            let (session, actions) = session.step(Input::Updated(all));
            assert_eq!(show(&session, &actions[0]), want);
            assert_eq!(actions[1..], [Action::Close]);
        }
    }

    #[test]
    fn a_session_that_breaks_off_updates_nothing() {
        for end in [Input::Eof, Input::Deadline] {
            let (session, _) = Session::new(letters()).0.step(Input::Line(b"DELE 1"));
            let (session, actions) = session.step(end);
            assert_eq!(actions, [Action::Close]);
            assert!(session.step(Input::Line(b"QUIT")).1.is_empty());
        }
    }

    #[test]
    fn nonsense_is_heard_only_so_long() {
        let heard = say(&["XYZZY"; 20]);
        assert_eq!(heard.len() as u32, limits::BAD_COMMANDS + 2);
        assert_eq!(heard[0], "-ERR unimplemented");
    }
}
