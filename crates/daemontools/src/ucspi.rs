//! What the command lines of UCSPI programs share: `PROG [options] host port program [arg ...]`, and the
//! options that mean the same at either end of a connection.

use crate::message::{Piece, TEMPORARY, Voice};
use crate::tcpserver::address::Families;
use crate::tcpserver::conn::Conn;
use crate::tcpserver::{ident, names};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;
use sys::getopt::Opt;

/// How long, in seconds, anything may be waited for.
const LONGEST: u64 = 86_400;

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loudness {
    /// `-q`: nothing.
    Silent,
    /// `-Q`: what goes wrong.
    Errors,
    /// `-v`: every connection too.
    Verbose,
}

impl Loudness {
    /// `PROG: fatal: PIECES: E`, unless silent; returns 111.
    pub(crate) fn fatal(
        self,
        voice: Voice,
        pieces: &[Piece<'_>],
        cause: Option<&io::Error>,
    ) -> i32 {
        if self == Self::Silent {
            return TEMPORARY;
        }
        voice.fatal(pieces, cause)
    }
}

/// What is said of either end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) loudness: Loudness,
    /// `-4`: which addresses are wanted.
    pub(crate) families: Families,
    /// `-I`: the interface of addresses that are good on one link.
    pub(crate) interface: Option<OsString>,
    /// `-D`.
    pub(crate) nodelay: bool,
    /// `-h`: look up the other end's name.
    pub(crate) remote_name: bool,
    /// `-l`: the local name, not looked up.
    pub(crate) local_host: Option<Vec<u8>>,
    /// `-r`: ask the other end's ident server.
    pub(crate) ident: bool,
    /// `-t`: how long that may take.
    pub(crate) timeout: Duration,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            loudness: Loudness::Errors,
            families: Families::Both,
            interface: None,
            nodelay: false,
            remote_name: true,
            local_host: None,
            ident: true,
            timeout: Duration::from_secs(26),
        }
    }
}

impl Ends {
    /// Takes one option, if it is one of these; later ones override earlier ones.
    pub(crate) fn set(&mut self, option: &Opt) {
        let value = &option.value;
        match option.letter {
            b'q' => self.loudness = Loudness::Silent,
            b'Q' => self.loudness = Loudness::Errors,
            b'v' => self.loudness = Loudness::Verbose,
            b'4' => self.families = Families::Four,
            b'I' => self.interface = Some(value.clone()),
            b'd' => self.nodelay = false,
            b'D' => self.nodelay = true,
            b'h' => self.remote_name = true,
            b'H' => self.remote_name = false,
            b'l' => self.local_host = Some(value.clone().into_vec()),
            b'r' => self.ident = true,
            b'R' => self.ident = false,
            b't' => self.timeout = seconds(value),
            _ => {}
        }
    }

    /// Finds the ends' names, as far as they are wanted.
    pub(crate) fn name(&self, conn: &mut Conn) {
        let given = self.local_host.clone();
        conn.local_host = given.or_else(|| names::name_of(conn.local.ip()));
        if self.remote_name {
            conn.remote_host = names::name_of(conn.remote.ip());
        }
    }

    /// Asks the other end's ident server, if that is wanted.
    pub(crate) fn ask(&self, conn: &mut Conn) {
        if self.ident {
            conn.info = ident::ask(conn, self.timeout);
        }
    }
}

/// How a program's command line is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grammar {
    pub(crate) voice: Voice,
    /// The options, as getopt has them.
    pub(crate) letters: &'static str,
    /// What misuse is answered with.
    pub(crate) usage: &'static str,
}

/// A whole command line.
#[derive(Debug)]
pub(crate) struct Task<'a, Options> {
    pub(crate) options: Options,
    pub(crate) host: &'a OsStr,
    pub(crate) port: &'a OsStr,
    /// The program and its arguments; not empty.
    pub(crate) program: &'a [OsString],
}

impl Grammar {
    /// Reads a command line, giving its options to `set` one after the other; misuse is told and
    /// returned as the exit code, and so is what `set` says of one.
    pub(crate) fn read<'a, Options: Default>(
        self,
        args: &'a [OsString],
        set: impl Fn(&mut Options, &Opt) -> Result<(), i32>,
    ) -> Result<Task<'a, Options>, i32> {
        let (found, rest) = self.voice.getopt(args, self.letters, self.usage)?;
        let mut options = Options::default();
        found.iter().try_for_each(|option| set(&mut options, option))?;
        match rest {
            [host, port, program @ ..] if !program.is_empty() => {
                Ok(Task { options, host, port, program })
            }
            _ => Err(self.voice.usage(self.usage)),
        }
    }
}

/// The leading digits as a number; none is 0, too many the largest.
pub(crate) fn number(text: &OsStr) -> u64 {
    base::number::leading(text.as_bytes()).unwrap_or(0)
}

/// As many seconds, a day at most.
pub(crate) fn seconds(text: &OsStr) -> Duration {
    Duration::from_secs(number(text).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_leading_digits() {
        assert_eq!(number(OsStr::new("12a")), 12);
        assert_eq!(number(OsStr::new("-1")), 0);
        assert_eq!(number(OsStr::new("99999999999999999999999")), u64::MAX);
        assert_eq!(seconds(OsStr::new("99999999999999999999999")).as_secs(), LONGEST);
    }

    #[test]
    fn a_letter_that_is_not_for_both_ends_changes_nothing() {
        let mut ends = Ends::default();
        for letter in b'A'..=b'z' {
            if !b"QqvIDdHhlRrt".contains(&letter) {
                ends.set(&Opt { letter, value: OsString::from("1") });
            }
        }
        assert_eq!(ends, Ends::default());
    }
}
