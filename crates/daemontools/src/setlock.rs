//! setlock: run a program holding a lock.
//!
//! *Runs as* whoever calls it · *hears* nobody · *opens* the lock file · *speaks to* nobody: it
//! becomes the program, which inherits the locked descriptor.

use crate::message::{Piece, Voice};
use crate::run::run;
use std::ffi::OsString;
use std::io;

const VOICE: Voice = Voice("setlock");
const USAGE: &str = "setlock [ -nNxX ] file program [ arg ... ]";

/// `setlock [-nNxX] file program [arg ...]`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let (options, rest) = match VOICE.getopt(args, "nNxX", USAGE) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let [file, child @ ..] = rest else { return VOICE.usage(USAGE) };
    if child.is_empty() {
        return VOICE.usage(USAGE);
    }
    let (mut wait, mut quiet) = (true, false);
    for option in &options {
        match option.letter {
            b'n' => wait = false,
            b'N' => wait = true,
            b'x' => quiet = true,
            _ => quiet = false,
        }
    }
    let lock = match sys::file::open_append(file) {
        Ok(lock) => lock,
        Err(error) => return trouble(quiet, &[&"unable to open ", file], &error),
    };
    let held = if wait { sys::lock::exclusive(&lock) } else { sys::lock::try_exclusive(&lock) };
    if let Err(error) = held.and_then(|()| sys::fd::set_cloexec(&lock, false)) {
        return trouble(quiet, &[&"unable to lock ", file], &error);
    }
    run(VOICE, child, None)
}

/// 0 without a word under -x, else the message and 111.
fn trouble(quiet: bool, pieces: &[Piece<'_>], error: &io::Error) -> i32 {
    if quiet { 0 } else { VOICE.fatal(pieces, Some(error)) }
}
