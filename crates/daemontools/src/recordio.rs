//! recordio: run a program and show what it hears and says. fixcrio: run a program and put in the CRs
//! that line ends lack.
//!
//! *Runs as* whoever calls them · *hears* the client on descriptor 0, the program on a pipe · *opens*
//! two pipes · *speaks to* both; recordio to the log on descriptor 2.
//!
//! The caller's process becomes the program, so that its exit code is the program's; a child stands
//! in between.

use crate::crlf::Change;
use crate::message::Voice;
use crate::relay::{self, Flow, Told};
use crate::run::run;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use sys::signal::{self, Signal};
use sys::spawn::Fork;

/// `recordio program [arg ...]`. Exit code the program's; 100 for misuse; 111 if it cannot be run.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let voice = Voice("recordio");
    let Some(program) = program(args) else {
        return voice.usage("recordio program [ arg ... ]");
    };
    let pid = std::process::id();
    between(
        voice,
        program,
        |up, down| (up.told(Told { pid, sign: '<' }), down.told(Told { pid, sign: '>' })),
        Change::Nothing,
    )
}

/// `fixcrio program [arg ...]`. Exit codes as recordio's.
pub(crate) fn fixcrio(args: &[OsString]) -> i32 {
    let voice = Voice("fixcrio");
    let Some(program) = program(args) else {
        return voice.usage("fixcrio program [ arg ... ]");
    };
    between(voice, program, |up, down| (up, down), Change::fix())
}

fn program(args: &[OsString]) -> Option<&[OsString]> {
    args.get(1..).filter(|program| !program.is_empty())
}

/// Runs the program with a child between it and descriptors 0 and 1.
fn between(
    voice: Voice,
    program: &[OsString],
    arrange: impl FnOnce(Flow, Flow) -> (Flow, Flow),
    change: Change,
) -> i32 {
    let pipes = sys::fd::pipe().and_then(|up| Ok((up, sys::fd::pipe()?)));
    let ((program_in, up), (down, program_out)) = match pipes {
        Ok(pipes) => pipes,
        Err(error) => return voice.fatal(&[&"unable to create pipe"], Some(&error)),
    };
    match sys::spawn::fork() {
        Err(error) => voice.fatal(&[&"unable to fork"], Some(&error)),
        Ok(Fork::Child) => {
            drop((program_in, program_out));
            let up = Flow::new(sys::fd::take(0), up, change);
            let down = Flow::new(down, sys::fd::take(1), change);
            stand_between(arrange(up, down))
        }
        Ok(Fork::Parent(_)) => {
            drop((up, down));
            become_it(voice, program, &[program_in, program_out])
        }
    }
}

/// The child's life; it ends with what the program says, or with who hears it.
fn stand_between((up, down): (Flow, Flow)) -> ! {
    signal::ignore(Signal::Pipe);
    // As far as the kernel can: it has all it needs, and nobody reads a word of it about fences.
    let _ = crate::fences::one_connection().close_paths();
    let _gone = relay::run(up, down);
    sys::spawn::exit(0)
}

fn become_it(voice: Voice, program: &[OsString], ends: &[OwnedFd; 2]) -> i32 {
    for (end, number) in ends.iter().zip(0..) {
        if let Err(error) = sys::fd::place(end, number) {
            return voice.fatal(&[&"unable to move descriptors"], Some(&error));
        }
    }
    run(voice, program, None)
}
