//! svok: tell whether supervise is running: exit 0 for yes, 100 for no.
//!
//! *Runs as* anybody · *hears* nobody · *opens* `DIR/supervise/ok` · *speaks to* nobody.

use crate::message::{PERMANENT, Voice};
use crate::svc::no_reader;
use std::ffi::OsString;
use std::io::ErrorKind;

const VOICE: Voice = Voice("svok");

/// `svok dir`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, dir, ..] = args else { return VOICE.usage("svok dir") };
    if let Err(error) = std::env::set_current_dir(dir) {
        return VOICE.fatal(&[&"unable to chdir to ", dir], Some(&error));
    }
    match sys::file::open_write("supervise/ok") {
        Ok(_) => 0,
        Err(error) if error.kind() == ErrorKind::NotFound || no_reader(&error) => PERMANENT,
        Err(error) => VOICE.fatal(&[&"unable to open ", dir, &"/supervise/ok"], Some(&error)),
    }
}
