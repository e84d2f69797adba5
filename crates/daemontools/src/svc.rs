//! svc: control supervised services.
//!
//! *Runs as* whoever may write their `supervise/control` · *hears* nobody · *opens*
//! `DIR/supervise/control` · *speaks to* supervise, one byte a command.

use crate::message::{PERMANENT, Voice, say};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use sys::dir::Dir;
use sys::getopt::getopt;
use sys::signal::{self, Signal};

const VOICE: Voice = Voice("svc");
const OPTIONS: &str = "svc options: u up, d down, o once, x exit, p pause, c continue, h hup, \
     a alarm, i interrupt, t term, k kill\n";

/// `svc [-udopchaitkx] dir ...`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    signal::ignore(Signal::Pipe);
    let (options, dirs) = match getopt(args, "udopchaitkx") {
        Ok(found) => found,
        Err(misuse) => {
            misuse.complain(args);
            say(OPTIONS.as_bytes());
            return PERMANENT;
        }
    };
    let mut commands = Vec::new();
    for option in options {
        if !commands.contains(&option.letter) {
            commands.push(option.letter);
        }
    }
    let here = match Dir::open(".") {
        Ok(here) => here,
        Err(error) => return VOICE.fatal(&[&"unable to open current directory"], Some(&error)),
    };
    for dir in dirs {
        if let Err(error) = here.enter() {
            return VOICE.fatal(&[&"unable to set directory"], Some(&error));
        }
        control(dir, &commands);
    }
    0
}

/// Writes the commands to one service; trouble is a warning.
fn control(dir: &OsStr, commands: &[u8]) {
    if let Err(error) = std::env::set_current_dir(dir) {
        return VOICE.warning(&[&"unable to chdir to ", &dir], Some(&error));
    }
    if commands.is_empty() {
        return;
    }
    match sys::file::open_write("supervise/control") {
        Ok(mut fifo) => {
            if let Err(error) = fifo.write_all(commands) {
                VOICE.warning(&[&"error writing commands to ", &dir], Some(&error));
            }
        }
        Err(error) if no_reader(&error) => {
            VOICE.warning(&[&"unable to control ", &dir, &": supervise not running"], None);
        }
        Err(error) => VOICE.warning(&[&"unable to control ", &dir], Some(&error)),
    }
}

/// ENXIO, 6 on every Linux: a FIFO that nobody has open for reading.
pub(crate) fn no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(6)
}
