//! svok: tell whether supervise is running: exit 0 for yes, 100 for no.
//!
//! *Runs as* anybody · *hears* nobody · *opens* `DIR/supervise/ok` · *speaks to* nobody.

use crate::look;
use crate::message::{PERMANENT, Voice};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

const VOICE: Voice = Voice("svok");

/// `svok dir`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, dir, ..] = args else { return VOICE.usage("svok dir") };
    if let Err(error) = std::env::set_current_dir(dir) {
        return VOICE.fatal(&[&"unable to chdir to ", dir], Some(&error));
    }
    match look::listens(Path::new(".")) {
        Ok(true) => 0,
        Ok(false) => PERMANENT,
        Err(error) if error.kind() == ErrorKind::NotFound => PERMANENT,
        Err(error) => VOICE.fatal(&[&"unable to open ", dir, &"/supervise/ok"], Some(&error)),
    }
}
