//! qmail-popup started as root, with a program that checks secrets and becomes the user, as the run
//! scripts of old do it.
//!
//! Whoever may change user hears no stranger. So there are two processes: one becomes qmaild, for good,
//! and talks to the client; the other, the keeper, stays what it is, hears one bounded message from
//! the first, and starts the program on it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use base::limits;
use base::wire::login::{Login, Verb};
use proto::pop3::login::{Credentials, Verdict};
use sys::fd;
use sys::pass::{self, Kind};
use sys::spawn::{self, Fork};
use sys::user::{self, Ids};

use super::ends::Ends;
use super::entry::{Entry, ask_program, wipe};
use super::{Circumstances, say, serve};
use crate::fences;

/// Room for a login: a verb, and three texts with what frames them.
const ROOM: usize = 4 * limits::LOGIN;

/// Serves the client on descriptors 0 and 1 in two processes; the exit code.
pub(super) fn serve_apart(
    host: &[u8],
    command: &[OsString],
    role: &Ids,
    about: &Circumstances,
) -> i32 {
    let parted = pass::pair(Kind::Seqpacket).and_then(|ends| Ok((ends, spawn::fork()?)));
    match parted {
        Ok(((keeper, front), Fork::Child)) => {
            // Or else its end would not be heard here.
            drop(keeper);
            spawn::exit(hear(front, host, role, about))
        }
        Ok(((keeper, front), Fork::Parent(pid))) => {
            drop(front);
            keep(&keeper, command, about);
            drop(keeper);
            spawn::wait(pid).ok().and_then(spawn::Status::code).map_or(1, i32::from)
        }
        Err(err) => {
            say(&format!("fatal: unable to become two processes: {err}"));
            111
        }
    }
}

/// The process that hears the client.
fn hear(front: OwnedFd, host: &[u8], role: &Ids, about: &Circumstances) -> i32 {
    if let Err(err) = user::drop_to(role) {
        say(&format!("fatal: unable to become qmaild: {err}"));
        return 111;
    }
    if let Some(missing) = fences::popup().close_or_tell() {
        say(&format!("warning: {missing}"));
    }
    serve(Ends::two(fd::take(0), fd::take(1)), host, &Entry::Keeper(front), about)
}

/// The process that starts the program, once, if it is asked to.
fn keep(front: &OwnedFd, command: &[OsString], about: &Circumstances) {
    let ends = Ends::two(fd::take(0), fd::take(1));
    let mut message = vec![0; ROOM];
    // A client that went away before it logged in is the usual end of this.
    let Ok((length, _none)) = pass::recv(front, &mut message, 0) else { return };
    let verdict = match Login::decode(message.get(..length).unwrap_or_default()) {
        Ok(login) => ask_program(command, &login, &ends, about).unwrap_or_else(|text| {
            say(&format!("warning: {text}"));
            Verdict::Trouble
        }),
        Err(_) => Verdict::Trouble,
    };
    wipe(message);
    // Nobody is left to be told if the client's process is gone.
    let _ = pass::send(front, &[letter(verdict)], &[]);
}

/// Asks the keeper.
pub(super) fn ask(
    keeper: &OwnedFd,
    credentials: &Credentials,
    timestamp: &[u8],
) -> Result<Verdict, String> {
    let trouble = |err: io::Error| format!("unable to ask the process that starts programs: {err}");
    let mut message = Vec::with_capacity(limits::LOGIN);
    let (name, secret) = (&credentials.name[..], &credentials.secret[..]);
    Login { verb: Verb::Open, name, secret, timestamp }.encode(&mut message);
    let sent = pass::send(keeper, &message, &[]);
    wipe(message);
    sent.map_err(trouble)?;
    let mut answer = [0];
    // As long as the mailbox is served.
    let (length, _none) = pass::recv(keeper.as_fd(), &mut answer, 0).map_err(trouble)?;
    Ok(answer.get(..length).map_or(Verdict::Trouble, verdict))
}

const fn letter(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Served => b'K',
        Verdict::Refused => b'D',
        Verdict::Busy => b'B',
        Verdict::Crashed => b'C',
        Verdict::Trouble => b'Z',
    }
}

fn verdict(answer: &[u8]) -> Verdict {
    match answer {
        b"K" => Verdict::Served,
        b"D" => Verdict::Refused,
        b"B" => Verdict::Busy,
        b"C" => Verdict::Crashed,
        _ => Verdict::Trouble,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_crosses_and_no_answer_is_trouble() {
        for sent in
            [Verdict::Served, Verdict::Refused, Verdict::Busy, Verdict::Crashed, Verdict::Trouble]
        {
            assert_eq!(verdict(&[letter(sent)]), sent);
        }
        assert_eq!(verdict(b""), Verdict::Trouble);
    }
}
