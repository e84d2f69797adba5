//! pgrphack: run a program in a session and process group of its own.
//!
//! *Runs as* whoever calls it · *hears* nobody · *opens* nothing · *speaks to* nobody: it becomes
//! the program.

use crate::message::Voice;
use crate::run::run;
use std::ffi::OsString;

/// `pgrphack child`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let voice = Voice("pgrphack");
    let Some((_, child)) = args.split_first().filter(|(_, child)| !child.is_empty()) else {
        return voice.usage("pgrphack child");
    };
    // Whoever leads a group already cannot lead a new session: then things are as wanted.
    let _ = sys::process::new_session();
    run(voice, child, None)
}
