//! run a program under another name
//!
//! *Runs as* whoever calls it. *Hears* nobody. *Opens* nothing. *Speaks to* nobody: it becomes the
//! program.

use crate::message::Voice;
use std::ffi::OsString;
use sys::signal::{self, Signal};

const VOICE: Voice = Voice("argv0");

/// `argv0 realname program [arg ...]`: runs `realname`, which is told that it is called `program`.
/// Exit code the program's; 100 for misuse; 111 if it cannot be run.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, real, argv @ ..] = args else { return usage() };
    if argv.is_empty() {
        return usage();
    }
    signal::default(Signal::Pipe);
    let error = sys::spawn::exec_search_as(real, argv);
    VOICE.fatal(&[&"unable to run ", real], Some(&error))
}

fn usage() -> i32 {
    VOICE.usage("argv0 realname program [ arg ... ]")
}
