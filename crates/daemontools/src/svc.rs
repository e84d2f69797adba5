//! svc: control supervised services.
//!
//! *Runs as* whoever may write their `supervise/control` · *hears* nobody · *opens*
//! `DIR/supervise/control`, and to wait the files beside it · *speaks to* supervise, one byte a
//! command.

use crate::look::no_reader;
use crate::message::{PERMANENT, TEMPORARY, Voice, say};
use crate::svwait;
use crate::waiting::{Goal, Wait};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::time::Duration;
use sys::dir::Dir;
use sys::getopt::{Opt, getopt};
use sys::signal::{self, Signal};

const VOICE: Voice = Voice("svc");
const OPTIONS: &str = "svc options: u up, d down, o once, x exit, p pause, c continue, h hup, \
     a alarm, i interrupt, t term, k kill\n";

/// `svc [-udopchaitkx] [-w uUdDrR] [-T ms] dir ...`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    signal::ignore(Signal::Pipe);
    let (options, dirs) = match getopt(args, "udopchaitkxw:T:") {
        Ok(found) => found,
        Err(misuse) => {
            misuse.complain(args);
            say(OPTIONS.as_bytes());
            return PERMANENT;
        }
    };
    let Some(task) = Task::of(&options) else {
        return VOICE.usage("svc [-udopchaitkx] [-w u|U|d|D|r|R] [-T milliseconds] dir ...");
    };
    // Before the first command: nothing that follows from it is missed.
    let mut wait = task.goal.map(|_| Wait::new(dirs.iter()));
    let heard = match tell(dirs, &task.commands, wait.as_mut()) {
        Ok(heard) => heard,
        Err(code) => return code,
    };
    match (wait, task.goal) {
        (Some(wait), Some(goal)) => {
            let code = svwait::finish(VOICE, wait, goal, false, task.limit);
            if code == 0 && !heard { TEMPORARY } else { code }
        }
        _ => 0,
    }
}

/// What the options ask for.
struct Task {
    commands: Vec<u8>,
    goal: Option<Goal>,
    limit: Option<Duration>,
}

impl Task {
    /// `None`: there is no such thing to wait for, or no such time.
    fn of(options: &[Opt]) -> Option<Task> {
        let mut task = Task { commands: Vec::new(), goal: None, limit: None };
        for option in options {
            match option.letter {
                b'w' => task.goal = Some(svwait::goal(&option.value)?),
                b'T' => task.limit = svwait::limit(&option.value)?,
                letter if !task.commands.contains(&letter) => task.commands.push(letter),
                _ => {}
            }
        }
        Some(task)
    }
}

/// Writes the commands to every directory; false if one did not get them, which is then not waited
/// for either. The exit code if the way back is lost.
fn tell(dirs: &[OsString], commands: &[u8], mut wait: Option<&mut Wait>) -> Result<bool, i32> {
    let here = Dir::open(".")
        .map_err(|error| VOICE.fatal(&[&"unable to open current directory"], Some(&error)))?;
    let back =
        || here.enter().map_err(|error| VOICE.fatal(&[&"unable to set directory"], Some(&error)));
    let mut all = true;
    for dir in dirs {
        back()?;
        if !control(dir, commands, wait.is_some()) {
            all = false;
            if let Some(wait) = &mut wait {
                wait.forget(dir);
            }
        }
    }
    back()?;
    Ok(all)
}

/// Writes the commands to one service; trouble is a warning, and false. With nothing to write, and
/// nothing to wait for, it is still told who cannot hear, as in stock.
fn control(dir: &OsStr, commands: &[u8], waits: bool) -> bool {
    if let Err(error) = std::env::set_current_dir(dir) {
        VOICE.warning(&[&"unable to chdir to ", &dir], Some(&error));
        return false;
    }
    if commands.is_empty() && waits {
        return true;
    }
    // Not waiting for a supervise that does not read: it may never do so again.
    match sys::file::open_write("supervise/control") {
        Ok(mut fifo) => match fifo.write_all(commands) {
            Ok(()) => return true,
            Err(error) => VOICE.warning(&[&"error writing commands to ", &dir], Some(&error)),
        },
        Err(error) if no_reader(&error) => {
            VOICE.warning(&[&"unable to control ", &dir, &": supervise not running"], None);
        }
        Err(error) => complain(dir, &error),
    }
    false
}

fn complain(dir: &OsStr, error: &io::Error) {
    VOICE.warning(&[&"unable to control ", &dir], Some(error));
}
