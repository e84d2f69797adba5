//! Making the processes: `./run` and `./finish`, each recorded before it execs, and with word back
//! to us if the exec fails.

use super::VOICE;
use super::heir::{self, Part};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;
use sys::signal::{self, Signal};
use sys::spawn::{self, Fork};

/// An exec takes milliseconds. If the disk is asleep we do not sleep with it for longer than this.
const EXEC: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// Which directory messages name.
    pub(super) dir: &'a OsStr,
    pub(super) part: Part,
    pub(super) argv: Vec<OsString>,
    /// The service's end of the channel for its newline, and its number there.
    pub(super) notify: Option<(OwnedFd, i32)>,
    /// Our lock.
    pub(super) lock: &'a File,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Launched {
    /// It runs; and, if it is not recorded, why.
    Runs(u32, Option<io::Error>),
    /// There is no process to be had.
    NoProcess(io::Error),
    /// The program cannot be run.
    NotRun(io::Error),
}

/// A word from the child: which, and the number of an error.
const WORD: usize = 5;
/// The record cannot be written.
const UNRECORDED: u8 = b'r';
/// The program cannot be run.
const UNRUN: u8 = b'x';

/// Starts a program, and waits until it is known whether it runs.
pub(super) fn launch(launch: &Launch<'_>) -> Launched {
    let (ours, childs) = match sys::fd::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return Launched::NoProcess(error),
    };
    match spawn::fork() {
        Ok(Fork::Parent(pid)) => {
            drop(childs);
            judge(pid, &hear(&ours))
        }
        Ok(Fork::Child) => become_program(launch, childs),
        Err(error) => Launched::NoProcess(error),
    }
}

/// What the child says before the exec, or its end, closes the pipe.
fn hear(ours: &OwnedFd) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buf = [0; WORD];
    while said.len() < 2 * WORD {
        match sys::fd::read_within(ours, &mut buf, EXEC) {
            Ok(got @ 1..) => said.extend(buf.iter().take(got)),
            Ok(0) | Err(_) => break,
        }
    }
    said
}

fn judge(pid: u32, said: &[u8]) -> Launched {
    let error = |word: u8| {
        let mut words = said.as_chunks::<WORD>().0.iter();
        words
            .find(|said| said[0] == word)
            .map(|&[_, a, b, c, d]| io::Error::from_raw_os_error(i32::from_le_bytes([a, b, c, d])))
    };
    match error(UNRUN) {
        Some(why) => {
            // It is on its way out.
            let _ = spawn::wait(pid);
            Launched::NotRun(why)
        }
        None => Launched::Runs(pid, error(UNRECORDED)),
    }
}

/// One word to whoever waits.
fn say(pipe: &OwnedFd, word: u8, error: &io::Error) -> bool {
    let [a, b, c, d] = sys::errno::number(error).to_le_bytes();
    sys::fd::write_all(pipe, &[word, a, b, c, d]).is_ok()
}

/// The child: says who it is, then becomes the program.
fn become_program(launch: &Launch<'_>, mut childs: OwnedFd) -> ! {
    if let Err(error) = heir::record(launch.part) {
        // Then the lock itself has to say that something runs here, for as long as it does.
        let _ = sys::fd::set_cloexec(launch.lock, false);
        say(&childs, UNRECORDED, &error);
    }
    if launch.part == Part::Finish {
        // So that all of it can be killed when its time is up.
        let _ = sys::process::new_group();
    }
    if let Some((end, number)) = &launch.notify {
        if childs.as_raw_fd() == *number
            && let Ok(elsewhere) = childs.try_clone()
        {
            childs = elsewhere;
        }
        if let Err(error) = sys::fd::place(end, *number) {
            VOICE.warning(&[&"unable to give ", &launch.dir, &" its descriptor"], Some(&error));
        }
    }
    signal::unblock_all();
    signal::default(Signal::Pipe);
    let program = launch.argv.first().map(OsString::as_os_str).unwrap_or_default();
    let error = spawn::exec(program, &launch.argv, None);
    // Should nobody wait for the number any more, it is for us to say.
    signal::ignore(Signal::Pipe);
    if !say(&childs, UNRUN, &error) {
        complain(launch.dir, launch.part, &error);
    }
    spawn::exit(111)
}

/// Says that a program cannot be run.
pub(super) fn complain(dir: &OsStr, part: Part, error: &io::Error) {
    let name = match part {
        Part::Run => "/run",
        Part::Finish => "/finish",
    };
    let _ = VOICE.fatal(&[&"unable to start ", &dir, &name], Some(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_childs_words_are_told_apart() {
        let said = |bytes: &[u8]| judge(7, bytes);
        assert!(matches!(said(b""), Launched::Runs(7, None)));
        assert!(matches!(said(b"r\x1c\0\0"), Launched::Runs(7, None)), "half a word");
        let Launched::Runs(7, Some(error)) = said(b"r\x1c\0\0\0") else { panic!() };
        assert_eq!(error.raw_os_error(), Some(28));
        // No child of that number: it is not waited for in vain.
        let Launched::NotRun(error) = said(b"r\x1c\0\0\0x\x02\0\0\0") else { panic!() };
        assert_eq!(error.raw_os_error(), Some(2));
    }
}
