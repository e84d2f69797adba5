//! multilog: write a log, rotated by size, and never lose a line of it.
//!
//! *Runs as* a log account, or root · *hears* lines on descriptor 0 · *opens* its log directories
//! and status files · *speaks to* descriptor 2, for lines it is told to show and for trouble.

mod cut;
mod input;
mod line;
mod log;
mod pause;
mod processor;
mod script;

use crate::fences;
use crate::message::{Voice, say};
use base::tai::Label;
use input::Input;
use line::{HEAD, Lines, Piece};
use log::Log;
use pause::Patience;
use script::{Action, Script};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use sys::poll::{self, Interest};
use sys::signal::{self, Signal};

const VOICE: Voice = Voice("multilog");
/// Bytes of a line that `e` shows.
const ALERT: usize = 200;

/// `multilog action ...`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let script = Script::parse(args.get(1..).unwrap_or_default());
    match Multilog::open(script) {
        Ok(mut multilog) => multilog.run(),
        Err(code) => code,
    }
}

/// An action ready to be taken.
enum Step {
    Select(bool, Vec<u8>),
    Alert,
    Status(OsString, File),
    /// The log, and whether the line at hand goes there.
    Log(Box<Log>, bool),
}

/// A multilog at work.
struct Multilog {
    calm: Patience,
    input: Input,
    lines: Lines,
    steps: Vec<Step>,
}

impl Multilog {
    /// Opens everything before the first byte is read; the exit code, after a message, on trouble.
    fn open(script: Script) -> Result<Self, i32> {
        sys::file::umask(0o022);
        // Were it ignored, a processor's exit code could not be had.
        signal::default(Signal::Chld);
        let calm =
            Patience::new().map_err(|e| VOICE.fatal(&[&"unable to catch signals"], Some(&e)))?;
        let files = script.actions.iter().map(status_file).collect::<Result<Vec<_>, i32>>()?;
        let mut steps = Vec::new();
        for (action, file) in script.actions.into_iter().zip(files) {
            steps.push(match (action, file) {
                (Action::Select(to, pattern), _) => Step::Select(to, pattern),
                (Action::Status(name), Some(file)) => Step::Status(name, file),
                (Action::Log(keep), _) => Step::Log(Box::new(Log::open(keep, &calm)?), false),
                (Action::Alert | Action::Status(_), _) => Step::Alert,
            });
        }
        fence(&mut steps);
        Ok(Multilog { calm, input: Input::new(), lines: Lines::new(script.labels), steps })
    }

    /// Logs until the input ends or TERM comes.
    fn run(&mut self) -> i32 {
        while !self.calm.ending.get() {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.calm.complain(&[&"unable to read input"], Some(&error)),
            }
        }
        self.calm.lossless.set(false);
        self.finish_line();
        for log in logs(&mut self.steps) {
            log.close(&self.calm);
        }
        0
    }

    /// Waits for input or a signal and deals with it; false at the end of input.
    fn turn(&mut self) -> io::Result<bool> {
        let fds = [self.calm.as_fd(), sys::fd::stdin()];
        let ready = poll::ready(&fds, Interest::READ, None)?;
        self.calm.hear();
        if self.calm.rotate.take() {
            for log in logs(&mut self.steps) {
                log.rotate_if_any(&self.calm);
            }
        }
        if self.calm.ending.get() || ready.get(1) != Some(&true) {
            return Ok(true);
        }
        if !self.input.fill()? {
            return Ok(false);
        }
        self.calm.lossless.set(self.input.peeks() && !self.lines.within());
        for chunk in self.input.bytes().chunks(cut::CHUNK) {
            log_bytes(&mut self.lines, &mut self.steps, &self.calm, chunk);
        }
        for log in logs(&mut self.steps) {
            log.flush(&self.calm);
        }
        self.calm.lossless.set(false);
        self.input.consume()?;
        Ok(true)
    }

    /// Reads on, byte by byte, to the end of the line we are in: the rest is for the next process.
    fn finish_line(&mut self) {
        let mut byte = [0];
        while self.lines.within() && matches!(sys::fd::read(sys::fd::stdin(), &mut byte), Ok(1..)) {
            log_bytes(&mut self.lines, &mut self.steps, &self.calm, &byte);
        }
        let (steps, calm) = (&mut self.steps, &self.calm);
        self.lines.finish(&mut |piece| take(steps, calm, piece));
    }
}

/// Opens the file of a `=file` action.
fn status_file(action: &Action) -> Result<Option<File>, i32> {
    let Action::Status(name) = action else { return Ok(None) };
    sys::file::open_append(name)
        .map_err(|e| VOICE.fatal(&[&"unable to create ", name], Some(&e)))?;
    let file = sys::file::open_write(name)
        .map_err(|e| VOICE.fatal(&[&"unable to write ", name], Some(&e)))?;
    Ok(Some(file))
}

/// Keeps the log directories and nothing else, unless a log has a processor, which may be anything.
fn fence(steps: &mut [Step]) {
    if logs(steps).any(|log| log.keep.processor.is_some()) {
        return;
    }
    let fence = fences::multilog(logs(steps).map(|log| Path::new(&log.keep.dir)));
    if let Some(missing) = fence.close_or_tell() {
        VOICE.warning(&[&missing], None);
    }
}

/// The logs among the steps.
fn logs(steps: &mut [Step]) -> impl Iterator<Item = &mut Log> {
    steps.iter_mut().filter_map(|step| match step {
        Step::Log(log, _) => Some(&mut **log),
        Step::Select(..) | Step::Alert | Step::Status(..) => None,
    })
}

/// One chunk of input through lines and steps.
fn log_bytes(lines: &mut Lines, steps: &mut [Step], calm: &Patience, chunk: &[u8]) {
    let mut label = || Label::at(sys::clock::now());
    lines.feed(chunk, &mut label, &mut |piece| take(steps, calm, piece));
    for log in logs(steps) {
        log.chunk(calm);
    }
}

/// A piece of a line through the steps: its head is judged, its tail follows.
fn take(steps: &mut [Step], calm: &Patience, piece: Piece<'_>) {
    match piece {
        Piece::Head(line) => judge(steps, calm, line),
        Piece::Tail(bytes) => {
            for step in steps {
                if let Step::Log(log, true) = step {
                    log.tail(bytes, calm);
                }
            }
        }
    }
}

/// Takes each action on a line that is selected where it stands.
fn judge(steps: &mut [Step], calm: &Patience, line: &[u8]) {
    let mut selected = true;
    for step in steps {
        match step {
            Step::Select(to, pattern) => {
                if selected != *to && script::matches(pattern, line) {
                    selected = *to;
                }
            }
            Step::Alert if selected => alert(line),
            Step::Status(name, file) if selected => show(name, file, line, calm),
            Step::Alert | Step::Status(..) => {}
            Step::Log(log, goes) => {
                *goes = selected;
                if selected {
                    log.head(line, calm);
                }
            }
        }
    }
}

/// `e`: the start of the line on descriptor 2.
fn alert(line: &[u8]) {
    let shown = line.get(..ALERT).unwrap_or(line);
    let end: &[u8] = if line.len() > ALERT { b"...\n" } else { b"\n" };
    say(&[shown, end].concat());
}

/// `=file`: the line at the file's start, filled up with newlines.
fn show(name: &OsStr, file: &File, line: &[u8], calm: &Patience) {
    let mut content = line.to_vec();
    content.resize(HEAD + 1, b'\n');
    calm.insist(&[&"unable to write ", &name], || file.write_all_at(&content, 0));
}
