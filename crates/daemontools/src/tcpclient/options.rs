//! The command line: `tcpclient [options] host port program [arg ...]`.

use crate::message::{PERMANENT, Piece, TEMPORARY, Voice, say};
use crate::tcpserver::address::{self, Families};
use crate::tcpserver::{Loudness, number};
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;
use sys::getopt::{Opt, getopt};

const VOICE: Voice = Voice("tcpclient");
const LETTERS: &str = "hHrRdDqQv46i:p:T:l:t:I:";
const USAGE: &str = "tcpclient [ -hHrRdDqQv ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] \
[ -l localname ] [ -t timeoutinfo ] host port program";
/// How long anything may be waited for.
const LONGEST: u64 = 86_400;

/// What the options say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) loudness: Loudness,
    /// `-i`, `-p`: where the connection comes from.
    pub(super) from: Option<IpAddr>,
    pub(super) from_port: u16,
    /// `-T`: how long each of several addresses is tried, first and then.
    pub(super) tries: [Duration; 2],
    /// `-4`, `-6`.
    pub(super) families: Families,
    /// `-I`: the interface of addresses that are good on one link.
    pub(super) interface: Option<OsString>,
    /// `-h`: look up the server's name.
    pub(super) remote_name: bool,
    /// `-l`: the local name, not looked up.
    pub(super) local_host: Option<Vec<u8>>,
    /// `-r`: ask the server's ident server.
    pub(super) ident: bool,
    /// `-t`: how long that may take.
    pub(super) timeout: Duration,
    /// `-D`.
    pub(super) nodelay: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            loudness: Loudness::Errors,
            from: None,
            from_port: 0,
            tries: [Duration::from_secs(2), Duration::from_secs(58)],
            families: Families::Both,
            interface: None,
            remote_name: true,
            local_host: None,
            ident: true,
            timeout: Duration::from_secs(26),
            nodelay: false,
        }
    }
}

/// A whole command line.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) options: Options,
    pub(super) host: &'a OsStr,
    pub(super) port: &'a OsStr,
    /// The program and its arguments; not empty.
    pub(super) program: &'a [OsString],
}

/// Reads the command line; misuse is told and returned as the exit code.
pub(super) fn read(args: &[OsString]) -> Result<Task<'_>, i32> {
    let (found, rest) = getopt(args, LETTERS).map_err(|misuse| {
        misuse.complain(args);
        VOICE.usage(USAGE)
    })?;
    let mut options = Options::default();
    let understood = found.iter().all(|option| options.set(option));
    match rest {
        [host, port, program @ ..] if understood && !program.is_empty() => {
            Ok(Task { options, host, port, program })
        }
        _ => {
            VOICE.usage(USAGE);
            Err(PERMANENT)
        }
    }
}

impl Options {
    /// Nothing is looked up (`-RHl0`), as the wrappers connect.
    pub(super) fn plain() -> Self {
        Self {
            remote_name: false,
            ident: false,
            local_host: Some(b"0".to_vec()),
            ..Self::default()
        }
    }

    /// Takes one option; later ones override earlier ones. False if its value is none.
    fn set(&mut self, option: &Opt) -> bool {
        let value = &option.value;
        match option.letter {
            b'q' => self.loudness = Loudness::Silent,
            b'Q' => self.loudness = Loudness::Errors,
            b'v' => self.loudness = Loudness::Verbose,
            b'i' => {
                self.from = address::address(value).filter(|ip| !ip.is_unspecified());
                return address::address(value).is_some();
            }
            b'p' => self.from_port = u16::try_from(number(value) & 0xffff).unwrap_or(0),
            b'T' => self.tries = tries(value),
            b'4' => self.families = Families::Four,
            b'6' => self.families = Families::Six,
            b'I' => self.interface = Some(value.clone()),
            b'h' => self.remote_name = true,
            b'H' => self.remote_name = false,
            b'l' => self.local_host = Some(value.clone().into_vec()),
            b'r' => self.ident = true,
            b'R' => self.ident = false,
            b't' => self.timeout = seconds(value),
            b'd' => self.nodelay = false,
            b'D' => self.nodelay = true,
            _ => {}
        }
        true
    }

    /// `tcpclient: fatal: ...`, unless `-q`; returns 111.
    pub(super) fn fatal(&self, pieces: &[Piece<'_>], cause: Option<&io::Error>) -> i32 {
        if self.loudness == Loudness::Silent {
            return TEMPORARY;
        }
        VOICE.fatal(pieces, cause)
    }

    /// `tcpclient: unable to connect to IP port PORT: E`, unless `-q`.
    pub(super) fn tell_failed(&self, to: SocketAddr, cause: &io::Error) {
        if self.loudness != Loudness::Silent {
            let (ip, port, cause) = (to.ip(), to.port(), sys::errno::text(cause));
            say(format!("tcpclient: unable to connect to {ip} port {port}: {cause}\n").as_bytes());
        }
    }

    /// `tcpclient: connected to IP port PORT`, with `-v`.
    pub(super) fn tell_connected(&self, to: SocketAddr) {
        if self.loudness == Loudness::Verbose {
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

fn seconds(value: &OsStr) -> Duration {
    Duration::from_secs(number(value).min(LONGEST))
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
        assert_eq!((options.from, options.from_port, options.nodelay), (from, 1025, true));
        assert_eq!(options.tries, [5, 7].map(Duration::from_secs));
        assert_eq!(options.local_host.as_deref(), Some(&b"0"[..]));
        assert!(!options.ident && !options.remote_name && options.families == Families::Six);
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
