//! The two POP3 machines as one server: no socket, no process, no file.

use std::collections::VecDeque;

use base::crlf::Length;
use base::limits;
use proto::line::{Line, Lines};
use proto::pop3::OK;
use proto::pop3::letter::Wire;
use proto::pop3::login::{self, Verdict};
use proto::pop3::maildrop::{self, Letter};

use crate::script::{Script, Setting};
use crate::{Queued, Server};

/// Which machine speaks.
enum Machine {
    Login(login::Session),
    Maildrop(maildrop::Session),
    Closed,
}

/// The POP3 machines, set up as a script wants.
pub struct Post {
    machine: Machine,
    /// Names that may log in, each with its password and letters.
    accounts: Vec<Account>,
    /// Whose mailbox is open.
    open: Option<usize>,
    lines: Lines,
    /// The most bytes the machine is fed at once.
    chunk: usize,
    said: VecDeque<u8>,
}

#[derive(Default)]
struct Account {
    /// The whole address.
    address: String,
    /// Its local part, if its domain is this host's own.
    local: Option<String>,
    password: String,
    letters: Vec<Vec<u8>>,
}

impl Post {
    /// A session as `script` wants it; the machine is fed at most `chunk` bytes at once.
    pub fn new(script: &Script, chunk: usize) -> Self {
        let me = script.control("me").next().unwrap_or_default();
        let (session, greeting) = login::Session::new(6_876, 1_201_000_838, me.as_bytes());
        let mut post = Self {
            machine: Machine::Closed,
            accounts: accounts(script, me),
            open: None,
            lines: Lines::new(limits::COMMAND_LINE),
            chunk: chunk.max(1),
            said: VecDeque::new(),
        };
        post.login(session, greeting);
        post
    }

    fn line(&mut self, line: Option<&[u8]>) {
        match std::mem::replace(&mut self.machine, Machine::Closed) {
            Machine::Login(session) => {
                let input = line.map_or(login::Input::TooLong, login::Input::Line);
                let (session, actions) = session.step(input);
                self.login(session, actions);
            }
            Machine::Maildrop(session) => {
                let input = line.map_or(maildrop::Input::TooLong, maildrop::Input::Line);
                let (session, actions) = session.step(input);
                self.maildrop(session, actions);
            }
            Machine::Closed => {}
        }
    }

    fn login(&mut self, mut session: login::Session, actions: Vec<login::Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                login::Action::Reply(bytes) => self.said.extend(bytes),
                login::Action::Pause => {}
                login::Action::Close => return,
                login::Action::Ask(c) => {
                    self.open = self.accounts.iter().position(|account| {
                        let names = [Some(&account.address), account.local.as_ref()];
                        let named = names.iter().flatten().any(|name| name.as_bytes() == c.name);
                        named && account.password.as_bytes() == c.secret
                    });
                    if self.open.is_some() {
                        let (session, actions) = maildrop::Session::new(self.letters());
                        return self.maildrop(session, actions);
                    }
                    let refused = login::Input::Verdict(Verdict::Refused);
                    let (next, more) = session.step(refused);
                    session = next;
                    actions.extend(more);
                }
            }
        }
        self.machine = Machine::Login(session);
    }

    fn maildrop(&mut self, mut session: maildrop::Session, actions: Vec<maildrop::Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                maildrop::Action::Reply(bytes) => self.said.extend(bytes),
                maildrop::Action::List(list) => {
                    let lines = session.indexes().filter_map(|at| session.listed(list, at));
                    self.said.extend(lines.flatten().chain(*b".\r\n"));
                }
                maildrop::Action::Send { index, body_lines } => self.send(index, body_lines),
                maildrop::Action::Update => {
                    let (next, more) = session.step(maildrop::Input::Updated(true));
                    session = next;
                    actions.extend(more);
                }
                maildrop::Action::Close => return,
            }
        }
        self.machine = Machine::Maildrop(session);
    }

    fn send(&mut self, index: usize, body_lines: Option<u64>) {
        let letters = self.open.and_then(|at| self.accounts.get(at)).map(|a| &a.letters);
        let letter = letters.and_then(|letters| letters.get(index)).cloned().unwrap_or_default();
        let (mut wire, mut out) = (Wire::new(body_lines), OK.to_vec());
        let _all = letter.chunks(self.chunk).all(|piece| wire.feed(piece, &mut out));
        wire.finish(&mut out);
        self.said.extend(out);
    }

    /// What the open mailbox holds.
    fn letters(&self) -> Vec<Letter> {
        let letters = self.open.and_then(|at| self.accounts.get(at)).map(|a| &a.letters);
        let listed = letters.into_iter().flatten().enumerate().map(|(n, letter)| {
            let mut length = Length::default();
            length.feed(letter);
            Letter { size: length.total(), uid: format!("{n}.uid").into_bytes() }
        });
        listed.collect()
    }

    fn endless(&mut self) {
        match std::mem::replace(&mut self.machine, Machine::Closed) {
            Machine::Login(session) => {
                let (session, actions) = session.step(login::Input::Endless);
                self.login(session, actions);
            }
            Machine::Maildrop(session) => {
                self.machine = Machine::Maildrop(session);
                self.end(true);
            }
            Machine::Closed => {}
        }
    }

    fn end(&mut self, deadline: bool) {
        match std::mem::replace(&mut self.machine, Machine::Closed) {
            Machine::Login(session) => {
                let input = if deadline { login::Input::Deadline } else { login::Input::Eof };
                let (session, actions) = session.step(input);
                self.login(session, actions);
            }
            Machine::Maildrop(session) => {
                let input = if deadline { maildrop::Input::Deadline } else { maildrop::Input::Eof };
                let (session, actions) = session.step(input);
                self.maildrop(session, actions);
            }
            Machine::Closed => {}
        }
    }
}

/// The accounts of a script with their letters.
fn accounts(script: &Script, me: &str) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for setting in &script.settings {
        match setting {
            Setting::Account(address, password) => accounts.push(Account {
                local: address
                    .rsplit_once('@')
                    .filter(|(_, domain)| domain.eq_ignore_ascii_case(me))
                    .map(|(local, _)| local.to_owned()),
                address: address.clone(),
                password: password.clone(),
                letters: Vec::new(),
            }),
            Setting::Letter(text) => {
                if let Some(account) = accounts.last_mut() {
                    account.letters.push(text.clone());
                }
            }
            Setting::Control(..) | Setting::Env(..) | Setting::Mailbox(_) | Setting::Queue(_) => {}
        }
    }
    accounts
}

impl Server for Post {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        for mut chunk in bytes.chunks(self.chunk) {
            let mut lines = std::mem::replace(&mut self.lines, Lines::new(limits::COMMAND_LINE));
            while let Some(line) = lines.take(&mut chunk) {
                match line {
                    Line::Text(text) => self.line(Some(text)),
                    Line::TooLong => self.line(None),
                    Line::Endless => self.endless(),
                }
            }
            self.lines = lines;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(end) = self.said.iter().position(|&c| c == b'\n') else {
            let closed = matches!(self.machine, Machine::Closed);
            return if closed { Ok(None) } else { Err("no reply".to_owned()) };
        };
        let line: Vec<u8> = self.said.drain(..=end).collect();
        line.strip_suffix(b"\r\n").map(|line| Some(line.to_vec())).ok_or("a bare LF".to_owned())
    }

    fn netstring(&mut self) -> Result<Option<Vec<u8>>, String> {
        Err("it speaks in lines".to_owned())
    }

    fn be_silent(&mut self) {
        self.end(true);
    }

    fn hang_up(&mut self) {
        self.end(false);
    }

    fn queued(&mut self) -> Option<Vec<Queued>> {
        None
    }
}
