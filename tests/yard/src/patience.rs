//! Waiting in tests: for what must come, however slow the machine is, and never for a while in the
//! hope that it has come by then.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// As long as a test waits for what must come: it counts only where that is broken, not where the
/// machine is slow.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until something is so, and says how long that took.
///
/// # Panics
/// It is not so within [`LONG`].
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while began.elapsed() < LONG {
        if so() {
            return began.elapsed();
        }
        sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

/// Tries something until it is done within a time, for at least a minute: on a machine that is busy
/// anything may take long now and then, but what is built to take long does so each time. Only for
/// such delays: what takes long now and then passes here, and is found by the median of many tries.
///
/// # Panics
/// It never took less.
pub fn quick_once(what: &str, within: Duration, mut deed: impl FnMut() -> Duration) {
    let (began, mut took) = (Instant::now(), Vec::new());
    while took.len() < 8 || began.elapsed() < LONG {
        took.push(deed());
        if took.last().is_some_and(|took| *took < within) {
            return;
        }
    }
    panic!("{what} takes {took:?}");
}

/// Waits until a process has done what it can do for now: it sleeps, and is not woken for a while.
///
/// # Panics
/// It is not so within [`LONG`].
pub fn at_rest(pid: u32) {
    let sleeps = || -> Option<Vec<String>> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let lines = text.lines().filter(|line| line.contains("State:") || line.contains("ctxt"));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.first()?.contains("(sleeping)").then_some(lines)
    };
    eventually("the process is at rest", || {
        let before = sleeps();
        millis(30);
        before.is_some() && sleeps() == before
    });
}

/// Sleeps.
pub fn millis(n: u64) {
    sleep(Duration::from_millis(n));
}
