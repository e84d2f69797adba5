//! The command line: `tcpclient [options] host port program [arg ...]`.

use crate::message::{Piece, Voice, say};
use crate::tcpserver::address::{self, Families};
use crate::ucspi::{self, Ends, Grammar, Loudness, number, seconds};
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use sys::getopt::Opt;

const VOICE: Voice = Voice("tcpclient");
const GRAMMAR: Grammar = Grammar {
    voice: VOICE,
    letters: "hHrRdDqQv46i:p:T:l:t:I:",
    usage: "tcpclient [ -hHrRdDqQv ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] \
[ -l localname ] [ -t timeoutinfo ] host port program",
};

/// What the options say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// What tcpserver has as well.
    pub(super) ends: Ends,
    /// `-i`, `-p`: where the connection comes from.
    pub(super) from: Option<IpAddr>,
    pub(super) from_port: u16,
    /// `-T`: how long each of several addresses is tried, first and then.
    pub(super) tries: [Duration; 2],
}

impl Default for Options {
    fn default() -> Self {
        let tries = [Duration::from_secs(2), Duration::from_secs(58)];
        Self { ends: Ends::default(), from: None, from_port: 0, tries }
    }
}

/// A whole command line.
pub(super) type Task<'a> = ucspi::Task<'a, Options>;

/// Reads the command line; misuse is told and returned as the exit code.
pub(super) fn read(args: &[OsString]) -> Result<Task<'_>, i32> {
    GRAMMAR.read(args, Options::set)
}

impl Options {
    /// Nothing is looked up (`-RHl0`), as the wrappers connect.
    pub(super) fn plain() -> Self {
        let local_host = Some(b"0".to_vec());
        let ends = Ends { remote_name: false, ident: false, local_host, ..Ends::default() };
        Self { ends, ..Self::default() }
    }

    /// Takes one option; later ones override earlier ones. The error is the exit code of one whose value
    /// is none.
    fn set(&mut self, option: &Opt) -> Result<(), i32> {
        let value = &option.value;
        match option.letter {
            b'i' => {
                let ip = address::address(value).ok_or_else(|| VOICE.usage(GRAMMAR.usage))?;
                self.from = Some(ip).filter(|ip| !ip.is_unspecified());
            }
            b'p' => self.from_port = u16::try_from(number(value) & 0xffff).unwrap_or(0),
            b'T' => self.tries = tries(value),
            b'6' => self.ends.families = Families::Six,
            _ => self.ends.set(option),
        }
        Ok(())
    }

    /// `tcpclient: fatal: ...`, unless `-q`; returns 111.
    pub(super) fn fatal(&self, pieces: &[Piece<'_>], cause: Option<&io::Error>) -> i32 {
        self.ends.loudness.fatal(VOICE, pieces, cause)
    }

    /// `tcpclient: unable to connect to IP port PORT: E`, unless `-q`.
    pub(super) fn tell_failed(&self, to: SocketAddr, cause: &io::Error) {
        if self.ends.loudness != Loudness::Silent {
            let (ip, port, cause) = (to.ip(), to.port(), sys::errno::text(cause));
            say(format!("tcpclient: unable to connect to {ip} port {port}: {cause}\n").as_bytes());
        }
    }

    /// `tcpclient: connected to IP port PORT`, with `-v`.
    pub(super) fn tell_connected(&self, to: SocketAddr) {
        if self.ends.loudness == Loudness::Verbose {
            say(format!("tcpclient: connected to {} port {}\n", to.ip(), to.port()).as_bytes());
        }
    }
}

/// `X+Y`; without a plus nothing is tried twice.
fn tries(value: &OsStr) -> [Duration; 2] {
    let text = value.as_bytes();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let more = text.get(digits..).and_then(|rest| rest.strip_prefix(b"+")).unwrap_or_default();
    [seconds(value), seconds(OsStr::from_bytes(more))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        read(&args).unwrap().options
    }

    #[test]
    fn options_are_the_originals_and_later_ones_override_earlier_ones() {
        let options =
            options("tcpclient -RHl0 -v -i 127.0.0.2 -p 1025 -T 5+7 -D -6 host 25 program -R");
        let from = Some("127.0.0.2".parse().unwrap());
        assert_eq!((options.from, options.from_port, options.ends.nodelay), (from, 1025, true));
        assert_eq!(options.tries, [5, 7].map(Duration::from_secs));
        assert_eq!(options.ends.local_host.as_deref(), Some(&b"0"[..]));
        let ends = &options.ends;
        assert!(!ends.ident && !ends.remote_name && ends.families == Families::Six);
    }

    #[test]
    fn one_number_of_seconds_is_all() {
        assert_eq!(tries(OsStr::new("9")), [9, 0].map(Duration::from_secs));
        assert_eq!(tries(OsStr::new("2+58x")), [2, 58].map(Duration::from_secs));
        assert_eq!(tries(OsStr::new("")), [Duration::ZERO; 2]);
    }

    #[test]
    fn a_local_address_that_is_none_is_misuse() {
        let args = |ip: &str| ["tcpclient", "-i", ip, "h", "1", "p"].map(OsString::from);
        assert_eq!(read(&args("name")).unwrap_err(), 100);
        assert_eq!(read(&args("0")).unwrap().options.from, None);
        assert!(read(&args("::1")).unwrap().options.from.is_some());
    }
}
