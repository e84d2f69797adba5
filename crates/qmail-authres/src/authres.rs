//! say whether a letter is from whom it says
//!
//! *Runs as* whoever takes the letter in, never root · *hears* one letter, its descriptor 0 ·
//! *opens* `/etc/resolv.conf` · *speaks to* the DNS

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sys::rlimit::{self, Resource};
use sys::{errno, fd, user};

use crate::print::{self, is_domain};
use crate::verdict::{Circumstances, NoVerdict, judge};

/// The longest letter that is judged, in bytes.
const LETTER: usize = 32 << 20;
/// The longest circumstance, in bytes.
const WORD: usize = 1_000;
/// DNS servers that are asked.
const SERVERS: usize = 8;
/// How long it may take in all, in seconds, if `-t` says nothing.
const SECONDS: u64 = 20;
/// The longest `-t`.
const MOST_SECONDS: u64 = 3_600;

/// Why there is no header: an exit code and what to tell.
struct Trouble(i32, String);

impl Trouble {
    /// The caller's mistake, or a letter nobody can judge.
    fn misuse(text: impl Into<String>) -> Self {
        Self(100, text.into())
    }

    /// Ours or this machine's.
    fn ours(text: impl Into<String>) -> Self {
        Self(111, text.into())
    }
}

/// `qmail-authres [-h host] [-d server]… [-t seconds]`, the letter on descriptor 0.
pub(crate) fn main(args: &[OsString]) -> i32 {
    match run(args.get(1..).unwrap_or_default()) {
        Ok(()) => 0,
        Err(Trouble(code, text)) => {
            let _gone = writeln!(std::io::stderr(), "qmail-authres: fatal: {text}");
            code
        }
    }
}

fn run(args: &[OsString]) -> Result<(), Trouble> {
    if user::uid() == 0 || user::euid() == 0 {
        return Err(Trouble::ours("will not read strangers' letters as root"));
    }
    let begun = Instant::now();
    let mut came = circumstances(args)?;
    bound_cpu(came.limit)?;
    let letter = crlf(&read(begun, came.limit)?);
    came.limit = came.limit.saturating_sub(begun.elapsed());
    let verdicts = judge(&letter, &came).map_err(|why| match why {
        NoVerdict::Headless => Trouble::misuse("the letter has no header"),
        NoVerdict::Trouble(text) => Trouble::ours(text),
    })?;
    fd::write_all(fd::stdout(), print::header(&came.host, &verdicts).as_bytes())
        .map_err(|e| Trouble::ours(format!("unable to write: {}", errno::text(&e))))
}

/// Hashing does not look at the clock; the kernel does.
fn bound_cpu(limit: Duration) -> Result<(), Trouble> {
    let seconds = limit.as_secs().saturating_add(1);
    rlimit::set_soft(Resource::Cpu, seconds)
        .map_err(|e| Trouble::ours(format!("unable to limit my time: {}", errno::text(&e))))
}

/// The options and the environment.
fn circumstances(args: &[OsString]) -> Result<Circumstances, Trouble> {
    let ip = word("TCPREMOTEIP")?.ok_or_else(|| Trouble::misuse("TCPREMOTEIP is not set"))?;
    let ip: IpAddr = ip.parse().map_err(|_| Trouble::misuse("TCPREMOTEIP is no IP address"))?;
    let sender = word("SENDER")?.ok_or_else(|| Trouble::misuse("SENDER is not set"))?;
    let helo = word("HELO")?.unwrap_or_default();
    let limit = Duration::from_secs(SECONDS);
    let ip = ip.to_canonical();
    let mut came =
        Circumstances { ip, helo, sender, host: String::new(), servers: Vec::new(), limit };
    options(args, &mut came)?;
    if came.host.is_empty() {
        came.host = own_name()?;
    }
    Ok(came)
}

/// A variable a stranger may have filled; bytes that are no UTF-8 make it no address of anybody.
fn word(name: &str) -> Result<Option<String>, Trouble> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    if value.len() > WORD {
        return Err(Trouble::misuse(format!("{name} is longer than {WORD} bytes")));
    }
    Ok(Some(value.to_string_lossy().into_owned()))
}

fn options(args: &[OsString], came: &mut Circumstances) -> Result<(), Trouble> {
    let usage = || Trouble::misuse("usage: qmail-authres [-h host] [-d server] [-t seconds]");
    let mut words = args.iter().map(|word| word.to_str().unwrap_or_default());
    while let Some(option) = words.next() {
        let value = words.next().ok_or_else(usage)?;
        match option {
            "-h" if is_domain(value) => value.clone_into(&mut came.host),
            "-d" if came.servers.len() < SERVERS => {
                let found = dns::parse_servers([value.as_bytes()]);
                came.servers.extend(found.map_err(|e| Trouble::misuse(e.to_string()))?);
            }
            "-t" => came.limit = seconds(value).ok_or_else(usage)?,
            _ => return Err(usage()),
        }
    }
    Ok(())
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().filter(|s| (1..=MOST_SECONDS).contains(s))?;
    Some(Duration::from_secs(seconds))
}

/// The name this machine has.
fn own_name() -> Result<String, Trouble> {
    let path = "/proc/sys/kernel/hostname";
    let text = std::fs::read_to_string(path)
        .map_err(|e| Trouble::ours(format!("unable to read {path}: {}", errno::text(&e))))?;
    let name = text.trim_end();
    let no_name = || Trouble::ours(format!("{path} holds no host name; give one with -h"));
    is_domain(name).then(|| name.to_owned()).ok_or_else(no_name)
}

/// The letter, as long as the time lasts.
fn read(begun: Instant, limit: Duration) -> Result<Vec<u8>, Trouble> {
    let mut letter = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let got = fd::read_within(fd::stdin(), &mut piece, left).map_err(|e| unread(&e))?;
        if got == 0 {
            return Ok(letter);
        }
        letter.extend(piece.iter().take(got));
        if letter.len() > LETTER {
            return Err(Trouble::misuse(format!("the letter is longer than {LETTER} bytes")));
        }
    }
}

fn unread(err: &std::io::Error) -> Trouble {
    match err.kind() {
        ErrorKind::TimedOut => Trouble::ours("the letter did not come in time"),
        _ => Trouble::ours(format!("unable to read the letter: {}", errno::text(err))),
    }
}

/// The letter as it was on the wire, for signatures are made of that: a stored one ends its lines
/// with LF alone.
fn crlf(letter: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(letter.len());
    let mut before = 0;
    for &byte in letter {
        if byte == b'\n' && before != b'\r' {
            wire.push(b'\r');
        }
        wire.push(byte);
        before = byte;
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_ends_in_cr_lf() {
        assert_eq!(crlf(b"a\nb\r\n\r\n\nc"), b"a\r\nb\r\n\r\n\r\nc");
        assert_eq!(crlf(b""), b"");
    }

    #[test]
    fn a_limit_is_a_number_of_seconds() {
        assert_eq!(seconds("7"), Some(Duration::from_secs(7)));
        assert!(
            ["0", "-1", "x", "", "3601", "9999999999999999999999"]
                .iter()
                .all(|t| seconds(t).is_none())
        );
    }
}
