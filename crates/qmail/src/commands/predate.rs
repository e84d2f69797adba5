//! put a Date field on top of a letter and give it to a program
//!
//! *Runs as* whoever calls it · *hears* a letter on descriptor 0 · *opens* the file of the local
//! time zone · *speaks to* the program it is told to run

use std::ffi::OsString;

use letter::date;
use sys::clock;

use super::feed::feed;
use super::{Stop, end, words};

const USAGE: &str = "predate: usage: predate child";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("predate", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let (program, args) = args.split_first().ok_or(Stop::Usage(USAGE))?;
    dated(program, args)
}

/// Gives a program the letter on descriptor 0 with the time of this zone on top; its exit code.
pub(super) fn dated(program: &OsString, args: &[OsString]) -> Result<i32, Stop> {
    let now = clock::now();
    let field = format!("Date: {}\n", date::local(now, clock::zone(now)));
    feed(program, args, field.as_bytes(), |_| 111)
}
