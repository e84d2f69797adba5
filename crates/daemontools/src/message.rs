//! `PROG: fatal: TEXT: E` and `PROG: warning: TEXT: E`: what these programs say on stderr.
//!
//! The cause E has its own fixed words (`sys::errno`), not strerror's: scripts match them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use sys::getopt::{self, Opt};

/// Exit code of trouble that may pass: a system failure.
pub(crate) const TEMPORARY: i32 = 111;
/// Exit code of misuse, and of "no" for good.
pub(crate) const PERMANENT: i32 = 100;

/// One piece of a message: words, a name, a path.
pub(crate) type Piece<'a> = &'a dyn AsRef<OsStr>;

/// The name under which a program speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice(pub(crate) &'static str);

impl Voice {
    /// `PROG: fatal: PIECES: E`; returns 111, for `return VOICE.fatal(..)`.
    pub(crate) fn fatal(self, pieces: &[Piece<'_>], cause: Option<&io::Error>) -> i32 {
        say(&self.line("fatal", pieces, cause));
        TEMPORARY
    }

    /// `PROG: warning: PIECES: E`.
    pub(crate) fn warning(self, pieces: &[Piece<'_>], cause: Option<&io::Error>) {
        say(&self.line("warning", pieces, cause));
    }

    /// `PROG: usage: TEXT`; returns 100.
    pub(crate) fn usage(self, text: &str) -> i32 {
        say(format!("{}: usage: {text}\n", self.0).as_bytes());
        PERMANENT
    }

    /// The options of a command line and what is behind them; misuse is told, with the usage, and the
    /// error is 100.
    pub(crate) fn getopt<'a>(
        self,
        args: &'a [OsString],
        letters: &str,
        usage: &str,
    ) -> Result<(Vec<Opt>, &'a [OsString]), i32> {
        getopt::getopt(args, letters).map_err(|misuse| {
            misuse.complain(args);
            self.usage(usage)
        })
    }

    /// `PROG: KIND: PIECES: E` and a newline.
    pub(crate) fn line(
        self,
        kind: &str,
        pieces: &[Piece<'_>],
        cause: Option<&io::Error>,
    ) -> Vec<u8> {
        let mut line = format!("{}: {kind}: ", self.0).into_bytes();
        for piece in pieces {
            line.extend_from_slice(piece.as_ref().as_bytes());
        }
        if let Some(error) = cause {
            line.extend_from_slice(b": ");
            line.extend_from_slice(sys::errno::text(error).as_bytes());
        }
        line.push(b'\n');
        line
    }
}

/// Writes bytes to stderr in one write.
pub(crate) fn say(bytes: &[u8]) {
    sys::log::put(sys::fd::stderr(), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_program_the_kind_the_text_and_the_cause() {
        let error = io::Error::from_raw_os_error(2);
        let line =
            Voice("svok").line("fatal", &[&"unable to chdir to ", &OsStr::new("a")], Some(&error));
        assert_eq!(line, b"svok: fatal: unable to chdir to a: file does not exist\n");
        assert_eq!(Voice("x").line("warning", &[&"y"], None), b"x: warning: y\n");
    }
}
