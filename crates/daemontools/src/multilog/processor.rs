//! Passing a finished log through the administrator's program.

use super::log::{Log, finish};
use super::pause::Patience;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use sys::dir::{Dir, How};
use sys::spawn::{self, Command, Status};

/// Turns `previous` into `processed` and that into an old log; tries until the program succeeds.
pub(super) fn process(log: &Log, calm: &Patience) {
    let (dir, name) = (&log.dir, &log.keep.dir);
    let Some(command) = &log.keep.processor else { return };
    let (processed, newstate) = loop {
        let files = open(dir, name, calm);
        let status = run(dir, command, &files, name, calm);
        match status {
            Status::Exited(0) => break (files.processed, files.newstate),
            Status::Exited(_) => calm.complain(&[&"processor failed in ", name], None),
            Status::Killed(_) => calm.complain(&[&"processor crashed in ", name], None),
        }
    };
    calm.insist(&[&"unable to write ", name, &"/processed to disk"], || processed.sync_all());
    calm.insist(&[&"unable to set mode of ", name, &"/processed"], || {
        processed.set_permissions(Permissions::from_mode(0o744))
    });
    calm.insist(&[&"unable to write ", name, &"/newstate to disk"], || newstate.sync_all());
    calm.insist(&[&"unable to remove ", name, &"/previous"], || dir.remove("previous"));
    calm.insist(&[&"unable to rename newstate to state in directory ", name], || {
        dir.rename("newstate", "state")
    });
    finish(dir, &log.keep, "processed", "s", calm);
}

/// What the program gets.
struct Files {
    previous: File,
    processed: File,
    state: File,
    newstate: File,
}

fn open(dir: &Dir, name: &OsStr, calm: &Patience) -> Files {
    let get = |verb: &'static str, file: &'static str, how: How| {
        calm.insist(&[&"unable to ", &verb, &" ", &name, &"/", &file], || dir.file(file, how))
    };
    Files {
        previous: get("read", "previous", How::Read),
        processed: get("create", "processed", How::Truncate),
        state: calm.insist(&[&"unable to read ", &name, &"/state"], || state(dir)),
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
