//! Random conversations, judged by a model with five states and nothing else.

use alloc::vec;
use alloc::vec::Vec;

use base::limits;

use super::*;
use crate::dot::Stray;

/// The model. `Rcpt` counts recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Idle,
    Mail,
    Rcpt(usize),
    Data(usize),
    Closed,
}

/// What a client may do next, in no sensible order.
const CLIENT: [&[u8]; 16] = [
    b"HELO x\r\n",
    b"EHLO x\r\n",
    b"MAIL FROM:<a@b>\r\n",
    b"MAIL FROM:<a@b> SIZE=10001\r\n",
    b"MAIL FROM:<\x01>\r\n",
    b"RCPT TO:<yes@here>\r\n",
    b"RCPT TO:<no@here>\r\n",
    b"RCPT TO:<\x01>\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"FROB\r\n",
    b"text\r\n..\r\n.\r\n",
    b".\r\n",
    b"a\nb\r\n",
    b"QUIT\r\n",
];

/// The model's answer to a whole line in command mode: the reply code, and where it is then.
fn judge(model: Model, bad: &mut u32, line: &[u8]) -> (u16, Model) {
    let known = [&b"HELO"[..], b"EHLO", b"RSET", b"MAIL", b"RCPT", b"DATA", b"NOOP", b"QUIT"];
    let verb = line.get(..4).filter(|verb| known.contains(verb)).unwrap_or_default();
    let (code, next) = match (verb, model) {
        (b"HELO" | b"EHLO" | b"RSET", _) => (250, Model::Idle),
        (b"NOOP", _) => (250, model),
        (b"QUIT", _) => (221, Model::Closed),
        (b"MAIL", _) if line.contains(&1) => (555, Model::Idle),
        (b"MAIL", _) if line.ends_with(b"10001") => (552, Model::Idle),
        (b"MAIL", _) => (250, Model::Mail),
        (b"RCPT" | b"DATA", Model::Idle) => (503, model),
        (b"RCPT", _) if line.contains(&1) => (555, model),
        (b"RCPT", _) if line.contains(&b'n') => (550, model),
        (b"RCPT", Model::Rcpt(n)) => (250, Model::Rcpt(n + 1)),
        (b"RCPT", _) => (250, Model::Rcpt(1)),
        (b"DATA", Model::Rcpt(n)) => (354, Model::Data(n)),
        (b"DATA", _) => (503, model),
        _ => (502, model),
    };
    *bad += u32::from(code == 502 || code == 503);
    if *bad > 10 { (421, Model::Closed) } else { (code, next) }
}

/// A session with a driver that says yes to everybody but `no@here`.
struct Driven<'s> {
    session: Session<'s>,
    codes: Vec<u16>,
    /// Recipients of each letter that was queued.
    queued: Vec<usize>,
    begun: bool,
    closed: bool,
}

impl<'s> Driven<'s> {
    fn new(settings: &'s Settings) -> Self {
        let (session, actions) = Session::open(settings);
        let mut driven =
            Self { session, codes: vec![], queued: vec![], begun: false, closed: false };
        assert_eq!(driven.act(actions), None);
        driven.codes.clear();
        driven
    }

    fn step(&mut self, input: Input<'_>) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let (session, actions) = self.session.clone().step(input);
            self.session = session;
            next = self.act(actions).map(Input::Answer);
        }
    }

    fn act(&mut self, actions: Vec<Action>) -> Option<Verdict> {
        let mut answer = None;
        for action in actions {
            assert!(!self.closed, "{action:?} after the end");
            match action {
                Action::Reply(reply) => {
                    let mut text = Vec::new();
                    reply.encode(b"h", &mut text);
                    let last = text.split(|c| *c == b'\n').rev().nth(1).unwrap();
                    self.codes.push(core::str::from_utf8(&last[..3]).unwrap().parse().unwrap());
                }
                Action::Ask(Question::Recipient { address, .. }) => {
                    let welcome = address.starts_with(b"yes");
                    let welcome = if welcome { Welcome::Yes } else { Welcome::NoMailbox };
                    answer = Some(Verdict::Recipient(welcome));
                }
                Action::Begin { .. } => {
                    assert!(!core::mem::replace(&mut self.begun, true), "two letters at once");
                    answer = Some(Verdict::Begun);
                }
                Action::Body => assert!(self.begun),
                Action::Commit { envelope } => {
                    assert!(core::mem::take(&mut self.begun), "a letter nobody began");
                    self.queued.push(envelope.iter().filter(|c| **c == 0).count() - 1);
                    answer = Some(Verdict::Queued { secs: 1, pid: 1 });
                }
                Action::Abort => assert!(core::mem::take(&mut self.begun), "nothing to abort"),
                Action::Close(_) => self.closed = true,
            }
        }
        answer
    }

    fn feed(&mut self, framing: &mut Framing, bytes: &mut &[u8]) {
        while let Some(input) = framing.next(self.session.expects(), bytes) {
            self.step(input);
        }
    }
}

fn settings() -> Settings {
    Settings { greeting: b"h".to_vec(), databytes: 10_000, ..Settings::default() }
}

/// Plays one conversation through model and machine.
fn play(client: &[&[u8]]) {
    let settings = settings();
    let (mut driven, mut framing) = (Driven::new(&settings), Framing::default());
    let (mut model, mut bad, mut queued) = (Model::Idle, 0, Vec::new());
    for &said in client {
        let mut want = Vec::new();
        let mut lines: Vec<&[u8]> = said.split_inclusive(|c| *c == b'\n').collect();
        while !lines.is_empty() && model != Model::Closed {
            let line = lines.remove(0);
            if let Model::Data(n) = model {
                if line == b".\r\n" {
                    queued.push(n);
                    (want, model) = ([want, vec![250]].concat(), Model::Idle);
                } else if !line.ends_with(b"\r\n") {
                    (want, model) = ([want, vec![451]].concat(), Model::Closed);
                }
            } else {
                let code;
                (code, model) = judge(model, &mut bad, line.trim_ascii_end());
                want.push(code);
            }
        }
        driven.codes.clear();
        driven.feed(&mut framing, &mut &*said);
        assert_eq!(driven.codes, want, "{} of {client:?}", said.escape_ascii());
        assert_eq!(driven.closed, model == Model::Closed, "{client:?}");
        assert_eq!(driven.begun, matches!(model, Model::Data(_)), "{client:?}");
    }
    assert_eq!(driven.queued, queued, "{client:?}");
}

#[test]
fn machine_and_model_agree_on_random_conversations() {
    let mut seed = 0x5eed_u64;
    for _ in 0..20_000 {
        let mut client = Vec::new();
        for _ in 0..20 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // QUIT is rare, or no conversation would be long.
            let sides = if seed >> 60 == 0 { CLIENT.len() } else { CLIENT.len() - 1 };
            client.push(CLIENT[(seed >> 8) as usize % sides]);
        }
        play(&client);
    }
}

#[test]
fn machine_and_model_agree_on_every_short_conversation() {
    for a in CLIENT {
        for b in CLIENT {
            for c in CLIENT {
                play(&[b"MAIL FROM:<a@b>\r\n", a, b, c, b"RCPT TO:<yes@here>\r\nDATA\r\n.\r\n"]);
            }
        }
    }
}

/// Every event there is.
fn events() -> Vec<Input<'static>> {
    let queued = Verdict::Queued { secs: 1, pid: 1 };
    let refused = Verdict::Refused(Outcome::Later, b"no".to_vec());
    let recipient = Verdict::Recipient;
    vec![
        Input::Line(b"NOOP"),
        Input::TooLong,
        Input::Data(b"x"),
        Input::End,
        Input::Stray(Stray::Lf),
        Input::Stray(Stray::Cr),
        Input::Answer(recipient(Welcome::Yes)),
        Input::Answer(recipient(Welcome::Unsure)),
        Input::Answer(recipient(Welcome::NoControls)),
        Input::Answer(Verdict::Begun),
        Input::Answer(Verdict::NoQueue),
        Input::Answer(queued),
        Input::Answer(refused),
        Input::Endless,
        Input::Deadline,
        Input::Hurried,
        Input::Eof,
    ]
}

#[test]
fn every_event_in_every_state_leads_on_or_to_a_clean_end() {
    let settings = settings();
    let path = [
        Input::Line(b"MAIL FROM:<a@b>"),
        Input::Line(b"RCPT TO:<a@b>"),
        Input::Answer(Verdict::Recipient(Welcome::Yes)),
        Input::Line(b"DATA"),
        Input::Answer(Verdict::Begun),
        Input::Data(b"text\n"),
        Input::End,
        Input::Answer(Verdict::NoQueue),
    ];
    for steps in 0..=path.len() {
        for event in events() {
            let mut session = Session::open(&settings).0;
            for input in path.iter().take(steps) {
                session = session.step(input.clone()).0;
            }
            let (session, actions) = session.step(event.clone());
            let closed = actions.iter().any(|action| matches!(action, Action::Close(_)));
            assert_eq!(closed, session.expects() == Expects::Nothing && !actions.is_empty());
            if closed {
                assert!(matches!(actions.last(), Some(Action::Close(Ending::Broken))));
                for event in events() {
                    assert!(session.clone().step(event).1.is_empty(), "it goes on after the end");
                }
            }
        }
    }
}

#[test]
fn a_refused_letter_ends_its_transaction_and_nothing_else() {
    let settings = settings();
    for verdict in [Verdict::NoQueue, Verdict::Refused(Outcome::Later, b"no".to_vec())] {
        let mut session = Session::open(&settings).0;
        for line in [&b"MAIL FROM:<a@b>"[..], b"RCPT TO:<a@b>"] {
            session = session.step(Input::Line(line)).0;
        }
        session = session.step(Input::Answer(Verdict::Recipient(Welcome::Yes))).0;
        session = session.step(Input::Line(b"DATA")).0;
        let (session, said) = session.step(Input::Answer(verdict));
        assert!(matches!(said[..], [Action::Reply(Reply::NoQueue | Reply::Refused(..))]));
        let (_, said) = session.step(Input::Line(b"RCPT TO:<a@b>"));
        assert_eq!(said, [Action::Reply(Reply::MailFirst)]);
    }
}

#[test]
fn hops_win_over_size_however_the_letter_is_cut() {
    let settings = settings();
    let letter = [&[b'x'; 10_001][..], b"\n", &b"Received: x\n".repeat(100)].concat();
    for size in [letter.len(), 500, 7] {
        let mut session = Session::open(&settings).0;
        for line in [&b"MAIL FROM:<a@b>"[..], b"RCPT TO:<a@b>"] {
            session = session.step(Input::Line(line)).0;
        }
        session = session.step(Input::Answer(Verdict::Recipient(Welcome::Yes))).0;
        session = session.step(Input::Line(b"DATA")).0;
        session = session.step(Input::Answer(Verdict::Begun)).0;
        let mut aborts = 0;
        for piece in letter.chunks(size) {
            let (stepped, said) = session.step(Input::Data(piece));
            session = stepped;
            aborts += said.iter().filter(|action| **action == Action::Abort).count();
        }
        assert_eq!(aborts, 1);
        assert_eq!(session.step(Input::End).1, [Action::Reply(Reply::TooManyHops)]);
    }
}

/// The reply codes to lines said one after another, and whether it is over; letters are taken.
fn codes(lines: impl Iterator<Item = &'static [u8]>) -> (Vec<u16>, bool) {
    let settings = settings();
    let (mut driven, mut framing) = (Driven::new(&settings), Framing::default());
    lines.for_each(|mut line| driven.feed(&mut framing, &mut line));
    (driven.codes, driven.closed)
}

#[test]
fn commands_that_bring_nothing_come_to_an_end() {
    let most = limits::IDLE_COMMANDS as usize;
    for (before, idle) in [
        (&b""[..], &b"NOOP\r\n"[..]),
        (b"", b"RSET\r\n"),
        (b"HELO x\r\n", b"EHLO x\r\n"),
        (b"", b"VRFY x\r\n"),
        (b"", b"HELP\r\n"),
        (b"", b"MAIL FROM:<a@b>\r\n"),
    ] {
        let said = || core::iter::once(before).chain(core::iter::repeat_n(idle, most));
        let (heard, closed) = codes(said());
        assert!(!closed && !heard.contains(&421), "{}", idle.escape_ascii());
        let (heard, closed) = codes(said().chain([idle]));
        assert!(closed && heard.last() == Some(&421), "{}", idle.escape_ascii());
    }
}

#[test]
fn a_letter_makes_up_for_idle_commands_and_one_refused_recipient() {
    let letter =
        &b"MAIL FROM:<a@b>\r\nRCPT TO:<no@here>\r\nRCPT TO:<yes@here>\r\nDATA\r\n.\r\n"[..];
    let noops = || core::iter::repeat_n(&b"NOOP\r\n"[..], limits::IDLE_COMMANDS as usize - 1);
    let (heard, closed) = codes((0..300).flat_map(|_| noops().chain([letter])));
    assert!(!closed && heard.iter().filter(|code| **code == 354).count() == 300);
}

#[test]
fn names_are_not_tried_for_ever() {
    let refused = limits::REFUSED_RECIPIENTS as usize;
    for bad in [&b"RCPT TO:<no@here>\r\n"[..], b"RCPT TO:<\x01>\r\n"] {
        let said = || {
            core::iter::once(&b"MAIL FROM:<a@b>\r\n"[..]).chain(core::iter::repeat_n(bad, refused))
        };
        assert!(!codes(said()).1);
        let (heard, closed) = codes(said().chain([bad]));
        assert!(closed && heard.last() == Some(&421));
    }
    let over =
        core::iter::repeat_n(&b"RCPT TO:<yes@here>\r\n"[..], limits::SMTP_RECIPIENTS + 1_000);
    let (heard, closed) = codes(core::iter::once(&b"MAIL FROM:<a@b>\r\n"[..]).chain(over));
    assert!(!closed && heard.iter().filter(|code| **code == 452).count() == 1_000);
}
