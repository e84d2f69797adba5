//! Passing a finished log through the administrator's program.

use super::old::finish;
use super::pause::{Meanwhile, Patience};
use super::place::Place;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use sys::dir::{Dir, How};
use sys::spawn::{self, Command, Status};

/// Turns `previous` into `processed` and that into an old log; tries until the program succeeds.
pub(super) fn process(place: &Place, calm: &Patience) {
    let (dir, name) = (&place.dir, place.name());
    let Some(command) = &place.keep.processor else { return };
    let mut tries = 0;
    let (processed, newstate) = loop {
        let files = open(place, calm);
        let verb = match run(dir, command, &files, name, calm) {
            Status::Exited(0) => break (files.processed, files.newstate),
            Status::Exited(_) => "failed",
            Status::Killed(_) => "crashed",
        };
        // It may have had no room for what it writes.
        place.make_room_for(files.previous.metadata().map_or(0, |meta| meta.len()));
        let what: [&dyn AsRef<OsStr>; 4] = [&"processor ", &verb, &" in ", &name];
        calm.complain(&what, None, &mut tries, Meanwhile::Wait);
    };
    place.insist(calm, &[&"unable to write ", &name, &"/processed to disk"], || {
        processed.sync_all()
    });
    place.insist(calm, &[&"unable to set mode of ", &name, &"/processed"], || {
        processed.set_permissions(Permissions::from_mode(0o744))
    });
    place.insist(calm, &[&"unable to write ", &name, &"/newstate to disk"], || newstate.sync_all());
    place.insist(calm, &[&"unable to remove ", &name, &"/previous"], || dir.remove("previous"));
    place.insist(calm, &[&"unable to rename newstate to state in directory ", &name], || {
        dir.rename("newstate", "state")
    });
    finish(place, "processed", "s", calm);
}

/// What the program gets.
struct Files {
    previous: File,
    processed: File,
    state: File,
    newstate: File,
}

fn open(place: &Place, calm: &Patience) -> Files {
    let (dir, name) = (&place.dir, place.name());
    let get = |verb: &'static str, file: &'static str, how: How| {
        let what: [&dyn AsRef<OsStr>; 6] = [&"unable to ", &verb, &" ", &name, &"/", &file];
        place.insist(calm, &what, || dir.file(file, how))
    };
    Files {
        previous: get("read", "previous", How::Read),
        processed: get("create", "processed", How::Truncate),
        state: place.insist(calm, &[&"unable to read ", &name, &"/state"], || state(dir)),
        newstate: get("create", "newstate", How::Truncate),
    }
}

/// The state; an empty one if somebody removed it, rather than waiting for it for ever.
fn state(dir: &Dir) -> io::Result<File> {
    match dir.file("state", How::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            dir.file("state", How::Truncate)?;
            dir.file("state", How::Read)
        }
        other => other,
    }
}

/// Runs `sh -c command` in the log directory and waits for its end.
fn run(dir: &Dir, command: &OsStr, files: &Files, name: &OsStr, calm: &Patience) -> Status {
    let child = calm.insist(&[&"unable to fork for processor in ", &name], || {
        let here = Dir::open(".")?;
        dir.enter()?;
        let child = Command::new("/bin/sh")
            .argv0("sh")
            .arg("-c")
            .arg(command)
            .fd(files.previous.as_fd(), 0)
            .fd(files.processed.as_fd(), 1)
            .fd(files.state.as_fd(), 4)
            .fd(files.newstate.as_fd(), 5)
            .spawn();
        here.enter()?;
        child
    });
    calm.insist(&[&"wait failed for processor in ", &name], || spawn::wait(child))
}
