//! The log on descriptor 2: the lines of one turn in one write, so that the logger wakes once.

use crate::message::say;
use base::limits::WARNINGS;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a pipe takes whole (`PIPE_BUF`): lines are never torn apart.
const WHOLE: usize = 4096;

/// How long a warning that was said is not said again.
const WHILE: Duration = Duration::from_secs(60);
/// What every warning begins with.
const WARNING: &[u8] = b"tcpserver: warning: ";

/// Lines on their way to descriptor 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    collects: Cell<bool>,
    lines: RefCell<Vec<u8>>,
    repeats: RefCell<Repeats>,
}

impl Log {
    /// From now on lines wait for [`Log::flush`]: for a process that does not fork.
    pub(super) fn collect(&self) {
        self.collects.set(true);
    }

    /// Writes a line, now or with others.
    pub(super) fn line(&self, line: &[u8]) {
        if !self.collects.get() {
            return say(line);
        }
        let full = self.lines.borrow().len().saturating_add(line.len()) > WHOLE;
        if full {
            self.flush();
        }
        self.lines.borrow_mut().extend_from_slice(line);
    }

    /// Writes a line that strangers can cause: what is said again and again is counted instead.
    pub(super) fn warning(&self, line: &[u8]) {
        if self.is_news(line) {
            self.line(line);
        }
    }

    /// Whether it is to be said, and not only counted.
    pub(super) fn is_news(&self, line: &[u8]) -> bool {
        self.repeats.borrow_mut().note(line, Instant::now())
    }

    /// Forgets what was said, for a child: it says what it has to say, and its parent counts.
    pub(super) fn forget(&self) {
        self.repeats.take();
    }

    /// When [`Log::count`] has something to say, if it has.
    pub(super) fn due(&self) -> Option<Instant> {
        self.repeats.borrow().until
    }

    /// Says how often the warnings of the last minute were repeated, if that is over or this is the
    /// `end`.
    pub(super) fn count(&self, end: bool) {
        if self.due().is_some_and(|until| end || Instant::now() >= until) {
            let counts = self.repeats.borrow_mut().counts();
            counts.iter().for_each(|line| self.line(line));
        }
    }

    /// Writes what waits.
    pub(super) fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            say(&lines);
            lines.clear();
        }
    }
}

/// Warnings that have been said lately, and how often they would have been said again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Repeats {
    said: BTreeMap<Vec<u8>, u64>,
    /// Others that were not said, for want of room.
    others: u64,
    until: Option<Instant>,
}

impl Repeats {
    /// Takes a warning in; whether it is to be said.
    fn note(&mut self, line: &[u8], now: Instant) -> bool {
        self.until = self.until.or_else(|| now.checked_add(WHILE));
        if let Some(count) = self.said.get_mut(line) {
            *count = count.saturating_add(1);
            return false;
        }
        if self.said.len() >= WARNINGS {
            self.others = self.others.saturating_add(1);
            return false;
        }
        self.said.insert(line.to_vec(), 0);
        true
    }

    /// The counts as lines. What was repeated stays known, so that it is only counted for another
    /// minute; the rest is forgotten.
    fn counts(&mut self) -> Vec<Vec<u8>> {
        let told = |(line, count): (&Vec<u8>, &u64)| {
            let text = line.strip_prefix(WARNING).unwrap_or(line);
            let times = format!("{count} times more within a minute: ");
            (*count > 0).then(|| [WARNING, times.as_bytes(), text].concat())
        };
        let mut lines: Vec<Vec<u8>> = self.said.iter().filter_map(told).collect();
        if self.others > 0 {
            let others = format!("{} other warnings within a minute\n", self.others);
            lines.push([WARNING, others.as_bytes()].concat());
        }
        self.said.retain(|_, count| std::mem::take(count) > 0);
        self.others = 0;
        let on = !self.said.is_empty();
        self.until = self.until.and_then(|until| until.checked_add(WHILE)).filter(|_| on);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_thousand_times_the_same_is_said_once_and_then_counted() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let line = b"tcpserver: warning: dropping connection, 192.0.2.1 has 5 already\n";
        assert_eq!((0..50_000).filter(|_| repeats.note(line, now)).count(), 1);
        let want = b"tcpserver: warning: 49999 times more within a minute: dropping connection, 192.0.2.1 has 5 already\n";
        assert_eq!(repeats.counts(), [want.to_vec()]);
        assert!(!repeats.note(line, now), "it goes on: it is only counted");
        assert_eq!(repeats.counts().len(), 1);
        assert_eq!((repeats.counts().len(), repeats.until), (0, None));
        assert!(repeats.note(line, now), "it was quiet for a minute");
    }

    #[test]
    fn many_different_ones_take_no_more_room_and_are_counted_together() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let say = |n: usize| format!("tcpserver: warning: {n}\n").into_bytes();
        assert_eq!((0..1_000).filter(|n| repeats.note(&say(*n), now)).count(), WARNINGS);
        let want =
            format!("tcpserver: warning: {} other warnings within a minute\n", 1_000 - WARNINGS);
        assert_eq!(repeats.counts(), [want.into_bytes()]);
        assert_eq!(repeats, Repeats::default());
    }
}
