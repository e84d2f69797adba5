//! turn a program's answer round
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* nothing · *speaks to* the
//! program it is told to ask

use std::ffi::OsString;

use super::child::{Answer, ask};
use super::{Stop, end, words};

const USAGE: &str = "except: usage: except program [ arg ... ]";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("except", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let (program, args) = args.split_first().ok_or(Stop::Usage(USAGE))?;
    match ask("except", program, args)? {
        Answer::Yes => Ok(100),
        Answer::No => Ok(0),
    }
}
