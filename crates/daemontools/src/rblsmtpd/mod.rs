//! refuse mail from addresses that DNS lists name
//!
//! *Runs as* whoever calls it, tcpserver's user as a rule. *Hears* DNS; a client that is refused, on
//! descriptor 0. *Opens* `/etc/resolv.conf`. *Speaks to* the client; to descriptor 2; and becomes the
//! server.

mod decision;
mod patience;
mod session;

use crate::message::{PERMANENT, Voice, say};
use crate::run::{Environment, run};
use crate::tcpserver::names;
use crate::ucspi::seconds;
use decision::{Lists, Step, Verdict};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;
use sys::getopt::Opt;
use sys::signal::{self, Signal};

const VOICE: Voice = Voice("rblsmtpd");
// The original's text, its -R, which no version knows, included; what is new is in the manual.
const USAGE: &str =
    "rblsmtpd [ -b ] [ -R ] [ -t timeout ] [ -r base ] [ -a base ] smtpd [ arg ... ]";
/// What decides without any list; what a list says, for who judges instead of us.
const RBLSMTPD: &str = "RBLSMTPD";
/// How long a client that is refused may talk, if `-t` does not say.
const SESSION: Duration = Duration::from_secs(60);

/// `rblsmtpd [options] smtpd [arg ...]`. Exit code the server's; 0 for a client that was refused or is gone; 100
/// for misuse; 111 if the server cannot be run.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let (options, smtpd) = match VOICE.getopt(args, "bBcCit:r:a:w:W", USAGE) {
        Ok(found) => found,
        Err(code) => return code,
    };
    if smtpd.is_empty() {
        return VOICE.usage(USAGE);
    }
    if let Some(Opt { letter, value }) = options.iter().find(is_no_number) {
        let option = format!("-{} ", char::from(*letter));
        VOICE.fatal(&[&option, value, &": write a number"], None);
        return PERMANENT;
    }
    let steps: Vec<Step> = options.iter().filter_map(step).collect();
    let limit = options.iter().rev().find(|option| option.letter == b't');
    let limit = limit.map_or(SESSION, |option| seconds(&option.value));
    let judge = options.iter().any(|option| option.letter == b'i');
    let variable = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
    let ip = variable("TCPREMOTEIP").unwrap_or_default();
    let mut world = World { ip: &ip };
    match decision::decide(variable(RBLSMTPD).as_deref(), &ip, &steps, judge, &mut world) {
        Verdict::Accept => run(VOICE, smtpd, None),
        Verdict::Gone => 0,
        Verdict::Reject(message) => refuse(&ip, &message, limit),
        Verdict::Report(text) => {
            tell(&ip, &text);
            let mut environment = Environment::ours();
            environment.set(OsStr::new(RBLSMTPD), OsStr::from_bytes(&text));
            run(VOICE, smtpd, Some(&environment))
        }
    }
}

/// Whether it has a time that is none: it would be taken for 0, which nobody writes so.
fn is_no_number(option: &&Opt) -> bool {
    let begins = option.value.as_bytes().first().is_some_and(u8::is_ascii_digit);
    matches!(option.letter, b't' | b'w') && !begins
}

fn step(option: &Opt) -> Option<Step> {
    let base = || option.value.clone().into_vec();
    Some(match option.letter {
        b'b' => Step::ForGood(true),
        b'B' => Step::ForGood(false),
        b'c' => Step::Closed(true),
        b'C' => Step::Closed(false),
        b'r' => Step::Reject(base()),
        b'a' => Step::Accept(base()),
        b'w' => Step::Wait(seconds(&option.value)),
        b'W' => Step::Wait(seconds(&std::env::var_os("GREETDELAY").unwrap_or_default())),
        _ => return None,
    })
}

/// The lists as DNS has them, and time as it passes.
struct World<'a> {
    /// The client.
    ip: &'a [u8],
}

impl Lists for World<'_> {
    fn text(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
        names::text_of(name)
    }

    fn has(&mut self, name: &[u8]) -> io::Result<bool> {
        names::has_address(name)
    }

    fn wait(&mut self, time: Duration) -> bool {
        if time.is_zero() {
            return true;
        }
        tell(self.ip, format!("greetdelay: {}", time.as_secs()).as_bytes());
        patience::stays(sys::fd::stdin(), time)
    }
}

/// Tells the log of a client.
fn tell(ip: &[u8], text: &[u8]) {
    let pid = std::process::id().to_string();
    say(&[b"rblsmtpd: ", ip, b" pid ", pid.as_bytes(), b": ", text, b"\n"].concat());
}

/// Tells the log, and the client as often as it asks.
fn refuse(ip: &[u8], message: &[u8], limit: Duration) -> i32 {
    tell(ip, message);
    signal::ignore(Signal::Pipe);
    // As far as the kernel can, before the client is heard.
    let _ = crate::fences::one_connection().close_paths();
    session::refuse(message, limit);
    0
}
