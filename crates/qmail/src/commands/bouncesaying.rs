//! refuse a letter with these words, perhaps only if a program says so
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* nothing · *speaks to* the
//! program it is told to ask

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::child::{Answer, ask};
use super::{Stop, end, say, words};

const USAGE: &str = "bouncesaying: usage: bouncesaying error [ program [ arg ... ] ]";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("bouncesaying", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let (error, asked) = args.split_first().ok_or(Stop::Usage(USAGE))?;
    let answer = match asked {
        [] => Answer::Yes,
        [program, args @ ..] => ask("bouncesaying", program, args)?,
    };
    match answer {
        Answer::Yes => {
            say(error.as_bytes());
            Ok(100)
        }
        Answer::No => Ok(0),
    }
}
