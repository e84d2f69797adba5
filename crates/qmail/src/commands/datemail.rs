//! queue a letter the way sendmail does, with a Date field in local time
//!
//! *Runs as* whoever calls it · *hears* a letter on descriptor 0 · *opens* the file of the local
//! time zone · *speaks to* sendmail

use std::ffi::OsString;

use super::predate::dated;
use super::{Stop, end, program, words};

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("datemail", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    dated(&program("sendmail")?.into_os_string(), args)
}
