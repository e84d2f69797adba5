//! What an SMTP server must answer, thought out again without the machine: one small state, one
//! whole stream at a time.

use crate::pick::{Answers, Event, number};
use crate::reference::{self, Stop};

/// The longest command line, CRLF included.
const LINE: usize = 1_000;
/// Bad commands a client may say.
const BAD: u32 = 10;
/// Commands without a letter it may say from one letter to the next.
const IDLE: u32 = 100;
/// Recipients it may have refused, less its letters.
const REFUSED: u32 = 100;
/// The line nobody waits for.
const ENDLESS: usize = 65_536;
/// Recipients of one letter.
const RECIPIENTS: usize = 1_000;
/// An address, with its NUL.
const ADDRESS: usize = 900;
/// One in an envelope.
const ENVELOPE_ADDRESS: usize = 1_002;

/// A letter that was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Sender and recipients, each with its NUL.
    pub(crate) envelope: Vec<u8>,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
}

/// What a whole conversation comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The code of every reply.
    pub(crate) codes: Vec<u16>,
    /// What was acknowledged.
    pub(crate) letters: Vec<Letter>,
    /// Whether the connection is over.
    pub(crate) closed: bool,
}

/// Settings, as the head of an input says them: answers, then a number of bytes, then `R`.
#[derive(Clone, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) answers: Answers<'a>,
    pub(crate) databytes: u64,
    pub(crate) relay: bool,
}

impl<'a> Terms<'a> {
    pub(crate) fn new(head: &'a [u8]) -> Self {
        let words = head.iter().position(|&c| c == b' ').map_or(&[][..], |at| &head[at..]);
        let relay = words.contains(&b'R');
        Self { answers: Answers::new(head), databytes: number(words), relay }
    }
}

/// Whom nobody wants to hear from.
pub(crate) const BAD_SENDERS: [&[u8]; 2] = [b"spam@x", b"@bad"];
/// What a relay client's recipients get.
pub(crate) const SUFFIX: &[u8] = b"@relay";

/// The conversation so far.
struct Model<'a> {
    terms: Terms<'a>,
    out: Outcome,
    bad: u32,
    idle: u32,
    refused: u32,
    greeted: bool,
    /// Sender, once MAIL was taken, and whether it is barred.
    sender: Option<(Vec<u8>, bool)>,
    recipients: Vec<Vec<u8>>,
    in_letter: bool,
    /// What has come and is not used up.
    held: Vec<u8>,
}

/// Plays events through the model.
pub(crate) fn play(terms: Terms<'_>, events: &[Event<'_>]) -> Outcome {
    let mut model = Model {
        terms,
        out: Outcome { codes: vec![220], ..Outcome::default() },
        bad: 0,
        idle: 0,
        refused: 0,
        greeted: false,
        sender: None,
        recipients: Vec::new(),
        in_letter: false,
        held: Vec::new(),
    };
    for event in events {
        if model.out.closed {
            break;
        }
        match event {
            Event::Bytes(bytes) => {
                model.held.extend_from_slice(bytes);
                model.hear();
            }
            Event::Silence => model.close(Some(451)),
            Event::Hangup => model.close(None),
        }
    }
    model.out
}

impl Model<'_> {
    /// Uses up what can be used up.
    fn hear(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while !self.out.closed {
            let used = if self.in_letter { self.letter(rest) } else { self.line(rest) };
            if used == 0 {
                break;
            }
            rest = &rest[used..];
        }
        self.held = rest.to_vec();
    }

    /// A letter, if it is whole or broken; how many bytes it took.
    fn letter(&mut self, rest: &[u8]) -> usize {
        let (stop, body, used) = reference::decode(rest);
        match stop {
            Stop::More => return 0,
            Stop::Cr | Stop::Lf => self.close(Some(451)),
            Stop::End => self.end(body),
        }
        used
    }

    fn end(&mut self, body: Vec<u8>) {
        self.in_letter = false;
        let sender = self.sender.take().unwrap_or_default().0;
        let envelope = [&[sender][..], &self.recipients].concat();
        let envelope = envelope.into_iter().flat_map(|a| [a, vec![0]].concat()).collect();
        let header = body.split(|&c| c == b'\n').take_while(|line| !line.is_empty());
        let hop = |line: &&[u8]| {
            let line = line.to_ascii_lowercase();
            line.starts_with(b"received") || line.starts_with(b"delivered")
        };
        let code = if header.filter(hop).count() >= 100 {
            554
        } else if self.too_large(body.len() as u64) {
            552
        } else {
            match self.terms.answers.next() {
                b'z' => 451,
                b'd' => 554,
                _ => {
                    self.out.letters.push(Letter { envelope, body });
                    self.idle = 0;
                    self.refused = self.refused.saturating_sub(1);
                    250
                }
            }
        };
        self.out.codes.push(code);
    }

    fn too_large(&self, bytes: u64) -> bool {
        self.terms.databytes > 0 && bytes > self.terms.databytes
    }

    /// One command, if its line is whole; how many bytes that took.
    fn line(&mut self, rest: &[u8]) -> usize {
        let end = rest.iter().position(|&c| c == b'\n');
        if end.unwrap_or(rest.len()) > ENDLESS {
            self.close(Some(421));
            return rest.len();
        }
        let Some(end) = end else { return 0 };
        if end + 1 > LINE {
            self.refuse(500);
            return end + 1;
        }
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let line = line.split(|&c| c == 0).next().unwrap_or_default();
        let verb = line.split(|&c| c == b' ').next().unwrap_or_default().to_ascii_uppercase();
        let argument = &line[verb.len()..];
        let spaces = argument.iter().take_while(|&&c| c == b' ').count();
        let argument = &argument[spaces..];
        match &verb[..] {
            b"HELO" | b"EHLO" => {
                let code = if self.greeted { self.idle(250) } else { Some(250) };
                self.greeted = true;
                code.into_iter().for_each(|code| self.reset(code));
            }
            b"RSET" => {
                let code = if self.sender.is_none() { self.idle(250) } else { Some(250) };
                code.into_iter().for_each(|code| self.reset(code));
            }
            b"NOOP" => self.say_idle(250),
            b"VRFY" => self.say_idle(252),
            b"HELP" => self.say_idle(214),
            b"QUIT" => self.close(Some(221)),
            b"MAIL" => self.mail(argument),
            b"RCPT" => self.rcpt(argument),
            b"DATA" => self.data(),
            _ => self.refuse(502),
        }
        end + 1
    }

    fn reset(&mut self, code: u16) {
        (self.sender, self.recipients) = (None, Vec::new());
        self.out.codes.push(code);
    }

    /// A command that brings no letter nearer: its code, unless it is one too many.
    fn idle(&mut self, code: u16) -> Option<u16> {
        self.idle += 1;
        if self.idle > IDLE {
            self.close(Some(421));
            return None;
        }
        Some(code)
    }

    fn say_idle(&mut self, code: u16) {
        let code = self.idle(code);
        self.out.codes.extend(code);
    }

    /// A recipient that is not taken.
    fn turn_away(&mut self, code: u16) {
        self.refused += 1;
        match self.refused > REFUSED {
            true => self.close(Some(421)),
            false => self.out.codes.push(code),
        }
    }

    fn mail(&mut self, argument: &[u8]) {
        if self.idle(250).is_none() {
            return;
        }
        match path(argument) {
            None => self.reset(555),
            Some((_, Some(size))) if self.too_large(size) => self.reset(552),
            Some((address, _)) => {
                self.reset(250);
                let lower = address.to_ascii_lowercase();
                let at = lower.iter().rposition(|&c| c == b'@').map(|at| &lower[at..]);
                let barred = BAD_SENDERS.iter().any(|bad| *bad == &lower[..] || Some(*bad) == at);
                self.sender = Some((address, barred));
            }
        }
    }

    fn rcpt(&mut self, argument: &[u8]) {
        let Some((_, barred)) = self.sender else { return self.refuse(503) };
        let Some((mut address, _)) = path(argument) else { return self.turn_away(555) };
        if barred {
            return self.turn_away(553);
        }
        if self.recipients.len() >= RECIPIENTS {
            return self.out.codes.push(452);
        }
        if self.terms.relay {
            address.extend_from_slice(SUFFIX);
        }
        if address.len() > ENVELOPE_ADDRESS {
            return self.turn_away(555);
        }
        let code = match self.terms.answers.next() {
            b'o' => return self.turn_away(553),
            b'm' => return self.turn_away(550),
            b'u' => return self.turn_away(451),
            b'c' => return self.close(Some(421)),
            _ => {
                self.recipients.push(address);
                250
            }
        };
        self.out.codes.push(code);
    }

    fn data(&mut self) {
        if self.sender.is_none() || self.recipients.is_empty() {
            return self.refuse(503);
        }
        match self.terms.answers.next() {
            b'q' => self.reset(451),
            b'z' => self.reset(451),
            b'd' => self.reset(554),
            _ => {
                self.in_letter = true;
                self.out.codes.push(354);
            }
        }
    }

    /// A command that is unknown, too long or out of place.
    fn refuse(&mut self, code: u16) {
        self.bad += 1;
        if self.bad > BAD {
            return self.close(Some(421));
        }
        self.out.codes.push(code);
    }

    fn close(&mut self, code: Option<u16>) {
        self.out.codes.extend(code);
        self.out.closed = true;
    }
}

/// The address of MAIL or RCPT as stock reads it, and what `SIZE=` says; `None` if it is refused.
fn path(argument: &[u8]) -> Option<(Vec<u8>, Option<u64>)> {
    let find = |text: &[u8], byte| text.iter().position(|&c| c == byte);
    let (mut text, close) = match (find(argument, b'<'), find(argument, b':')) {
        (Some(at), _) => (&argument[at + 1..], b'>'),
        (None, Some(at)) => {
            let text = &argument[at + 1..];
            (&text[text.iter().take_while(|&&c| c == b' ').count()..], b' ')
        }
        (None, None) => (&[][..], b' '),
    };
    if text.starts_with(b"@") {
        text = find(text, b':').map_or(&[][..], |at| &text[at + 1..]);
    }
    let (mut address, mut quoted, mut at) = (Vec::new(), false, 0);
    while at < text.len() {
        let c = text[at];
        at += 1;
        if c == b'\\' {
            address.extend(text.get(at));
            at = (at + 1).min(text.len());
        } else if c == b'"' {
            quoted = !quoted;
        } else if c == close && !quoted {
            break;
        } else {
            address.push(c);
        }
    }
    let words = text[at..].split(|&c| c == b' ');
    let mut sizes = words.filter_map(|word| {
        let digits = word.to_ascii_uppercase().strip_prefix(b"SIZE=")?.to_vec();
        let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        // A number too large for 64 bits is as large as can be.
        number.then(|| String::from_utf8_lossy(&digits).parse().unwrap_or(u64::MAX))
    });
    let size = sizes.next_back();
    let refused = address.len() >= ADDRESS || address.iter().any(u8::is_ascii_control);
    (!refused).then_some((address, size))
}
