//! Sessions with the receiving side of SMTP.

use base::outcome::Outcome as Fate;
use proto::smtp::command::OwnAddresses;
use proto::smtp::server::{
    Action, BadSenders, Expects, Framing, Input, Question, Session, Settings, Verdict, Welcome,
};

use crate::pick::{Answers, Event, events, head};
use crate::smtp_model::{BAD_SENDERS, Letter, Outcome, SUFFIX, Terms, play};

/// Any conversation, cut anywhere, against a model that sees it uncut: the same replies, the same
/// letters, the same end. The head is the answers to what the machine asks (`y` yes, `o` not ours,
/// `m` no mailbox, `u` unsure, `c` no controls, `q` no queue, `z` later, `d` never), the most bytes
/// a letter may have, and `R` for a client that may relay.
pub fn smtp_server(data: &[u8]) {
    let (head, stream) = head(data);
    let (terms, events) = (Terms::new(head), events(stream));
    let settings = Settings {
        greeting: b"mail.example.org".to_vec(),
        bad_senders: BadSenders::new(BAD_SENDERS.into_iter()),
        databytes: terms.databytes,
        relay: terms.relay.then(|| SUFFIX.to_vec()),
        own: OwnAddresses::default(),
    };
    let mut driven = Driven::new(&settings, terms.answers.clone());
    let mut framing = Framing::default();
    for event in &events {
        match event {
            Event::Bytes(bytes) => driven.feed(&mut framing, bytes),
            Event::Silence => driven.step(Input::Deadline),
            Event::Hangup => driven.step(Input::Eof),
        }
    }
    assert_eq!(driven.out, play(terms, &events));
}

/// The machine and all it caused.
struct Driven<'s> {
    /// Always there between two steps.
    session: Option<Session<'s>>,
    answers: Answers<'s>,
    out: Outcome,
    /// The letter being taken in.
    open: Option<Vec<u8>>,
}

impl<'s> Driven<'s> {
    fn new(settings: &'s Settings, answers: Answers<'s>) -> Self {
        let (session, actions) = Session::open(settings);
        let mut driven =
            Self { session: Some(session), answers, out: Outcome::default(), open: None };
        driven.obey(actions, &[]);
        driven
    }

    fn expects(&self) -> Expects {
        self.session.as_ref().map_or(Expects::Nothing, Session::expects)
    }

    fn feed(&mut self, framing: &mut Framing, mut bytes: &[u8]) {
        while let Some(input) = framing.next(self.expects(), &mut bytes) {
            if let Input::Data(piece) = &input {
                assert!(piece.len() <= base::limits::CHUNK, "too large a piece");
            }
            self.step(input);
        }
        assert!(bytes.is_empty() || self.out.closed, "bytes are left lying");
    }

    /// One input, and the answers to what it makes the machine ask.
    fn step(&mut self, input: Input<'_>) {
        let piece = if let Input::Data(piece) = &input { piece.to_vec() } else { Vec::new() };
        let mut input = Some(input);
        while let Some(now) = input.take() {
            let was_closed = self.out.closed;
            let session = self.session.take().expect("a session between two steps");
            let (session, actions) = session.step(now);
            self.session = Some(session);
            assert!(!was_closed || actions.is_empty(), "it goes on after the end");
            input = self.obey(actions, &piece).map(Input::Answer);
            assert_eq!(input.is_some(), self.expects() == Expects::Answer);
        }
        assert_eq!(self.out.closed, self.expects() == Expects::Nothing);
    }

    /// Does what the machine says; its question's answer, if it asks one.
    fn obey(&mut self, actions: Vec<Action>, piece: &[u8]) -> Option<Verdict> {
        let mut verdict = None;
        for action in actions {
            assert!(verdict.is_none(), "it acts before it has heard the answer");
            assert!(!self.out.closed, "it acts after the end");
            match action {
                Action::Reply(reply) => {
                    let mut text = Vec::new();
                    reply.encode(b"mail.example.org", &mut text);
                    self.out.codes.push(code(&text));
                }
                Action::Ask(Question::Recipient { .. }) => {
                    verdict = Some(Verdict::Recipient(welcome(self.answers.next())));
                }
                Action::Begin { .. } => {
                    assert!(self.open.replace(Vec::new()).is_none(), "two letters at once");
                    let begun = begun(self.answers.next());
                    if begun != Verdict::Begun {
                        self.open = None;
                    }
                    verdict = Some(begun);
                }
                Action::Body => {
                    self.open.as_mut().expect("a piece of no letter").extend_from_slice(piece);
                }
                Action::Abort => assert!(self.open.take().is_some(), "nothing to forget"),
                Action::Commit { envelope } => {
                    let body = self.open.take().expect("no letter to make final");
                    verdict = Some(committed(self.answers.next()));
                    if let Some(Verdict::Queued { .. }) = verdict {
                        self.out.letters.push(Letter { envelope, body });
                    }
                }
                Action::Close(_) => self.out.closed = true,
            }
        }
        assert!(!self.out.closed || self.open.is_none(), "a letter is left open at the end");
        verdict
    }
}

fn welcome(letter: u8) -> Welcome {
    match letter {
        b'o' => Welcome::NotOurs,
        b'm' => Welcome::NoMailbox,
        b'u' => Welcome::Unsure,
        b'c' => Welcome::NoControls,
        _ => Welcome::Yes,
    }
}

fn begun(letter: u8) -> Verdict {
    match letter {
        b'q' => Verdict::NoQueue,
        b'z' => Verdict::Refused(Fate::Later, b"busy\r\n250 ok".to_vec()),
        b'd' => Verdict::Refused(Fate::Never, Vec::new()),
        _ => Verdict::Begun,
    }
}

fn committed(letter: u8) -> Verdict {
    match letter {
        b'z' => Verdict::Refused(Fate::Later, b"full (#4.3.0)".to_vec()),
        b'd' => Verdict::Refused(Fate::Never, b"no\0".to_vec()),
        _ => Verdict::Queued { secs: 1_795_355_129, pid: 1 },
    }
}

/// The code of a reply, which must be one reply: lines in CRLF with the same code, only the last
/// of them with a space behind it.
fn code(text: &[u8]) -> u16 {
    let text = text.strip_suffix(b"\r\n").expect("a reply without its end");
    let lines: Vec<&[u8]> = text.split(|&c| c == b'\n').collect();
    let code = &lines[0][..3];
    for (n, line) in lines.iter().enumerate() {
        let last = n + 1 == lines.len();
        assert!(last || line.ends_with(b"\r"), "a bare LF in a reply");
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.starts_with(code), "two codes in one reply");
        assert_eq!(line.get(3), Some(if last { &b' ' } else { &b'-' }));
        assert!(!line.iter().any(u8::is_ascii_control), "a control byte in a reply");
    }
    String::from_utf8_lossy(code).parse().expect("a code of three digits")
}
