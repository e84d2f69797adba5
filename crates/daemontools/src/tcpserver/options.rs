//! The command line: `tcpserver [options] host port program [arg ...]`.

use super::limits::{Limit, Limits};
use super::log::Log;
use crate::message::{PERMANENT, Piece, Voice};
use crate::ucspi::{self, Ends, Grammar, Loudness, number};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;
use sys::getopt::Opt;

const VOICE: Voice = Voice("tcpserver");
const GRAMMAR: Grammar = Grammar {
    voice: VOICE,
    letters: "1UXpPhHrRoOdDqQv46fc:x:B:g:u:b:l:t:m:M:i:w:e:a:A:I:",
    // The original's, to the byte; what is new is in the manual.
    usage: "tcpserver [ -1UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] \
[ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] host port program",
};
/// Children at once, if `-c` does not say.
const CHILDREN: u64 = 40;

/// What the options say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// What tcpclient has as well.
    pub(super) ends: Ends,
    /// `-c`, `-m`, `-M`: connections at once, of all, of an address, of a network.
    pub(super) limits: Limits,
    /// `-x`: the rules file.
    pub(super) rules: Option<OsString>,
    /// `-X`: a missing rules file means no rules.
    pub(super) rules_optional: bool,
    /// `-B`: sent first thing.
    pub(super) banner: Vec<u8>,
    /// `-g`, `-u`: 0 leaves alone.
    pub(super) gid: u32,
    pub(super) uid: u32,
    /// `-1`: print the port.
    pub(super) print_port: bool,
    /// `-b`: connections the kernel keeps that nobody has accepted.
    pub(super) backlog: i32,
    /// `-o`: leave IP options.
    pub(super) keep_ip_options: bool,
    /// `-p`: keep the name only if it leads back to the address.
    pub(super) paranoid: bool,
    /// `-f`: hand connections to a clean parent instead of starting a program for each.
    pub(super) clean: bool,
    /// `-i`: connections at once that have been greeted and have said nothing; 0 is as many as
    /// there are descriptors for.
    pub(super) silent: u64,
    /// `-w`: how long they may say nothing.
    pub(super) patience: Duration,
    /// `-e`: how long the greeting is held back.
    pub(super) pause: Duration,
    /// `-6`: IPv4 is told in IPv6's variables.
    pub(super) six: bool,
    /// `-a`: rules that name the proxies whose PROXY header counts.
    pub(super) proxies: Option<OsString>,
    /// `-A`: how long such a header is waited for.
    pub(super) header: Duration,
    /// Where the log goes.
    pub(super) log: Log,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ends: Ends::default(),
            limits: Limits {
                total: Limit::Number(CHILDREN),
                address: Limit::Number(0),
                network: Limit::Number(0),
            },
            rules: None,
            rules_optional: false,
            banner: Vec::new(),
            gid: 0,
            uid: 0,
            print_port: false,
            backlog: 20,
            keep_ip_options: false,
            paranoid: false,
            clean: false,
            silent: 0,
            patience: Duration::from_secs(300),
            pause: Duration::ZERO,
            six: false,
            proxies: None,
            header: Duration::from_secs(5),
            log: Log::default(),
        }
    }
}

/// A whole command line.
pub(super) type Task<'a> = ucspi::Task<'a, Options>;

/// Reads the command line; misuse is told and returned as the exit code.
pub(super) fn read(args: &[OsString]) -> Result<Task<'_>, i32> {
    let task = GRAMMAR.read(args, Options::set)?;
    if is_digits(task.port) && number(task.port) > u64::from(u16::MAX) {
        return Err(refuse("port", task.port, "there are 65535"));
    }
    Ok(task)
}

/// Says why a word is refused; returns 100.
fn refuse(what: &str, word: &OsStr, why: &str) -> i32 {
    VOICE.fatal(&[&what, &" ", &word, &": ", &why], None);
    PERMANENT
}

/// What cannot be meant by an option, where the original takes it for 0: root, nobody, no limit.
fn wrong(letter: u8, value: &OsStr) -> Option<&'static str> {
    let is_file = value.as_bytes().contains(&b'/');
    let begins = value.as_bytes().first().is_some_and(u8::is_ascii_digit);
    match letter {
        b'u' | b'g' if !is_digits(value) => Some("write the id, a number"),
        b'c' | b'm' | b'M' if is_file => None,
        b'c' if begins && number(value) == 0 => Some("nobody would be served"),
        b'c' | b'm' | b'M' if !begins => Some("write a number, or a file with a slash in its name"),
        b'b' | b't' | b'i' | b'w' | b'e' | b'A' if !begins => Some("write a number"),
        _ => None,
    }
}

/// Whether it is a number and nothing else.
fn is_digits(word: &OsStr) -> bool {
    !word.is_empty() && word.as_bytes().iter().all(u8::is_ascii_digit)
}

impl Options {
    /// Takes one option; later ones override earlier ones. The error is the exit code of one that is
    /// refused.
    fn set(&mut self, option: &Opt) -> Result<(), i32> {
        let value = &option.value;
        if let Some(why) = wrong(option.letter, value) {
            return Err(refuse(&format!("-{}", char::from(option.letter)), value, why));
        }
        match option.letter {
            b'c' => self.limits.total = Limit::of(value, CHILDREN),
            b'm' => self.limits.address = Limit::of(value, 0),
            b'M' => self.limits.network = Limit::of(value, 0),
            b'x' => self.rules = Some(value.clone()),
            b'X' => self.rules_optional = true,
            b'B' => self.banner = value.clone().into_vec(),
            b'g' => self.gid = id(value),
            b'u' => self.uid = id(value),
            b'U' => return self.take_ids(),
            b'1' => self.print_port = true,
            b'b' => self.backlog = i32::try_from(number(value)).unwrap_or(i32::MAX),
            b'o' => self.keep_ip_options = true,
            b'O' => self.keep_ip_options = false,
            b'p' => self.paranoid = true,
            b'P' => self.paranoid = false,
            b'f' => self.clean = true,
            b'i' => self.silent = number(value),
            b'w' => self.patience = Duration::from_secs(number(value).clamp(1, 86_400)),
            b'e' => self.pause = Duration::from_millis(number(value).min(60_000)),
            b'6' => self.six = true,
            b'a' => self.proxies = Some(value.clone()),
            b'A' => self.header = Duration::from_secs(number(value).clamp(1, 60)),
            _ => self.ends.set(option),
        }
        Ok(())
    }

    /// `-U`: the ids in `$UID` and `$GID`, now.
    fn take_ids(&mut self) -> Result<(), i32> {
        for (name, into) in [("UID", &mut self.uid), ("GID", &mut self.gid)] {
            let Some(word) = std::env::var_os(name) else { continue };
            if !is_digits(&word) {
                return Err(refuse(&format!("-U: ${name}"), &word, "it must be the id, a number"));
            }
            *into = id(&word);
        }
        Ok(())
    }

    /// Whether each connection is told of.
    pub(super) fn verbose(&self) -> bool {
        self.ends.loudness == Loudness::Verbose
    }

    /// Says a line about a connection, with `-v`.
    pub(super) fn tell(&self, line: &[u8]) {
        if self.verbose() {
            self.log.line(line);
        }
    }

    /// `tcpserver: warning: ...`, unless `-q`; the same one only once in a while.
    pub(super) fn warning(&self, pieces: &[Piece<'_>], cause: Option<&io::Error>) {
        if self.ends.loudness != Loudness::Silent {
            self.log.warning(&VOICE.line("warning", pieces, cause));
        }
    }

    /// Whether a warning would be said now; somebody else says it.
    pub(super) fn is_news(&self, pieces: &[Piece<'_>], cause: Option<&io::Error>) -> bool {
        self.log.is_news(&VOICE.line("warning", pieces, cause))
    }

    /// `tcpserver: fatal: ...`, unless `-q`; returns 111.
    pub(super) fn fatal(&self, pieces: &[Piece<'_>], cause: Option<&io::Error>) -> i32 {
        self.log.flush();
        self.ends.loudness.fatal(VOICE, pieces, cause)
    }
}

/// A uid or gid. One that does not fit becomes the largest, which no process can have, so that
/// taking it fails instead of taking another.
fn id(text: &OsStr) -> u32 {
    u32::try_from(number(text)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        read(&args).unwrap().options
    }

    #[test]
    fn later_options_override_earlier_ones() {
        let options = options("tcpserver -vqvRrHc5 -c 7x -l  -D -m3 0 25 program -R");
        let ends = &options.ends;
        assert!(options.verbose() && ends.ident && !ends.remote_name && ends.nodelay);
        let numbers = options.limits.read().unwrap();
        assert_eq!((numbers.total, numbers.address, numbers.network), (7, 3, 0));
        assert_eq!(ends.local_host, Some(Vec::new()));
        assert_eq!(options.patience, Duration::from_secs(300));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_where_the_original_takes_it_for_nothing() {
        for line in [
            "-u nobody 0 25 p",
            "-g 12x 0 25 p",
            "-c x 0 25 p",
            "-c 0 0 25 p",
            "-m x 0 25 p",
            "-M -1 0 25 p",
            "-t soon 0 25 p",
            "0 70000 p",
        ] {
            let args: Vec<OsString> =
                ["tcpserver"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            assert_eq!(read(&args).map(drop), Err(100), "{line}");
        }
        assert_eq!(options("tcpserver -u0 -g7 -c a/b -m0 0 65535 p").gid, 7);
    }

    #[test]
    fn the_programs_own_options_are_left_to_it() {
        let args: Vec<OsString> =
            ["tcpserver", "0", "25", "prog", "-q"].into_iter().map(OsString::from).collect();
        let task = read(&args).unwrap();
        assert_eq!(task.program, &args[3..]);
        assert_eq!(task.options, Options::default());
    }

    #[test]
    fn an_id_that_does_not_fit_is_nobodys() {
        assert_eq!(id(OsStr::new("4294967296")), u32::MAX);
    }
}
