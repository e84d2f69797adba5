//! svstat: print the state of supervised services.
//!
//! *Runs as* anybody who may read `DIR/supervise` · *hears* nobody · *opens* `DIR/down`,
//! `DIR/supervise/ok`, `DIR/supervise/status` · *speaks to* descriptor 1.

use crate::message::Voice;
use crate::status::{LENGTH, Status, Want};
use crate::svc::no_reader;
use base::time::Moment;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use sys::dir::Dir;

const VOICE: Voice = Voice("svstat");

/// `svstat dir ...`: always 0, unless the way back to the starting directory is lost.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let here = match Dir::open(".") {
        Ok(here) => here,
        Err(error) => return VOICE.fatal(&[&"unable to open current directory"], Some(&error)),
    };
    for dir in args.iter().skip(1) {
        if let Err(error) = here.enter() {
            return VOICE.fatal(&[&"unable to set directory"], Some(&error));
        }
        let text = look(dir).unwrap_or_else(|trouble| trouble);
        let line = [dir.as_bytes(), b": ", text.as_bytes(), b"\n"].concat();
        // A reader that has gone away is no trouble of the services'.
        let _ = io::stdout().write_all(&line);
    }
    0
}

/// What to say of one service; the error is what to say if it cannot be known.
fn look(dir: &OsStr) -> Result<String, String> {
    let unable =
        |what: &str, error: &io::Error| format!("unable to {what}: {}", sys::errno::text(error));
    std::env::set_current_dir(dir).map_err(|e| unable("chdir", &e))?;
    let normally_up = match std::fs::metadata("down") {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(unable("stat down", &error)),
    };
    sys::file::open_write("supervise/ok").map_err(|error| {
        if no_reader(&error) {
            "supervise not running".to_owned()
        } else {
            unable("open supervise/ok", &error)
        }
    })?;
    let file = sys::file::open_read("supervise/status")
        .map_err(|e| unable("open supervise/status", &e))?;
    let mut bytes = [0; LENGTH];
    let got = sys::fd::read(&file, &mut bytes).map_err(|e| unable("read supervise/status", &e))?;
    let status = bytes.get(..got).and_then(Status::decode);
    let status = status.ok_or("unable to read supervise/status: bad format")?;
    Ok(describe(&status, normally_up, sys::clock::now()))
}

/// `up (pid P) N seconds` and its suffixes.
fn describe(status: &Status, normally_up: bool, now: Moment) -> String {
    let up = status.pid != 0;
    let seconds = now.secs().saturating_sub(u64::try_from(status.since.unix()).unwrap_or(0));
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
