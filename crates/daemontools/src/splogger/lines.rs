//! Lines of a log as messages for syslog: short enough, printable, and as urgent as they begin.

use base::plain;
use base::time::Moment;

/// The longest part of a line in one message, in bytes.
const LONGEST: usize = 799;

/// Severities of RFC 5424 §6.2.1.
const ALERT: u8 = 1;
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// When its line was read.
    pub(super) at: Moment,
    /// How urgent: 0 to 7.
    pub(super) severity: u8,
    /// `SECONDS.MICROSECONDS` and the line, or `+` and what is left of it.
    pub(super) text: Vec<u8>,
}

impl Message {
    /// That messages were lost before `next`.
    pub(super) fn lost(next: &Self, words: &str) -> Self {
        let text = format!("{} warning: splogger lost {words}", stamp(next.at));
        Self { at: next.at, severity: WARNING, text: text.into_bytes() }
    }
}

fn stamp(at: Moment) -> String {
    format!("{}.{:06}", at.secs(), at.subsec_micros())
}

/// Lines as they come in.
#[derive(Debug, Default)]
pub(super) struct Lines {
    part: Vec<u8>,
    /// When the line's first part went out, and how urgent it was.
    begun: Option<(Moment, u8)>,
}

impl Lines {
    /// Takes bytes; gives out what is whole.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        now: impl Fn() -> Moment,
        mut each: impl FnMut(Message),
    ) {
        for &byte in bytes {
            if byte == b'\n' {
                self.give(&now, &mut each);
                self.begun = None;
                continue;
            }
            if self.part.len() == LONGEST {
                self.give(&now, &mut each);
            }
            self.part.push(plain::printable(byte, b'?'));
        }
    }

    /// Gives out a line without its end.
    pub(super) fn end(&mut self, now: impl Fn() -> Moment, mut each: impl FnMut(Message)) {
        self.give(&now, &mut each);
    }

    /// Gives out what there is of a line; an empty one is no message.
    fn give(&mut self, now: &impl Fn() -> Moment, each: &mut impl FnMut(Message)) {
        if self.part.is_empty() {
            return;
        }
        let goes_on = self.begun.is_some();
        let (at, severity) = *self.begun.get_or_insert_with(|| (now(), severity(&self.part)));
        let between: &[u8] = if goes_on { b"+" } else { b" " };
        each(Message { at, severity, text: [stamp(at).as_bytes(), between, &self.part].concat() });
        self.part.clear();
    }
}

/// How urgent a line says it is.
fn severity(line: &[u8]) -> u8 {
    if line.starts_with(b"alert:") {
        ALERT
    } else if line.starts_with(b"warning:") {
        WARNING
    } else {
        INFO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(pieces: &[&[u8]]) -> Vec<(u8, String)> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let now = || Moment::from_micros(7_000_042);
        let text = |message: Message| (message.severity, String::from_utf8(message.text).unwrap());
        for piece in pieces {
            lines.feed(piece, now, |message| out.push(text(message)));
        }
        lines.end(now, |message| out.push(text(message)));
        out
    }

    #[test]
    fn a_line_has_its_time_and_is_as_urgent_as_it_begins() {
        assert_eq!(
            messages(&[b"alert: a\nwar", b"ning: b\n\n warning: c\nd\xff\te"]),
            [
                (ALERT, "7.000042 alert: a".to_owned()),
                (WARNING, "7.000042 warning: b".to_owned()),
                (INFO, "7.000042  warning: c".to_owned()),
                (INFO, "7.000042 d??e".to_owned()),
            ]
        );
    }

    #[test]
    fn a_long_line_goes_on_with_the_same_time_and_urgency() {
        let long = [b"alert:", &[b'x'; 793 + 799 + 1][..], b"\n", &[b'y'; 799], b"\n"].concat();
        let told = messages(&[&long]);
        let lengths: Vec<_> = told.iter().map(|(severity, text)| (*severity, text.len())).collect();
        let stamp = "7.000042 ".len();
        let want = [(1, stamp + 799), (1, stamp + 799), (1, stamp + 1), (6, stamp + 799)];
        assert_eq!(lengths, want);
        assert_eq!(told[2].1, "7.000042+x");
    }
}
