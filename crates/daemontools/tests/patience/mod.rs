//! Waiting in tests: for what must come, however slow the machine is, and never for a while in the
//! hope that it has come by then.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// As long as a test waits for what must come: it counts only where that is broken, not where the
/// machine is slow.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until something is so, and says how long that took; panics after [`LONG`].
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

/// Tries something until it is done within a time: on a machine that is busy anything may take long
/// now and then, but what is wrong takes long each time.
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

pub fn millis(n: u64) {
    sleep(Duration::from_millis(n));
}
