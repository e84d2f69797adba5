//! A thousand services under one svscan: how long until all are up, what they cost while nothing
//! happens, and how long until one that was killed is back.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;
use sys::signal::{Signal, kill};

use super::debian::Debian;
use super::stage::{directory, make_home, write};
use crate::tally::{Ending, Trouble, findings};

/// Services; stock's svscan starts no more.
const SERVICES: usize = 1_000;
/// How long anything may take here, before it counts as never.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// What is asked of ours, on a machine that is not so slow that it takes longer to start as many
/// programs: see [`Figures::patience`].
const UP_WITHIN: Duration = Duration::from_secs(10);
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// Programs that are started one after another to see how fast the machine does that.
const MEASURED: u32 = 50;
/// So many of them one service may cost, and a return.
const STARTS_A_SERVICE: u32 = 8;
const STARTS_A_RETURN: u32 = 100;
/// Of one processor, in percent; the least of so many tries.
const IDLE_TRIES: u32 = 3;
/// Of one processor, in percent.
const IDLE_BELOW: f64 = 1.0;
/// Of each supervise's own memory, in KiB.
const PRIVATE_BELOW: u64 = 200;

/// What was seen.
struct Figures {
    up: Duration,
    idle: f64,
    service_back: Duration,
    supervise_back: Duration,
    private: u64,
    /// What a program costs that does nothing, at the slower of two times.
    start: Duration,
}

/// Ours, held to what is asked.
pub(crate) fn ours(yard: &Path) -> Ending {
    let home = yard.join("home");
    let seen = make_home(&home, &yard.join("bin")).and_then(|()| figures(yard, &home.join("bin")));
    match seen {
        Err(why) => Ending::Failed(why),
        Ok(seen) => findings(&seen.short_of()),
    }
}

/// Debian's, for comparison.
pub(crate) fn debians(yard: &Path, debian: &Debian) -> Ending {
    figures(yard, debian.bin()).map_or_else(Ending::Failed, |_| Ending::Passed)
}

impl Figures {
    fn print(&self) {
        println!("all {SERVICES} up in {:.2} s", self.up.as_secs_f64());
        println!("idle: {:.3} % of one processor over {} s", self.idle, IDLE.as_secs());
        println!("a killed service back in {:.0} ms", self.service_back.as_secs_f64() * 1e3);
        println!("a killed supervise back in {:.0} ms", self.supervise_back.as_secs_f64() * 1e3);
        println!("private memory of a supervise: {} KiB", self.private);
        println!("any program started and ended in {:.1} ms", self.start.as_secs_f64() * 1e3);
    }

    /// How long all may take until they are up, and one until it is back: as asked, or what the machine
    /// needs, slow or busy as it is.
    fn patience(&self) -> (Duration, Duration) {
        let all = self.start * STARTS_A_SERVICE * SERVICES as u32;
        (UP_WITHIN.max(all), BACK_WITHIN + self.start * STARTS_A_RETURN)
    }

    /// What is worse than it may be.
    fn short_of(&self) -> Vec<String> {
        let (up_within, back_within) = self.patience();
        let checks = [
            (self.up < up_within, "all are up too late"),
            (self.idle < IDLE_BELOW, "idle they cost too much"),
            (self.service_back < back_within, "a killed service is back too late"),
            (self.supervise_back < back_within, "a killed supervise is back too late"),
            (self.private < PRIVATE_BELOW, "a supervise has too much memory of its own"),
        ];
        checks.iter().filter(|(good, _)| !good).map(|(_, why)| (*why).to_owned()).collect()
    }
}

/// The tree: an svscan and its directory. Dropped, all of it is ended.
struct Tree {
    svscan: Child,
    dir: PathBuf,
    svc: PathBuf,
}

/// Starts them, measures, ends them.
fn figures(yard: &Path, bin: &Path) -> Result<Figures, Trouble> {
    let dir = yard.join("thousand");
    make_services(&dir)?;
    let before = start_of_any()?;
    let begun = Instant::now();
    let tree = Tree::start(&dir, bin)?;
    let services: Vec<PathBuf> = (0..SERVICES).map(|number| service(&dir, number)).collect();
    for one in &services {
        until("a service is not up", || pid(one).is_some())?;
    }
    let up = begun.elapsed();
    // Scans and what starting left to do are over then.
    std::thread::sleep(Duration::from_secs(6));
    let keepers = children(tree.svscan.id());
    let mut idle = f64::MAX;
    for _ in 0..IDLE_TRIES {
        idle = idle.min(busy(&keepers, &tree));
        if idle < IDLE_BELOW {
            break;
        }
    }
    let [one, other] = [SERVICES / 2, SERVICES - 1].map(|number| service(&dir, number));
    let seen = Figures {
        up,
        idle,
        service_back: service_back(&one)?,
        supervise_back: supervise_back(&other, &keepers)?,
        start: before.max(start_of_any()?),
        private: keepers.iter().map(|&pid| private(pid)).sum::<u64>() / keepers.len().max(1) as u64,
    };
    seen.print();
    Ok(seen)
}

/// How much of one processor they have while nothing happens, in percent.
fn busy(keepers: &[u32], tree: &Tree) -> f64 {
    let (before, measured) = (spent(keepers, tree), Instant::now());
    std::thread::sleep(IDLE);
    let busy = spent(keepers, tree).saturating_sub(before);
    busy.as_secs_f64() / measured.elapsed().as_secs_f64() * 100.0
}

/// How long this machine takes just now to start a shell that does nothing, and to see it end.
fn start_of_any() -> Result<Duration, Trouble> {
    let begun = Instant::now();
    for _ in 0..MEASURED {
        let done = Command::new("/bin/sh").args(["-c", ":"]).status();
        done.map_err(|e| format!("/bin/sh: {e}"))?;
    }
    Ok(begun.elapsed() / MEASURED)
}

/// The directories, anew.
fn make_services(dir: &Path) -> Result<(), Trouble> {
    let _none = fs::remove_dir_all(dir);
    for number in 0..SERVICES {
        let service = service(dir, number);
        directory(&service, 0o755)?;
        write(&service.join("run"), 0o755, "#!/bin/sh\nexec sleep 100000\n")?;
    }
    Ok(())
}

fn service(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("s{number:04}"))
}

impl Tree {
    fn start(dir: &Path, bin: &Path) -> Result<Self, Trouble> {
        let svscan = Command::new(bin.join("svscan"))
            .arg(dir)
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("svscan: {e}"))?;
        Ok(Self { svscan, dir: dir.to_owned(), svc: bin.join("svc") })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Stock's leaves its services: they are told, too.
        let keepers = children(self.svscan.id());
        let _ = kill(self.svscan.id(), Signal::Kill);
        let _ = self.svscan.wait();
        let all = (0..SERVICES).map(|number| service(&self.dir, number));
        let _ = Command::new(&self.svc).arg("-dx").args(all).stderr(Stdio::null()).status();
        let _ = until("supervises go on", || keepers.iter().all(|&pid| !lives(pid)));
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Waits until something is so.
fn until(never: &str, so: impl Fn() -> bool) -> Result<Duration, Trouble> {
    let begun = Instant::now();
    while !so() {
        if begun.elapsed() > PATIENCE {
            return Err(never.to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(begun.elapsed())
}

/// The pid a service's status tells.
fn pid(service: &Path) -> Option<u32> {
    let status = fs::read(service.join("supervise/status")).ok()?;
    let bytes = status.get(12..16)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes)).filter(|&pid| pid != 0)
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A process's children.
fn children(parent: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let text = text.unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// What svscan and its supervises have had of the processors.
fn spent(keepers: &[u32], tree: &Tree) -> Duration {
    let nanos = |pid: u32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
    };
    let sum: u64 = keepers.iter().map(|&pid| nanos(pid)).sum();
    Duration::from_nanos(sum + nanos(tree.svscan.id()))
}

/// A process's own memory in KiB: what would be free without it.
fn private(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Kills a service and waits for the next.
fn service_back(service: &Path) -> Result<Duration, Trouble> {
    let old = pid(service).ok_or("a service is down")?;
    kill(old, Signal::Kill).map_err(|e| format!("kill: {e}"))?;
    until("a killed service is not back", || pid(service).is_some_and(|new| new != old))
}

/// Kills a service's supervise and waits until another one answers.
fn supervise_back(service: &Path, keepers: &[u32]) -> Result<Duration, Trouble> {
    let here = fs::canonicalize(service).map_err(|e| format!("{}: {e}", service.display()))?;
    let at_home = |pid: u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == here);
    let old =
        keepers.iter().copied().find(|&pid| at_home(pid)).ok_or("a supervise is not there")?;
    kill(old, Signal::Kill).map_err(|e| format!("kill: {e}"))?;
    let gone = until("a killed supervise goes on", || !lives(old))?;
    let (ok, orphan) = (service.join("supervise/ok"), pid(service));
    let answers = || OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&ok).is_ok();
    let back = gone + until("a killed supervise is not back", answers)?;
    if let Some(orphan) = orphan {
        // Stock's next supervise knows nothing of it.
        let _ = kill(orphan, Signal::Kill);
    }
    Ok(back)
}
