//! What a benchmark has started ends with it, however it ends.
//!
//! The servers put themselves into the background, or lead groups of their own: a signal to the
//! benchmark would not reach them. So it runs in a child; this process adopts whatever the child
//! leaves behind, and ends it.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use sys::signal::{self, Signal, Signals};
use sys::spawn::{self, Status};

use super::census::{descendants, field};
use crate::tally::Trouble;

/// How long servers get to stop in order, and then to stop at all.
const PATIENCE: [(Signal, Duration); 2] =
    [(Signal::Term, Duration::from_secs(30)), (Signal::Term, Duration::from_secs(5))];

/// From here on INT, TERM and HUP wait until [`Guard::run`] looks for them.
pub(super) struct Guard(Signals);

impl Guard {
    /// Begins; no thread and no server may exist yet.
    pub(super) fn begin() -> Result<Self, Trouble> {
        let stop = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::catch(&stop).map_err(|e| format!("signals: {e}"))?;
        sys::process::adopt_orphans().map_err(|e| format!("adopting orphans: {e}"))?;
        Ok(Self(signals))
    }

    /// Runs this command once more with two arguments at its end; whatever is left when it has
    /// ended, or when a signal comes, is ended.
    pub(super) fn run(&self, option: &str, place: &Path) -> Result<(), Trouble> {
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let args: Vec<OsString> = std::env::args_os().skip(1).collect();
        let command = spawn::Command::new(&me).args(&args).arg(option).arg(place);
        let child = command.spawn().map_err(|e| format!("{}: {e}", me.display()))?;
        let done = self.wait(child);
        if done.is_err() {
            println!("stopping the servers");
        }
        end_all(child)?;
        done
    }

    /// Waits for the child or a signal.
    fn wait(&self, child: u32) -> Result<(), Trouble> {
        loop {
            while let Some((pid, status)) = spawn::reap().map_err(|e| e.to_string())? {
                match status {
                    Status::Exited(0) if pid == child => return Ok(()),
                    // It has said why.
                    Status::Exited(_) if pid == child => return Err(Trouble::new()),
                    Status::Killed(_) if pid == child => return Err(format!("bench: {status}")),
                    _ => (),
                }
            }
            if let Some(signal) = self.0.next().map_err(|e| format!("signals: {e}"))? {
                return Err(format!("ended by {signal:?}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Ends every process below this one: first the child, which would start more; then those at the
/// top, which stop the rest in order; then all that are left.
fn end_all(child: u32) -> Result<(), Trouble> {
    let me = std::process::id();
    if left()?.contains(&child) {
        let _ = signal::kill(child, Signal::Kill);
    }
    for (patience, all) in PATIENCE.into_iter().zip([false, true]) {
        for pid in left()?.into_iter().filter(|&pid| all || parent(pid) == Some(me)) {
            let _ = signal::kill(pid, patience.0);
        }
        let until = Instant::now() + patience.1;
        while Instant::now() < until {
            if left()?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let stubborn = left()?;
    stubborn.iter().for_each(|&pid| drop(signal::kill(pid, Signal::Kill)));
    Err(format!("killed, as they did not stop: {stubborn:?}"))
}

/// What lives below this process; what has ended is reaped.
fn left() -> Result<Vec<u32>, Trouble> {
    while spawn::reap().map_err(|e| e.to_string())?.is_some() {}
    let me = std::process::id();
    Ok(descendants(me).into_iter().filter(|&pid| pid != me).collect())
}

fn parent(pid: u32) -> Option<u32> {
    field(Path::new(&format!("/proc/{pid}")), "status", "PPid:").map(|ppid| ppid as u32)
}
