//! A clean parent and its owner, in real processes. This file is both programs: with `$BROOD_FD`
//! in its environment it is the clean parent. No test harness, so that there is one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use sys::brood::{self, Brood, Event, Serve};
use sys::poll::{self, Interest};
use sys::spawn::{self, Status};
use sys::{fd, pass};

fn main() {
    if let Some(sock) = brood::requested() {
        assert!(std::env::var_os(brood::VARIABLE).is_none());
        let limits = Serve { max_children: 2, retire_after: 5 };
        brood::serve(sock, limits, child).unwrap();
        return;
    }
    a_child_gets_payload_and_descriptors_and_its_end_is_told();
    a_killed_child_retires_the_parent_and_later_jobs_are_refused_or_fail();
    the_parent_retires_after_its_jobs();
    no_more_children_run_than_allowed();
    the_parent_lets_its_children_finish_when_the_owner_is_gone();
    a_dead_parent_is_the_end_of_its_answers();
    a_program_that_cannot_start_is_an_error();
}

/// What the payload says: a line to write, a code to exit with, or to wait for the other side.
fn child(payload: &[u8], mut fds: Vec<OwnedFd>) -> i32 {
    let fd = fds.pop().unwrap();
    let _ = fd::write_all(&fd, b"hello\n");
    match payload {
        b"crash" => {
            sys::signal::kill(std::process::id(), sys::signal::Signal::Kill).unwrap();
            1
        }
        b"wait" => {
            let _ = fd::read(&fd, &mut [0; 1]);
            let _ = fd::write_all(&fd, b"bye\n");
            3
        }
        _ => i32::from(payload.len() > 10),
    }
}

fn start() -> Brood {
    let program = std::env::current_exe().unwrap();
    let env = [(OsString::from("WORD"), OsString::from("x"))];
    Brood::spawn(program.as_os_str(), &["brood".into()], &env, None).unwrap()
}

/// The next answer, waiting for it.
fn next(brood: &Brood) -> std::io::Result<Event> {
    loop {
        poll::ready(&[brood.fd()], Interest::READ, Some(Duration::from_secs(10)))?;
        if let Some(event) = brood.next()? {
            return Ok(event);
        }
    }
}

/// Hands over a job; returns our end of its descriptor.
fn job(brood: &Brood, serial: u64, payload: &[u8]) -> OwnedFd {
    let (ours, theirs) = pass::pair(pass::Kind::Stream).unwrap();
    brood.hand_over(serial, payload, &[theirs.as_fd()]).unwrap();
    ours
}

fn started(brood: &Brood, wanted: u64) -> u32 {
    match next(brood).unwrap() {
        Event::Started { serial, pid } if serial == wanted => pid,
        event => panic!("{event:?}"),
    }
}

fn end(brood: Brood) {
    let pid = brood.pid();
    drop(brood);
    assert_eq!(spawn::wait(pid).unwrap(), Status::Exited(0));
}

fn a_child_gets_payload_and_descriptors_and_its_end_is_told() {
    let brood = start();
    let conn = job(&brood, 7, b"more than ten bytes");
    assert_ne!(started(&brood, 7), brood.pid());
    assert_eq!(next(&brood).unwrap(), Event::Ended { serial: 7, status: Status::Exited(1) });
    assert_eq!(fd::read_to_end(&conn, 100).unwrap(), b"hello\n");
    end(brood);
}

fn a_killed_child_retires_the_parent_and_later_jobs_are_refused_or_fail() {
    let brood = start();
    let _conn = job(&brood, 1, b"crash");
    started(&brood, 1);
    assert_eq!(next(&brood).unwrap(), Event::Ended { serial: 1, status: Status::Killed(9) });
    assert_eq!(next(&brood).unwrap(), Event::Retired);
    let (_ours, theirs) = pass::pair(pass::Kind::Stream).unwrap();
    assert!(brood.hand_over(2, b"", &[theirs.as_fd()]).is_err());
    assert!(next(&brood).is_err());
    end(brood);
}

fn the_parent_retires_after_its_jobs() {
    let brood = start();
    let conns: Vec<OwnedFd> = (0..5).map(|serial| job(&brood, serial, b"")).collect();
    let mut seen = Vec::new();
    while let Ok(event) = next(&brood) {
        seen.push(event);
    }
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::Started { .. })).count(), 5);
    assert_eq!(seen.iter().filter(|event| matches!(event, Event::Ended { .. })).count(), 5);
    assert_eq!(seen.iter().filter(|event| **event == Event::Retired).count(), 1);
    assert_eq!(conns.len(), 5);
    end(brood);
}

fn no_more_children_run_than_allowed() {
    let brood = start();
    let conns: Vec<OwnedFd> = (0..3).map(|serial| job(&brood, serial, b"wait")).collect();
    started(&brood, 0);
    started(&brood, 1);
    assert!(brood.ready());
    let quiet = poll::ready(&[brood.fd()], Interest::READ, Some(Duration::from_millis(100)));
    assert_eq!(quiet.unwrap(), [false]);
    fd::write_all(conns.first().unwrap(), b"x").unwrap();
    assert_eq!(next(&brood).unwrap(), Event::Ended { serial: 0, status: Status::Exited(3) });
    started(&brood, 2);
    drop(conns);
    end(brood);
}

fn the_parent_lets_its_children_finish_when_the_owner_is_gone() {
    let brood = start();
    let conn = job(&brood, 1, b"wait");
    started(&brood, 1);
    let pid = brood.pid();
    drop(brood);
    fd::write_all(&conn, b"x").unwrap();
    assert_eq!(fd::read_to_end(&conn, 100).unwrap(), b"hello\nbye\n");
    assert_eq!(spawn::wait(pid).unwrap(), Status::Exited(0));
}

fn a_dead_parent_is_the_end_of_its_answers() {
    let brood = start();
    sys::signal::kill(brood.pid(), sys::signal::Signal::Kill).unwrap();
    assert_eq!(next(&brood).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(spawn::wait(brood.pid()).unwrap(), Status::Killed(9));
}

fn a_program_that_cannot_start_is_an_error() {
    assert!(Brood::spawn("/no/such/program".as_ref(), &[], &[], None).is_err());
}
