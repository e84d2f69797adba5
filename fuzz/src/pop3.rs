//! POP3: a login, then a maildrop.

use proto::line::{Line, Lines};
use proto::pop3::letter::Wire;
use proto::pop3::{login, maildrop};

use crate::pick::{Answers, Event, chunks, events, head};
use crate::reference;

/// The letters a mailbox may hold; one that is missing when it is opened is `?`.
const LETTERS: [&[u8]; 8] = [
    b"Subject: a\n\nbody\n",
    b"",
    b"no end",
    b".\n..\n.dot\n\n.\n.",
    b"a: b\r\n\r\nx\r\ny\r\r\nz\rz",
    b"\n\n\n",
    b"h: 1\n f\n\n1\n2\n3\n4\n",
    b"\r",
];

/// A session over a random mailbox. The head: what becomes of the login (`d` refused, `x` crashed,
/// `z` trouble, `-` skips it, else it fits), the letters (`a` to `h`, `?`), and `F` if deleting
/// fails. The maildrop is compared with a model to the byte.
pub fn pop3(data: &[u8]) {
    let (head, stream) = head(data);
    let mut words = head.split(|&c| c == b' ');
    let mut verdicts = Answers::new(words.next().unwrap_or_default());
    let names = words.next().unwrap_or_default();
    let fails = words.next().unwrap_or_default().contains(&b'F');
    let events = events(stream);
    let rest = match verdicts.next() {
        b'-' => Some(events),
        verdict => log_in(verdict, &events),
    };
    if let Some(events) = rest {
        let mailbox: Vec<Option<&[u8]>> = names
            .iter()
            .map(|&c| (c != b'?').then(|| LETTERS[usize::from(c.wrapping_sub(b'a')) % 8]))
            .collect();
        read_mail(&mailbox, fails, &events);
    }
}

/// Plays the login; what comes behind it if it fits. Every line is answered once, one secret is
/// tried at most, and what is asked was said.
fn log_in<'a>(verdict: u8, events: &[Event<'a>]) -> Option<Vec<Event<'a>>> {
    let (mut session, actions) = login::Session::new(7, 1, b"host\r\n\0name");
    let [login::Action::Reply(greeting)] = &actions[..] else { panic!("no greeting") };
    check_line(greeting);
    assert!(greeting.len() < base::limits::LOGIN);
    let mut lines = Lines::new(base::limits::COMMAND_LINE);
    let (mut heard, mut said) = (0, Vec::new());
    for (n, event) in events.iter().enumerate() {
        let Event::Bytes(bytes) = event else {
            let event =
                if *event == Event::Silence { login::Input::Deadline } else { login::Input::Eof };
            let (session, actions) = session.step(event);
            assert_eq!(actions, [login::Action::Close]);
            assert!(session.step(login::Input::Eof).1.is_empty());
            return None;
        };
        let mut rest = *bytes;
        while let Some(line) = lines.take(&mut rest) {
            let input = match line {
                Line::Text(text) => {
                    said.push(text.to_vec());
                    login::Input::Line(text)
                }
                Line::TooLong => login::Input::TooLong,
                Line::Endless => login::Input::Endless,
            };
            heard += 1;
            let (next, actions) = session.step(input);
            session = next;
            match &actions[..] {
                [login::Action::Reply(reply)] => check_reply(reply),
                [login::Action::Reply(reply), login::Action::Close] => {
                    check_reply(reply);
                    return None;
                }
                [login::Action::Pause, login::Action::Reply(reply), login::Action::Close] => {
                    check_reply(reply);
                    return None;
                }
                [login::Action::Ask(who)] => {
                    check_secret(who, &said);
                    if !judge(session, verdict) {
                        return None;
                    }
                    let behind = [Event::Bytes(rest)].into_iter();
                    return Some(behind.chain(events[n + 1..].iter().copied()).collect());
                }
                other => panic!("a line is answered with {other:?}"),
            }
            assert!(heard <= base::limits::LOGIN_LINES + base::limits::BAD_COMMANDS);
        }
    }
    None
}

/// Tells the machine the verdict; true if the login fits.
fn judge(session: login::Session, verdict: u8) -> bool {
    let (verdict, fits) = match verdict {
        b'd' => (login::Verdict::Refused, false),
        b'x' => (login::Verdict::Crashed, false),
        b'z' => (login::Verdict::Trouble, false),
        _ => (login::Verdict::Served, true),
    };
    let (session, actions) = session.step(login::Input::Line(b"QUIT"));
    assert!(actions.is_empty(), "it listens while it asks");
    let (session, actions) = session.step(login::Input::Verdict(verdict));
    assert_eq!(actions.last(), Some(&login::Action::Close));
    assert_eq!(actions.len() == 1, fits, "somebody else serves: it must be silent");
    assert!(session.step(login::Input::Line(b"NOOP")).1.is_empty(), "it goes on after the end");
    fits
}

/// Name and secret fit the interface and are what the client said, openly or in base64.
fn check_secret(who: &login::Credentials, said: &[Vec<u8>]) {
    assert!(who.name.len() + who.secret.len() <= base::limits::LOGIN_NAME_AND_SECRET);
    assert!(!who.name.contains(&0) && !who.secret.contains(&0), "a NUL splits the record");
    assert!(!who.name.is_empty());
    let open =
        |wanted: &[u8]| said.iter().any(|line| line.ends_with(wanted) || within(line, wanted));
    let coded = said.iter().any(|line| {
        let word = line.rsplit(|&c| c == b' ').next().unwrap_or_default();
        proto::sasl::decode(word).is_ok_and(|plain| within(&plain, &who.secret))
    });
    assert!(coded || (open(&who.name) && open(&who.secret)), "nobody said this");
}

fn within(hay: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || hay.windows(needle.len()).any(|window| window == needle)
}

/// One reply of the login: one line, but for `CAPA` and the list of mechanisms.
fn check_reply(reply: &[u8]) {
    let starts = [&b"+OK"[..], b"-ERR ", b"+ "];
    assert!(starts.iter().any(|start| reply.starts_with(start)));
    assert!(reply.ends_with(b"\r\n") && reference::only_crlf(reply));
    if reply.ends_with(b"\r\n.\r\n") {
        assert!(reply.starts_with(b"+OK"));
    } else {
        check_line(reply);
    }
}

fn check_line(reply: &[u8]) {
    assert!(reply.ends_with(b"\r\n"));
    assert_eq!(reply.iter().filter(|&&c| c == b'\n' || c == b'\r').count(), 2, "not one line");
}

/// Plays the maildrop, machine and model.
fn read_mail(mailbox: &[Option<&[u8]>], fails: bool, events: &[Event<'_>]) {
    let letters = (1..).zip(mailbox).map(|(n, letter): (u32, _)| maildrop::Letter {
        size: size(letter.unwrap_or_default()),
        uid: format!("uid{n}").into_bytes(),
    });
    let (session, actions) = maildrop::Session::new(letters.collect());
    let mut driven =
        Driven { mailbox, fails, session: Some(session), wire: Vec::new(), over: false };
    driven.obey(actions);
    let mut model = Model::new(mailbox, fails);
    let mut lines = Lines::new(base::limits::COMMAND_LINE);
    for event in events {
        let Event::Bytes(mut bytes) = *event else {
            let silence = *event == Event::Silence;
            driven.step(if silence { maildrop::Input::Deadline } else { maildrop::Input::Eof });
            model.over = true;
            continue;
        };
        while let Some(line) = lines.take(&mut bytes) {
            match line {
                Line::Text(text) => {
                    driven.step(maildrop::Input::Line(text));
                    model.line(text);
                }
                Line::TooLong => {
                    driven.step(maildrop::Input::TooLong);
                    model.bad();
                }
                Line::Endless => {
                    driven.step(maildrop::Input::Deadline);
                    model.over = true;
                }
            }
            assert_eq!(driven.over, model.over);
        }
    }
    let told = |wire: &[u8]| String::from_utf8_lossy(wire).into_owned();
    assert_eq!(told(&driven.wire), told(&model.wire));
}

fn size(letter: &[u8]) -> u64 {
    let mut length = base::crlf::Length::default();
    length.feed(letter);
    length.total()
}

/// The machine and what it made the client hear.
struct Driven<'m> {
    mailbox: &'m [Option<&'m [u8]>],
    fails: bool,
    session: Option<maildrop::Session>,
    wire: Vec<u8>,
    over: bool,
}

impl Driven<'_> {
    fn step(&mut self, input: maildrop::Input<'_>) {
        let mut input = Some(input);
        while let Some(now) = input.take() {
            let session = self.session.take().expect("a session between two steps");
            let (session, actions) = session.step(now);
            self.session = Some(session);
            assert!(!self.over || actions.is_empty(), "it goes on after the end");
            input = self.obey(actions);
        }
    }

    fn obey(&mut self, actions: Vec<maildrop::Action>) -> Option<maildrop::Input<'static>> {
        let mut input = None;
        for action in actions {
            let session = self.session.as_ref().expect("a session between two steps");
            match action {
                maildrop::Action::Reply(reply) if reply.starts_with(b"-ERR ") => {
                    check_line(&reply);
                    self.wire.extend_from_slice(b"-ERR\r\n");
                }
                maildrop::Action::Reply(reply) => self.wire.extend_from_slice(&reply),
                maildrop::Action::List(list) => {
                    for index in session.indexes() {
                        self.wire.extend(session.listed(list, index).unwrap_or_default());
                    }
                    self.wire.extend_from_slice(b".\r\n");
                }
                maildrop::Action::Send { index, body_lines } => match self.mailbox[index] {
                    None => input = Some(maildrop::Input::Missing),
                    Some(letter) => self.send(letter, body_lines),
                },
                maildrop::Action::Update => input = Some(maildrop::Input::Updated(!self.fails)),
                maildrop::Action::Close => self.over = true,
            }
        }
        input
    }

    fn send(&mut self, letter: &[u8], body_lines: Option<u64>) {
        let (mut wire, mut out) = (Wire::new(body_lines), Vec::new());
        for piece in chunks(letter, letter.len() as u8) {
            if !wire.feed(piece, &mut out) {
                break;
            }
        }
        wire.finish(&mut out);
        self.wire.extend_from_slice(b"+OK \r\n");
        self.wire.extend_from_slice(&out);
    }
}

/// What a maildrop must say, thought out again.
struct Model<'m> {
    mailbox: &'m [Option<&'m [u8]>],
    fails: bool,
    deleted: Vec<bool>,
    last: usize,
    bad: u32,
    wire: Vec<u8>,
    over: bool,
}

impl<'m> Model<'m> {
    fn new(mailbox: &'m [Option<&'m [u8]>], fails: bool) -> Self {
        let deleted = vec![false; mailbox.len()];
        Self { mailbox, fails, deleted, last: 0, bad: 0, wire: b"+OK \r\n".to_vec(), over: false }
    }

    fn line(&mut self, line: &[u8]) {
        if self.over {
            return;
        }
        let mut words = line.split(|&c| c == b' ');
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        match (&verb[..], &words[..]) {
            (b"NOOP", _) => self.yes(),
            (b"STAT", _) => {
                let kept = (0..self.mailbox.len()).filter(|&n| !self.deleted[n]);
                let sizes: Vec<u64> = kept.map(|n| self.size(n)).collect();
                self.say(&format!("+OK {} {}", sizes.len(), sizes.iter().sum::<u64>()));
            }
            (b"LIST" | b"UIDL", []) => {
                self.yes();
                (0..self.mailbox.len()).for_each(|n| self.list(&verb, n, ""));
                self.say(".");
            }
            (b"LIST" | b"UIDL", [number, ..]) => match self.find(number) {
                Some(n) => self.list(&verb, n, "+OK "),
                None => self.no(),
            },
            (b"RETR" | b"TOP", [number]) => self.send(self.find(number), None),
            (b"RETR" | b"TOP", [number, lines]) => match parse(lines) {
                Some(lines) => self.send(self.find(number), Some(lines)),
                None => self.no(),
            },
            (b"DELE", [number, ..]) => match self.find(number) {
                Some(n) => {
                    self.deleted[n] = true;
                    self.last = self.last.max(n + 1);
                    self.yes();
                }
                None => self.no(),
            },
            (b"RETR" | b"TOP" | b"DELE", _) => self.no(),
            (b"RSET", _) => {
                self.deleted.fill(false);
                self.last = 0;
                self.yes();
            }
            (b"LAST", _) => self.say(&format!("+OK {}", self.last)),
            (b"CAPA", _) => {
                self.yes();
                let said =
                    "TOP UIDL USER PIPELINING RESP-CODES EXPIRE+NEVER IMPLEMENTATION+qmail-rs";
                said.split(' ').for_each(|word| self.say(&word.replace('+', " ")));
                self.say(".");
            }
            (b"QUIT", _) => {
                if self.fails {
                    self.no()
                } else {
                    self.yes()
                }
                self.over = true;
            }
            _ => self.bad(),
        }
    }

    fn size(&self, n: usize) -> u64 {
        size(self.mailbox[n].unwrap_or_default())
    }

    fn say(&mut self, line: &str) {
        self.wire.extend_from_slice(line.as_bytes());
        self.wire.extend_from_slice(b"\r\n");
    }

    fn yes(&mut self) {
        self.say("+OK ");
    }

    fn no(&mut self) {
        self.say("-ERR");
    }

    fn bad(&mut self) {
        if !self.over {
            self.bad += 1;
            self.over = self.bad > base::limits::BAD_COMMANDS;
            self.no();
        }
    }

    fn list(&mut self, verb: &[u8], n: usize, before: &str) {
        if !self.deleted[n] {
            let size = self.size(n);
            let what = if verb == b"LIST" { size.to_string() } else { format!("uid{}", n + 1) };
            self.say(&format!("{before}{} {what}", n + 1));
        }
    }

    /// The letter a number names, unless it is deleted.
    fn find(&self, number: &[u8]) -> Option<usize> {
        let n = usize::try_from(parse(number)?).ok()?.checked_sub(1)?;
        self.deleted.get(n).is_some_and(|deleted| !deleted).then_some(n)
    }

    fn send(&mut self, found: Option<usize>, body_lines: Option<u64>) {
        let Some(letter) = found.and_then(|n| self.mailbox[n]) else { return self.no() };
        let lines: Vec<&[u8]> = letter.split_inclusive(|&c| c == b'\n').collect();
        let blank = |line: &&[u8]| line.iter().all(|c| b"\r\n".contains(c));
        let header = lines.iter().position(blank).map_or(lines.len(), |at| at + 1);
        let wanted = body_lines.map_or(lines.len(), |n| header.saturating_add(n as usize));
        let wire = reference::encode(&lines[..wanted.min(lines.len())].concat());
        self.yes();
        self.wire.extend_from_slice(&wire);
        self.say(".");
    }
}

/// Digits as a number; too many are as many as can be.
fn parse(digits: &[u8]) -> Option<u64> {
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    number.then(|| String::from_utf8_lossy(digits).parse().unwrap_or(u64::MAX))
}
