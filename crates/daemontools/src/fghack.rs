//! fghack: keep a program that puts itself into the background in the foreground.
//!
//! *Runs as* whoever calls it · *hears* bytes it throws away · *opens* a pipe · *speaks to* nobody.
//!
//! The program gets 31 descriptors of a pipe; fghack waits until the last copy is closed. Daemons
//! close a few descriptors, seldom that many.

use crate::message::Voice;
use crate::run::run;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use sys::signal::{self, Signal};
use sys::spawn::{Fork, Status};

const VOICE: Voice = Voice("fghack");
/// Descriptors of the pipe besides its write end.
const COPIES: usize = 30;

/// `fghack child`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let Some((_, child)) = args.split_first().filter(|(_, child)| !child.is_empty()) else {
        return VOICE.usage("fghack child");
    };
    signal::default(Signal::Chld);
    let (read, write) = match sys::fd::pipe() {
        Ok(ends) => ends,
        Err(error) => return VOICE.fatal(&[&"unable to create pipe"], Some(&error)),
    };
    match sys::spawn::fork() {
        Err(error) => VOICE.fatal(&[&"unable to fork"], Some(&error)),
        Ok(Fork::Child) => {
            drop(read);
            let _copies = multiply(&write);
            run(VOICE, child, None)
        }
        Ok(Fork::Parent(pid)) => {
            drop(write);
            wait_for_end(&read);
            match sys::spawn::wait(pid) {
                Ok(Status::Exited(code)) => i32::from(code),
                Ok(Status::Killed(_)) => VOICE.fatal(&[&"child crashed"], None),
                Err(error) => VOICE.fatal(&[&"wait failed"], Some(&error)),
            }
        }
    }
}

/// Makes the write end and its copies such that the program inherits them.
fn multiply(write: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    sys::fd::set_cloexec(write, false)?;
    (0..COPIES)
        .map(|_| {
            let copy = write.try_clone()?;
            sys::fd::set_cloexec(&copy, false)?;
            Ok(copy)
        })
        .collect()
}

fn wait_for_end(read: &OwnedFd) {
    let mut buf = [0; 1024];
    while matches!(sys::fd::read(read, &mut buf), Ok(1..)) {}
}
