//! deliver the letters of the queue
//!
//! *Runs as* qmails · *hears* queued, the spawners' reports, qmail-clean, ALRM HUP TERM ·
//! *opens* `control/*`, `queue/lock/sendmutex` · *speaks to* queued, qmail-lspawn, qmail-rspawn,
//! qmail-clean, the log on descriptor 0.

mod channel;
mod courier;
mod destination;
mod helper;
mod lanes;
mod letters;
mod link;
mod notes;
mod pipe;
mod policy;
mod rewrite;
mod run;
mod schedule;
mod settings;

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::time::Duration;

use base::event::{Alert, Event as Log, reason};
use base::wire::spawn::{MAX_REPORT, Report};
use base::wire::{Malformed, frame::Frame};
use store::control::Control;
use store::home::Home;
use store::reach::Reach;
use sys::signal::{Signal, Signals};
use sys::{clock, fd, lock, signal, spawn};

use pipe::Inlet;
pub(crate) use policy::unusable;
use run::{Run, Wiring};
use settings::Settings;

/// More deliveries at a time than any machine should make.
const CEILING: u32 = 65_535;

/// The descriptors qmail-start prepared: commands to, reports from.
const LSPAWN: [i32; 2] = [1, 2];
const RSPAWN: [i32; 2] = [3, 4];
const CLEAN: [i32; 2] = [5, 6];

pub(crate) fn main(args: &[OsString]) -> i32 {
    if args.get(1).is_some_and(|word| word == "check") {
        return check();
    }
    // It hears at once of all that has ended meanwhile; without this, bit by bit.
    sys::sched::gather();
    match start() {
        Ok(run) => run.run(),
        Err(why) => {
            let mut line = Vec::new();
            Log::Alert(Alert::CannotStart(&why)).encode(&mut line);
            say(&line);
            111
        }
    }
}

/// Reads every control file as a start does, and says on stderr what cannot be used.
fn check() -> i32 {
    let home = Home::find().map_err(|err| err.to_string());
    match home.and_then(|home| Settings::read(&Control::new(&home))) {
        Ok(_) => 0,
        Err(why) => {
            sys::log::put(fd::stderr(), format!("qmail-send: fatal: {why}\n").as_bytes());
            111
        }
    }
}

/// Writes to the log.
fn say(lines: &[u8]) {
    sys::log::put(fd::stdin(), lines);
}

/// Everything up to the first `status:` line; the error is stock's reason, and the detail.
fn start() -> Result<Run, String> {
    let detail = |why: &str, err: &dyn std::fmt::Display| format!("{why}: {err}");
    let home = Home::find().map_err(|err| detail(reason::HOME, &err))?;
    let entered = std::env::set_current_dir(home.root());
    entered.map_err(|err| detail(reason::HOME, &sys::errno::text(&err)))?;
    let control = Control::new(&home);
    let settings = Settings::read(&control).map_err(|err| detail(reason::CONTROLS, &err))?;
    match std::fs::metadata(home.path("queue")) {
        Ok(queue) if queue.is_dir() => {}
        Ok(_) => return Err(reason::QUEUE.to_owned()),
        Err(err) => return Err(detail(reason::QUEUE, &sys::errno::text(&err))),
    }
    let _ = sys::file::umask(0o077);
    let mutex = open_mutex(&home).map_err(|err| detail(reason::MUTEX, &sys::errno::text(&err)))?;
    lock::try_exclusive(&mutex).map_err(|err| match err.kind() {
        io::ErrorKind::WouldBlock => reason::RUNNING.to_owned(),
        _ => detail(reason::MUTEX, &sys::errno::text(&err)),
    })?;
    signal::ignore(Signal::Pipe);
    let signals = Signals::catch(&[Signal::Term, Signal::Alrm, Signal::Hup]);
    let signals = signals.map_err(|err| err.to_string())?;
    let ends = |[commands, reports]: [i32; 2]| (fd::take(commands), Inlet::new(fd::take(reports)));
    let mut spawners = [ends(LSPAWN), ends(RSPAWN)];
    let mut limits = settings.concurrency;
    for (limit, (_, reports)) in limits.iter_mut().zip(&mut spawners) {
        let ceiling = ceiling(reports).ok_or_else(no_fire)?;
        *limit = (*limit).min(ceiling).min(CEILING);
    }
    // The program that takes bounces in qmail-queue's place would have to run in our fence.
    let program = std::env::var_os("QMAILQUEUE").is_some_and(|program| !program.is_empty());
    let noted = Reach::note(&mutex, (!program).then_some(&home));
    noted.map_err(|err| detail(reason::MUTEX, &sys::errno::text(&err)))?;
    let wiring = Wiring { spawners, clean: ends(CLEAN), signals, mutex };
    if !program && let Some(missing) = crate::fences::send(home.root()).close_or_tell() {
        say(format!("warning: {missing}\n").as_bytes());
    }
    Run::new(home, control, settings, limits, wiring).map_err(|err| err.to_string())
}

/// Stock's reason for a spawner that says nothing, behind a line of how it ended: the kernel may tell
/// a moment after its pipe breaks.
fn no_fire() -> String {
    for _ in 0..50 {
        if let Ok(Some((child, status))) = spawn::reap() {
            let (mut line, how) = (Vec::new(), status.to_string());
            Log::Alert(Alert::Ended { program: "qmail-start", child, how: &how }).encode(&mut line);
            say(&line);
            break;
        }
        clock::sleep(Duration::from_millis(10));
    }
    reason::SPAWN.to_owned()
}

/// The file whose lock makes us the only one.
fn open_mutex(home: &Home) -> io::Result<File> {
    let dir = home.path("queue/lock");
    // Usually it is there; if it cannot be made, opening the file says why.
    let _ = DirBuilder::new().mode(0o750).create(&dir);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("sendmutex"))
}

/// Waits for a spawner to say how many deliveries it makes at a time.
fn ceiling(reports: &mut Inlet) -> Option<u32> {
    let read = |frame: Frame<'_>| match Report::decode(frame)? {
        Report::Ceiling(n) => Ok(n),
        Report::Made(_) | Report::Ended { .. } => Err(Malformed),
    };
    loop {
        if let Some(n) = reports.frame(MAX_REPORT, read).ok()? {
            return Some(n);
        }
        if !reports.fill().ok()? {
            return None;
        }
    }
}
