//! svstat: print the state of supervised services.
//!
//! *Runs as* anybody who may read `DIR/supervise` · *hears* nobody · *opens* `DIR/down`,
//! `DIR/supervise/ok`, `DIR/supervise/status`, `DIR/supervise/state` · *speaks to* descriptor 1.

mod json;

use crate::look::{self, Trouble};
use crate::message::Voice;
use base::service::{Status, Want};
use base::time::Moment;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::dir::Dir;

const VOICE: Voice = Voice("svstat");

/// `svstat [--json] dir ...`: always 0, unless the way back to the starting directory is lost.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let here = match Dir::open(".") {
        Ok(here) => here,
        Err(error) => return VOICE.fatal(&[&"unable to open current directory"], Some(&error)),
    };
    let mut dirs = args.get(1..).unwrap_or_default();
    let as_json = dirs.first().is_some_and(|word| word == "--json");
    if as_json {
        dirs = dirs.get(1..).unwrap_or_default();
    }
    for dir in dirs {
        if let Err(error) = here.enter() {
            return VOICE.fatal(&[&"unable to set directory"], Some(&error));
        }
        let now = sys::clock::now();
        let line = if as_json {
            json::line(dir, &look(dir, now), now)
        } else {
            let text = look(dir, now).map_or_else(|trouble| trouble, |seen| seen.text);
            [dir.as_bytes(), b": ", text.as_bytes(), b"\n"].concat()
        };
        // A reader that has gone away is no trouble of the services'.
        let _ = io::stdout().write_all(&line);
    }
    0
}

/// A service that a supervise watches.
struct Seen {
    status: Status,
    normally_up: bool,
    /// What is said of it.
    text: String,
}

/// Looks at one service; the error is what to say if it cannot be known.
fn look(dir: &OsStr, now: Moment) -> Result<Seen, String> {
    let unable =
        |what: &str, error: &io::Error| format!("unable to {what}: {}", sys::errno::text(error));
    std::env::set_current_dir(dir).map_err(|e| unable("chdir", &e))?;
    let normally_up = match std::fs::metadata("down") {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(unable("stat down", &error)),
    };
    match look::listens(Path::new(".")) {
        Ok(true) => {}
        Ok(false) => return Err("supervise not running".to_owned()),
        Err(error) => return Err(unable("open supervise/ok", &error)),
    }
    let status = look::status(Path::new(".")).map_err(|trouble| match trouble {
        Trouble::Open(error) => unable("open supervise/status", &error),
        Trouble::Read(error) => unable("read supervise/status", &error),
        Trouble::Format => "unable to read supervise/status: bad format".to_owned(),
    })?;
    let text = describe(&status, normally_up, now);
    Ok(Seen { status, normally_up, text })
}

/// Whole seconds since the pid changed; never negative, whatever was done to the clock.
fn age(status: &Status, now: Moment) -> u64 {
    now.secs().saturating_sub(u64::try_from(status.since.unix()).unwrap_or(0))
}

/// `up (pid P) N seconds` and its suffixes.
fn describe(status: &Status, normally_up: bool, now: Moment) -> String {
    let up = status.pid != 0;
    let seconds = age(status, now);
    let mut line = if up {
        format!("up (pid {}) {seconds} seconds", status.pid)
    } else {
        format!("down {seconds} seconds")
    };
    let suffixes = [
        (up && !normally_up, ", normally down"),
        (!up && normally_up, ", normally up"),
        (up && status.paused, ", paused"),
        (!up && status.want == Want::Up, ", want up"),
        (up && status.want == Want::Down, ", want down"),
    ];
    line.extend(suffixes.iter().filter(|(applies, _)| *applies).map(|(_, words)| *words));
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::tai::Label;

    fn status(pid: u32, paused: bool, want: Want) -> Status {
        Status { since: Label::new(1000, 500), pid, paused, want }
    }

    fn line(status: Status, normally_up: bool) -> String {
        describe(&status, normally_up, Moment::from_secs(1002))
    }

    #[test]
    fn the_words_and_their_order_are_the_originals() {
        assert_eq!(line(status(30212, true, Want::Up), true), "up (pid 30212) 2 seconds, paused");
        assert_eq!(line(status(0, false, Want::Down), true), "down 2 seconds, normally up");
        assert_eq!(
            line(status(31158, false, Want::Once), false),
            "up (pid 31158) 2 seconds, normally down"
        );
        assert_eq!(line(status(7, false, Want::Down), true), "up (pid 7) 2 seconds, want down");
        assert_eq!(line(status(0, false, Want::Up), true), "down 2 seconds, normally up, want up");
        assert_eq!(
            line(status(7, true, Want::Down), false),
            "up (pid 7) 2 seconds, normally down, paused, want down"
        );
    }

    #[test]
    fn a_clock_set_back_makes_no_negative_age() {
        let text = describe(&status(0, false, Want::Down), false, Moment::from_secs(5));
        assert_eq!(text, "down 0 seconds");
    }
}
