//! The small programs that users write into their `.qmail` files or call by hand: one
//! file each, and what several of them need once.

pub(crate) mod aliases;
pub(crate) mod bouncesaying;
pub(crate) mod condredirect;
pub(crate) mod datemail;
pub(crate) mod elq;
pub(crate) mod except;
pub(crate) mod forward;
pub(crate) mod maildir2mbox;
pub(crate) mod maildirmake;
pub(crate) mod maildirwatch;
pub(crate) mod mailsubj;
pub(crate) mod predate;
pub(crate) mod preline;
pub(crate) mod qbiff;
pub(crate) mod qreceipt;
pub(crate) mod requeue;

mod child;
mod feed;
mod maildir;
mod screen;
mod utmp;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use store::home::Home;
use sys::{errno, fd};

/// Why a program stops before its work is done.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The command line means nothing; its usage.
    Usage(&'static str),
    /// What stands behind `PROGRAM: fatal: `, and the exit code.
    Fatal(Vec<u8>, i32),
}

impl Stop {
    /// It will never work.
    fn never(text: impl Into<Vec<u8>>) -> Self {
        Self::Fatal(text.into(), 100)
    }

    /// It may work later.
    fn later(text: impl Into<Vec<u8>>) -> Self {
        Self::Fatal(text.into(), 111)
    }

    /// `unable to <doing>: <error>`; it may work later.
    fn unable(doing: impl AsRef<[u8]>, err: &io::Error) -> Self {
        let error = errno::text(err).as_bytes();
        Self::later([b"unable to ", doing.as_ref(), b": ", error].concat())
    }

    /// A program cannot be run, which ends with `code`.
    fn not_run(program: &OsString, err: &io::Error, code: i32) -> Self {
        let error = errno::text(err).as_bytes();
        Self::Fatal([b"unable to run ", program.as_bytes(), b": ", error].concat(), code)
    }
}

/// Says how a program ended, if it did not end well; its exit code.
fn end(program: &str, ended: Result<i32, Stop>) -> i32 {
    match ended {
        Ok(code) => code,
        Err(Stop::Usage(usage)) => {
            say(usage);
            100
        }
        Err(Stop::Fatal(text, code)) => {
            say([program.as_bytes(), b": fatal: ", &text[..]].concat());
            code
        }
    }
}

/// One line on descriptor 2; nobody is left to tell if that fails.
fn say(text: impl AsRef<[u8]>) {
    let _ = fd::write_all(fd::stderr(), &[text.as_ref(), b"\n"].concat());
}

/// Says on descriptor 1 what somebody asked for.
fn answer(text: &[u8]) -> Result<i32, Stop> {
    let written = fd::write_all(fd::stdout(), text);
    written.map(|()| 0).map_err(|err| Stop::unable("write output", &err))
}

/// A variable of the environment; a set but empty one is `Some`.
fn variable(name: &str) -> Option<Vec<u8>> {
    std::env::var_os(name).map(OsString::into_vec)
}

/// A variable without which a program on a `.qmail` line cannot work: qmail-local sets it.
fn needed(name: &str) -> Result<Vec<u8>, Stop> {
    variable(name).ok_or_else(|| Stop::never(format!("{name} not set")))
}

/// A variable without which a program that users call cannot work: it may be set the next time.
fn needed_later(name: &str) -> Result<OsString, Stop> {
    std::env::var_os(name).ok_or_else(|| Stop::later(format!("{name} not set")))
}

/// What stands behind the program's name.
fn words(args: &[OsString]) -> &[OsString] {
    args.get(1..).unwrap_or_default()
}

/// Where a program of this home is.
fn program(name: &str) -> Result<PathBuf, Stop> {
    let home = Home::find().map_err(|err| Stop::later(err.to_string()))?;
    Ok(home.path(Path::new("bin").join(name)))
}
