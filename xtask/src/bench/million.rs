//! A start with a million letters waiting: how long, how much memory, and how soon the first retry
//! that is due is sent. Ours alone: the limits are absolute.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Peer;
use super::census::{descendants, field};
use super::median;
use super::ours::Ours;
use super::sink::Sink;
use super::what::Stage;
use crate::tally::{Trouble, run};

/// How long a start may take before it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Starts measured.
const STARTS: usize = 3;

/// One start: milliseconds from the start of svscan, kilobytes at the end.
struct Start {
    ready: f64,
    sent: f64,
    queued: u64,
    send: u64,
}

/// Fills a queue, starts with it several times, and prints.
pub(super) fn report(dir: &Path, letters: u32) -> Result<(), Trouble> {
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let mut ours = Ours::start(dir)?;
    println!("\nqueue: qmail-rs alone, {letters} letters waiting, every thousandth due");
    let mut starts = Vec::new();
    while starts.len() < STARTS {
        starts.push(start(&mut ours, dir, letters)?);
    }
    let of = |what: fn(&Start) -> f64| median(&starts.iter().map(what).collect::<Vec<_>>());
    println!("  medians of {STARTS} starts, each with the queue filled anew:");
    println!("  svscan to `ready`: {:.2} s", of(|s| s.ready) / 1e3);
    println!("  `ready` to the first retry at smtp-sink: {:.2} s", of(|s| s.sent - s.ready) / 1e3);
    let mb = |kb: f64| kb / 1024.0;
    println!(
        "  resident then: qmail-queued {:.0} MiB, qmail-send {:.0} MiB",
        mb(of(|s| s.queued as f64)),
        mb(of(|s| s.send as f64)),
    );
    Ok(())
}

fn start(ours: &mut Ours, dir: &Path, letters: u32) -> Result<Start, Trouble> {
    let sink = Sink::start(dir)?;
    ours.ready(&Stage::Relay(vec![(None, sink.address.clone())]))?;
    let begun = ours.restart_after(|home| fill(home, letters))?;
    let ready = until(begun, "queued is not ready", || ours.says_ready(letters))?;
    let sent = until(begun, "no retry arrived", || sink.letters() > 0)?;
    let resident = |name: &str| {
        let named = |pid: &u32| {
            let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = cmdline.split(|&c| c == 0).next().unwrap_or_default();
            program.ends_with(name.as_bytes())
        };
        let pids = descendants(ours.pid()).into_iter().filter(named);
        let resident = |pid| field(&PathBuf::from(format!("/proc/{pid}")), "status", "VmRSS:");
        pids.filter_map(resident).max().unwrap_or(0)
    };
    Ok(Start { ready, sent, queued: resident("qmail-queued"), send: resident("qmail-send") })
}

/// Milliseconds since `begun` when something has happened.
fn until(begun: Instant, not: &str, happened: impl Fn() -> bool) -> Result<f64, Trouble> {
    while !happened() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{not} after {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// A fresh queue of so many letters in a home in which nothing runs.
fn fill(home: &Path, letters: u32) -> Result<(), Trouble> {
    let queue = home.join("queue");
    let owner = std::fs::metadata(&queue).map_err(|e| format!("{}: {e}", queue.display()))?;
    let log = queue.join("log");
    std::fs::remove_dir_all(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package", "crash", "--", "fill"]);
    run(cargo.arg(home).arg(letters.to_string()).stdout(std::process::Stdio::null()))?;
    let owner = format!("{}:{}", owner.uid(), owner.gid());
    run(Command::new("chown").arg("-R").arg(owner).arg(&log))
}
