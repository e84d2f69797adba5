//! multilog: write a log, rotated by size, and never lose a line of it.
//!
//! *Runs as* a log account, or root · *hears* lines on descriptor 0 · *opens* its log directories
//! and status files · *speaks to* descriptor 2, for lines it is told to show and for trouble.

mod amount;
mod cut;
mod doubt;
mod input;
mod line;
mod log;
mod old;
mod pause;
mod place;
mod processor;
mod script;

use crate::fences;
use crate::message::{Voice, say};
use base::tai::Label;
use line::{HEAD, Lines, Piece};
use log::Log;
use pause::{Meanwhile, Patience};
use script::{Action, Script};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use sys::poll::{self, Interest};
use sys::signal::{self, Signal};

const VOICE: Voice = Voice("multilog");
/// Bytes of a line that `e` shows.
const ALERT: usize = 200;
/// So few bytes are no reason to be woken again at once.
const FEW: usize = 4096;
/// A wait for more of them; a pipe holds what comes meanwhile.
const NAP: Duration = Duration::from_micros(100);
/// The longest wait for the rest of a line without its being told of.
const HELD: Duration = Duration::from_secs(1);
/// The shortest and the longest wait for something that is due by the clock.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(3600);

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
    lines: Lines,
    /// Whether lines get a label.
    labels: bool,
    steps: Vec<Step>,
    /// Every line goes to every log as it is.
    plain: bool,
    /// Room for what is read.
    room: Vec<u8>,
    /// When the input was last looked at, in time since boot.
    looked: Duration,
}

impl Multilog {
    /// Opens everything before the first byte is read; the exit code, after a message, on trouble.
    fn open(script: Script) -> Result<Self, i32> {
        for (arg, odd) in &script.odd {
            let (before, after) = odd.words();
            VOICE.warning(&[&before, arg, &after], None);
        }
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
        let labels = script.labels;
        let plain = !labels && steps.iter().all(|step| matches!(step, Step::Log(..)));
        let room = vec![0; input::ROOM];
        Ok(Multilog {
            calm,
            lines: Lines::new(),
            labels,
            steps,
            plain,
            room,
            looked: Duration::ZERO,
        })
    }

    /// Logs until the input ends or TERM comes.
    fn run(&mut self) -> i32 {
        let mut tries = 0;
        while !self.calm.ending.get() {
            match self.turn() {
                Ok(true) => tries = 0,
                Ok(false) => break,
                Err(error) => {
                    let what = [&"unable to read input" as &dyn AsRef<OsStr>];
                    self.calm.complain(&what, Some(&error), &mut tries, Meanwhile::Wait);
                }
            }
        }
        self.calm.lossless.set(false);
        self.finish_line();
        self.own_up();
        for log in logs(&mut self.steps) {
            log.close(&self.calm);
        }
        self.give_up_if_removed();
        0
    }

    /// Waits for input, a signal or the time to do something, and deals with it; false at the end of
    /// input.
    fn turn(&mut self) -> io::Result<bool> {
        self.calm.lossless.set(!self.lines.within());
        let mut limit = self.tend();
        if self.calm.input.holds() {
            limit = Some(limit.map_or(HELD, |limit| limit.min(HELD)));
        }
        let fds = [self.calm.as_fd(), self.calm.input.news()];
        let ready = poll::ready(&fds, Interest::READ, limit)?;
        if ready.first() == Some(&true) {
            self.calm.hear();
        }
        if self.calm.rotate.take() {
            for log in logs(&mut self.steps) {
                log.rotate_if_any(&self.calm);
            }
        }
        // Between Linux 5.5 and 5.13 a pipe that is not empty does not always tell that it grows.
        let look = ready.get(1) == Some(&true) || self.calm.input.holds();
        if self.calm.ending.get() || !look {
            return Ok(true);
        }
        self.calm.input.hear()?;
        self.own_up();
        let peeks = self.calm.input.peeks();
        if !peeks {
            self.give_up_if_removed();
        }
        let Some(got) = self.calm.input.look(&mut self.room)? else { return Ok(false) };
        let began = sys::clock::monotonic();
        self.calm.lossless.set(peeks && !self.lines.within());
        let room = std::mem::take(&mut self.room);
        self.take_in(self.calm.input.mended(room.get(..got).unwrap_or_default()));
        self.room = room;
        if peeks {
            self.give_up_if_removed();
        }
        self.calm.lossless.set(!self.lines.within());
        self.calm.input.take_out()?;
        self.gather(got, began);
        Ok(true)
    }

    /// Where lines come fast, but each by itself, waits for some more of them: to be woken by each
    /// would cost more than to write it.
    fn gather(&mut self, got: usize, began: Duration) {
        if got < FEW && began.saturating_sub(self.looked) < NAP {
            sys::clock::sleep(NAP);
        }
        self.looked = began;
    }

    /// What is due by the clock; how long nothing else is. The clock may be set, so it is looked at
    /// once an hour.
    fn tend(&mut self) -> Option<Duration> {
        let due = logs(&mut self.steps).filter_map(|log| log.tend(&self.calm)).min()?;
        Some(due.clamp(SOONEST, LATEST))
    }

    /// Bytes of input through lines and steps into files.
    fn take_in(&mut self, bytes: &[u8]) {
        let rest = self.take_whole(bytes);
        for chunk in rest.chunks(cut::CHUNK) {
            let chunk = self.take_whole(chunk);
            if !chunk.is_empty() {
                self.log_bytes(chunk);
            }
        }
        for log in logs(&mut self.steps) {
            log.flush(&self.calm);
        }
    }

    /// Takes all lines at once if nothing is asked about them and no file ends among them; what is
    /// left.
    fn take_whole<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.plain || self.lines.within() {
            return bytes;
        }
        let Some(last) = bytes.iter().rposition(|&byte| byte == b'\n') else { return bytes };
        let (lines, rest) = bytes.split_at_checked(last.saturating_add(1)).unwrap_or((bytes, &[]));
        if !logs(&mut self.steps).all(|log| log.has_room_for(lines.len())) {
            return bytes;
        }
        for log in logs(&mut self.steps) {
            log.lines(lines, &self.calm);
        }
        rest
    }

    /// One chunk of input through lines and steps. Lines that begin in it, some ten or twenty, have
    /// one label: they are dealt with within microseconds, and a label knows no less.
    fn log_bytes(&mut self, chunk: &[u8]) {
        let mut label = Vec::new();
        if self.labels {
            label.extend_from_slice(&Label::at(sys::clock::now()).print());
            label.push(b' ');
        }
        let (steps, calm) = (&mut self.steps, &self.calm);
        self.lines.feed(chunk, &label, &mut |piece| take(steps, calm, piece));
        for log in logs(&mut self.steps) {
            log.chunk(&self.calm);
        }
    }

    /// Writes into the log how many lines were dropped, if some were.
    fn own_up(&mut self) {
        let lost = self.calm.input.lost();
        if lost > 0 {
            self.end_line();
            let line = format!("{}: warning: out of disk space, {lost} lines lost\n", VOICE.0);
            self.log_bytes(line.as_bytes());
            for log in logs(&mut self.steps) {
                log.flush(&self.calm);
            }
            self.calm.input.told(lost);
        }
    }

    /// Ends multilog if a log's directory was removed: what is written there is in no file that has a
    /// name. The next multilog may make a new one, and finds in the pipe what was not taken out of it.
    fn give_up_if_removed(&mut self) {
        if let Some(log) = logs(&mut self.steps).find(|log| log.is_gone()) {
            std::process::exit(log.place.told_removed());
        }
    }

    /// Reads on, byte by byte, to the end of the line we are in: the rest is for the next process.
    fn finish_line(&mut self) {
        let mut byte = [0];
        // The pipe's own trouble shows when it is read.
        let _ = self.calm.input.let_go();
        while self.lines.within() && matches!(sys::fd::read(sys::fd::stdin(), &mut byte), Ok(1..)) {
            self.log_bytes(&byte);
        }
        self.end_line();
    }

    /// Ends a line whose end did not come.
    fn end_line(&mut self) {
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
    if logs(steps).any(|log| log.place.keep.processor.is_some()) {
        return;
    }
    let fence = fences::multilog(logs(steps).map(|log| Path::new(log.place.name())));
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

/// A piece of a line through the steps: what its head is decides, its tail follows.
fn take(steps: &mut [Step], calm: &Patience, piece: Piece<'_>) {
    match piece {
        Piece::Line(line) => {
            let text = line.split_last().map_or(line, |(_, text)| text);
            judge(steps, calm, text, Some(line));
        }
        Piece::Head(head) => judge(steps, calm, head, None),
        Piece::Tail(bytes) => {
            for step in steps {
                if let Step::Log(log, true) = step {
                    log.tail(bytes, calm);
                }
            }
        }
    }
}

/// Takes each action on a line, seen up to `text`, that is selected where it stands. `whole` is the
/// line with its newline if nothing more comes.
fn judge(steps: &mut [Step], calm: &Patience, text: &[u8], whole: Option<&[u8]>) {
    let mut selected = true;
    for step in steps {
        match step {
            Step::Select(to, pattern) => {
                if selected != *to && script::matches(pattern, text) {
                    selected = *to;
                }
            }
            Step::Alert if selected => alert(text),
            Step::Status(name, file) if selected => show(name, file, text, calm),
            Step::Alert | Step::Status(..) => {}
            Step::Log(log, goes) => {
                *goes = selected;
                match whole {
                    Some(line) if selected => log.line(line, calm),
                    None if selected => log.head(text, calm),
                    _ => {}
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
