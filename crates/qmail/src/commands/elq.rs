//! read new mail with elm, pine or Mail: its Maildir is moved into an mbox file first
//!
//! *Runs as* whoever calls it · *hears* its environment · *opens* what maildir2mbox opens ·
//! *speaks to* the program it becomes

use std::ffi::OsString;

use sys::signal::{self, Signal};
use sys::spawn;

use super::{Stop, end, maildir2mbox, words};

/// `elq`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("elq", read_with("elm", args))
}

/// `pinq`.
pub(crate) fn pinq(args: &[OsString]) -> i32 {
    end("pinq", read_with("pine", args))
}

/// `qail`.
pub(crate) fn qail(args: &[OsString]) -> i32 {
    end("qail", read_with("Mail", args))
}

/// Becomes the program, with `$MAIL` up to date.
fn read_with(reader: &str, args: &[OsString]) -> Result<i32, Stop> {
    match maildir2mbox::main(&[]) {
        0 => {}
        code => return Ok(code),
    }
    let mut argv = vec![OsString::from(reader)];
    argv.extend_from_slice(words(args));
    signal::default(Signal::Pipe);
    let error = spawn::exec_search(&argv, None);
    Err(Stop::not_run(&OsString::from(reader), &error, 111))
}
