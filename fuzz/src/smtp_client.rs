//! Sessions of the sending side of SMTP with a server that says anything.

use std::collections::VecDeque;

use proto::smtp::client::{Action, Broken, Input, Job, Login, Replies, Reply, Session};

use crate::pick::{Event, chunks, events, head, number};
use crate::reference::only_crlf;

/// Recipients of letters; some cannot be said in SMTP.
const RECIPIENTS: [&[u8]; 5] = [b"a@b.test", b"\"q\\ u@c.test", b"plain", b"x\r\nDATA@y", b"a b"];
/// Letters of one session at most.
const LETTERS: u64 = 4;

/// A server's replies, cut anywhere. The head is a number (which letters there are), `S` if a sender
/// cannot be said, `U` if a letter cannot be read, `L` if there is a login. Whatever the server says, what leaves are whole
/// commands in order, each letter has one verdict, and that is not a better one than the server's
/// answers to just these commands.
pub fn smtp_client(data: &[u8]) {
    let (head, stream) = head(data);
    let n = number(head);
    replies(stream, n as u8);
    let mut talk = Talk::new(n, head.contains(&b'S'), head.contains(&b'U'));
    let job = talk.job();
    talk.login = head.contains(&b'L');
    let login =
        talk.login.then(|| Login { name: b"joe".to_vec(), secret: b"s e c\0r\xffet".to_vec() });
    let session = Session::new(b"192.0.2.1".to_vec(), b"me.test".to_vec(), job).logging_in(login);
    let (mut session, mut parser) = (Some(session), Replies::default());
    for event in events(stream) {
        let Event::Bytes(mut bytes) = event else {
            talk.step(&mut session, Input::Lost, false);
            continue;
        };
        while let Some(reply) = parser.take(&mut bytes) {
            match reply {
                Ok(reply) => talk.step(&mut session, Input::Reply(reply), !bytes.is_empty()),
                Err(Broken) => talk.step(&mut session, Input::Lost, false),
            }
            if talk.over {
                break;
            }
        }
    }
    talk.step(&mut session, Input::Lost, false);
    assert!(talk.over, "it never ends");
}

/// The parser alone: the same replies however they are cut, each within its bounds.
fn replies(stream: &[u8], salt: u8) {
    let whole = parse(&[stream]);
    assert_eq!(parse(&chunks(stream, salt)), whole, "in pieces");
    for reply in whole.iter().flatten() {
        assert!((200..600).contains(&reply.code));
        assert!(reply.text.len() <= base::limits::REMOTE_REPLY);
        let shown = |c: &u8| !c.is_ascii_control() || b"\n\t".contains(c);
        assert!(reply.text.iter().all(shown), "a control byte reaches a report");
    }
}

fn parse(pieces: &[&[u8]]) -> Vec<Result<Reply, Broken>> {
    let (mut parser, mut found) = (Replies::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while let Some(reply) = parser.take(&mut rest) {
            let broken = reply.is_err();
            found.push(reply);
            if broken {
                return found;
            }
        }
    }
    found
}

/// A command that has been said, and the code that answered it.
struct Said {
    verb: Vec<u8>,
    code: Option<u16>,
}

/// What has been said by both. Replies answer commands in order: that is all it knows.
struct Talk {
    n: u64,
    odd_sender: bool,
    unreadable: bool,
    /// We have to log in before the first letter.
    login: bool,
    /// Letters begun.
    letters: u64,
    /// Recipients of this letter, and of those the ones that can be said.
    recipients: usize,
    /// Commands of this letter (or of the session, before the first).
    said: Vec<Said>,
    /// The commands of `said`, from this one on, are not answered yet; the greeting is the first.
    unanswered: VecDeque<usize>,
    items: Vec<Vec<u8>>,
    over: bool,
    quit: bool,
}

impl Talk {
    fn new(n: u64, odd_sender: bool, unreadable: bool) -> Self {
        let greeting = Said { verb: b"greeting".to_vec(), code: None };
        Self {
            n,
            odd_sender,
            unreadable,
            login: false,
            letters: 0,
            recipients: 0,
            said: vec![greeting],
            unanswered: VecDeque::from([0]),
            items: Vec::new(),
            over: false,
            quit: false,
        }
    }

    /// The next letter.
    fn job(&mut self) -> Job {
        let at = (self.n / 3 + self.letters) as usize;
        self.letters += 1;
        self.recipients = 1 + at % 4;
        let recipients = RECIPIENTS.iter().cycle().skip(at % 5).take(self.recipients);
        let odd = self.odd_sender && self.letters.is_multiple_of(2);
        Job {
            sender: if odd { b"a\nb".to_vec() } else { b"joe@a.test".to_vec() },
            recipients: recipients.map(|r| r.to_vec()).collect(),
            size: self.n.is_multiple_of(2).then_some(self.n),
        }
    }

    /// One event, and all that follows from it at once; `more` if the server has said more already.
    fn step(&mut self, session: &mut Option<Session>, input: Input, more: bool) {
        let mut input = Some(input);
        while let Some(mut now) = input.take() {
            if let Input::Reply(reply) = &now {
                match self.unanswered.pop_front() {
                    Some(at) => self.said[at].code = Some(reply.code),
                    // Nobody asked: the driver takes it for the end.
                    None => now = Input::Lost,
                }
            }
            let (next, actions) = session.take().expect("a session between two steps").step(now);
            *session = Some(next);
            for action in actions {
                assert!(!self.over, "it acts after the end");
                input = self.obey(action, more).or(input);
            }
        }
    }

    fn obey(&mut self, action: Action, more: bool) -> Option<Input> {
        match action {
            Action::Send(bytes) => self.send(&bytes),
            Action::Body => {
                assert!(self.unanswered.is_empty(), "the letter goes out before all is answered");
                assert!(self.answers(b"DATA").iter().all(|code| code.is_some_and(|c| c < 400)));
                self.note(b"letter");
                return Some(match (more, self.unreadable) {
                    (true, _) => Input::Lost,
                    (_, true) => Input::Unreadable,
                    _ => Input::BodySent,
                });
            }
            Action::Item(item) => {
                assert!(!item.contains(&0), "a NUL splits the report");
                self.items.push(item);
            }
            Action::Next(item) => {
                assert!(self.items.is_empty() && self.letters == 1, "another host, too late");
                assert!(item.starts_with(b"Z"));
                self.over = true;
            }
            Action::Stale => {
                assert!(self.letters > 1, "a new connection is no staler than another");
                assert!(self.answers(b"letter").is_empty(), "the letter has begun to go out");
                self.over = true;
            }
            Action::Ready => {
                assert!(self.unanswered.is_empty(), "the next letter before all is answered");
                self.judge();
                let more = self.letters < LETTERS.min(1 + self.n % LETTERS);
                return Some(if more { Input::Job(self.job()) } else { Input::Leave });
            }
            Action::Close => {
                if !self.items.is_empty() || self.said.iter().any(|said| said.verb == b"MAIL") {
                    self.judge();
                }
                self.over = true;
            }
        }
        None
    }

    /// Whole commands, each in a place where the protocol has it.
    fn send(&mut self, bytes: &[u8]) {
        assert!(only_crlf(bytes) && bytes.ends_with(b"\r\n"), "half a command");
        for line in bytes.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
            let line = line.strip_suffix(b"\r").expect("CRLF");
            assert!(!line.is_empty() && !line.iter().any(u8::is_ascii_control));
            let verb = line.split(|&c| c == b' ').next().unwrap_or_default();
            let before = self.said.last().map(|said| said.verb.clone()).unwrap_or_default();
            let is_secret = [&b"AUTH"[..], b"proof"].contains(&&before[..])
                && ![&b"MAIL"[..], b"QUIT"].contains(&verb);
            let verb = if is_secret { b"proof" } else { verb };
            if self.login && self.letters == 1 && verb == b"MAIL" {
                let known = self.said.last().is_some_and(|said| said.code == Some(235));
                assert!(known, "a letter before the login");
            }
            let fits = match (&before[..], verb) {
                (b"greeting", b"EHLO") | (b"EHLO", b"HELO") | (b"RSET", b"MAIL") => true,
                (b"EHLO" | b"HELO" | b"", b"MAIL") | (b"", b"RSET") => true,
                (b"EHLO", b"AUTH") | (b"AUTH" | b"proof", b"proof" | b"MAIL") => self.login,
                (b"MAIL" | b"RCPT", b"RCPT") | (b"RCPT", b"DATA") => true,
                (b"DATA" | b"letter", b".") => true,
                (_, b"QUIT") => !self.quit,
                _ => false,
            };
            assert!(fits, "{:?} behind {:?}", line.escape_ascii(), before.escape_ascii());
            self.quit |= verb == b"QUIT";
            self.note(verb);
            self.unanswered.push_back(self.said.len() - 1);
        }
    }

    fn note(&mut self, verb: &[u8]) {
        self.said.push(Said { verb: verb.to_vec(), code: None });
    }

    /// The answers to one verb.
    fn answers(&self, verb: &[u8]) -> Vec<Option<u16>> {
        self.said.iter().filter(|said| said.verb == verb).map(|said| said.code).collect()
    }

    /// A letter is settled: one verdict, and each part of it is what the server said.
    fn judge(&mut self) {
        let count = |letters: &[u8]| {
            self.items.iter().filter(|i| i.first().is_some_and(|c| letters.contains(c))).count()
        };
        assert_eq!(count(b"KZD"), 1, "not one verdict");
        assert!(count(b"rhs") <= self.recipients);
        let yes = |code: &&Option<u16>| code.is_some_and(|code| code < 400);
        let rcpt = self.answers(b"RCPT");
        assert!(count(b"r") <= rcpt.iter().filter(yes).count(), "more than were accepted");
        if count(b"K") == 1 {
            assert_eq!(count(b"rhs"), self.recipients, "a recipient is forgotten");
            assert!(count(b"r") > 0, "sent to nobody");
            assert_eq!(self.answers(b"letter").len(), 1, "a letter that was not sent");
            for verb in [&b"MAIL"[..], b"DATA", b"."] {
                assert!(self.answers(verb).iter().all(|code| yes(&code)), "not all said yes");
            }
            assert!(self.answers(b".")[0].is_some_and(|code| code < 300), "the dot's answer");
        }
        self.items.clear();
        self.said.clear();
        self.unanswered.clear();
    }
}
