//! The log on descriptor 2: the lines of one turn in one write, so that the logger wakes once.

use crate::message::say;
use std::cell::{Cell, RefCell};

/// What a pipe takes whole (`PIPE_BUF`): lines are never torn apart.
const WHOLE: usize = 4096;

/// Lines on their way to descriptor 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    collects: Cell<bool>,
    lines: RefCell<Vec<u8>>,
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

    /// Writes what waits.
    pub(super) fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            say(&lines);
            lines.clear();
        }
    }
}
