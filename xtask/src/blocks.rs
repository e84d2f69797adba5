//! Power cuts on a real ext4: every block the programs' disk is told to write is logged, and the
//! disk is rebuilt as a cut at a random moment could have left it, mounted and looked at.
//!
//! The disk is an image behind `qemu-storage-daemon`'s write log, exported by FUSE, on a loop
//! device: no kernel module is needed, but root is.

mod log;
mod workload;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use self::log::{Entry, WriteLog};
use self::workload::{Ack, Promise};
use crate::tally::{Ending, Trouble, run};
use crate::{build, host};

/// The disk's size: room for two of queued's segments and a small file system.
const DISK: u64 = 160 << 20;
/// Letters queued and delivered while the log is written.
const LETTERS: u32 = 16;

/// Tries about `states` cuts; none may lose or tear what was acknowledged before it.
pub(crate) fn rehearse(states: u32) -> Ending {
    if sys::user::euid() != 0 {
        return Ending::Skipped("only root can mount".into());
    }
    host::prepare(host::BLOCKS);
    if let Some(missing) = host::lacks(host::BLOCKS) {
        return Ending::Skipped(format!("{missing} is not installed"));
    }
    match Rig::new().and_then(|rig| rig.record()?.cuts(states)) {
        Err(why) => Ending::Failed(why),
        Ok(found) => {
            println!("ext4: {found}");
            let clean = found.lost == 0 && found.torn == 0 && found.unmountable == 0;
            if clean { Ending::Passed } else { Ending::Failed(found.to_string()) }
        }
    }
}

/// What the cuts showed.
#[derive(Default)]
struct Found {
    states: u32,
    lost: u32,
    torn: u32,
    unmountable: u32,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { states, lost, torn, unmountable } = self;
        write!(f, "{states} states, {lost} lost, {torn} torn, {unmountable} not mountable")
    }
}

/// A directory in memory with the images and mount points; it goes with the rig.
struct Rig {
    dir: PathBuf,
    binaries: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A recorded run: every write in order, and when each promise was made.
struct Record {
    rig: Rig,
    log: WriteLog,
    acks: Vec<Ack>,
}

impl Rig {
    fn new() -> Result<Self, Trouble> {
        let binaries = build::release()?;
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.into() } else { std::env::temp_dir() };
        let dir = parent.join(format!("qmail-rs-blocks.{}", std::process::id()));
        for mount in ["m", "c"] {
            std::fs::create_dir_all(dir.join(mount)).map_err(|e| e.to_string())?;
        }
        Ok(Self { dir, binaries })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the workload on the logged disk.
    fn record(self) -> Result<Record, Trouble> {
        let base = std::fs::File::create(self.at("base")).map_err(|e| e.to_string())?;
        base.set_len(DISK).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(self.at("base")))?;
        self.mounted("base", "m", |home| workload::prepare(&self.binaries, home))?;
        std::fs::copy(self.at("base"), self.at("before")).map_err(|e| e.to_string())?;
        for name in ["log", "disk"] {
            std::fs::write(self.at(name), b"").map_err(|e| e.to_string())?;
        }
        let mut daemon = self.daemon()?;
        let log = self.at("log");
        let worked = self.mounted("disk", "m", |home| workload::run(home, &log, LETTERS));
        let _ = sys::signal::kill(daemon.id(), sys::signal::Signal::Term);
        daemon.wait().map_err(|e| e.to_string())?;
        let acks = worked?;
        Ok(Record { log: WriteLog::read(&self.at("log"))?, acks, rig: self })
    }

    /// Starts the daemon that logs every write; returns once the disk can be seen.
    fn daemon(&self) -> Result<Child, Trouble> {
        let file = |node: &str, name: &str| {
            format!("driver=file,node-name={node},filename={}", self.at(name).display())
        };
        let mut daemon = Command::new("qemu-storage-daemon");
        daemon.args(["--blockdev", &file("f0", "base"), "--blockdev", &file("fl", "log")]);
        daemon.args([
            "--blockdev",
            "driver=blklogwrites,node-name=lw,file=f0,log=fl,log-sector-size=512",
        ]);
        let disk = self.at("disk");
        daemon
            .arg("--export")
            .arg(format!("type=fuse,id=e0,node-name=lw,mountpoint={},writable=on", disk.display()));
        let mut child = daemon.stdin(Stdio::null()).spawn().map_err(|e| e.to_string())?;
        for _ in 0..200 {
            if std::fs::metadata(&disk).is_ok_and(|m| m.len() == DISK) {
                return Ok(child);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err("qemu-storage-daemon did not export the disk".into())
    }

    /// Mounts an image, does something with it, unmounts it.
    fn mounted<T>(
        &self,
        image: &str,
        at: &str,
        work: impl FnOnce(&Path) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mount = self.at(at);
        run(Command::new("mount").args(["-o", "loop"]).arg(self.at(image)).arg(&mount))?;
        let done = work(&mount.join("home"));
        run(Command::new("umount").arg(&mount))?;
        done
    }
}

impl Record {
    /// A look that finds what was never written would find anything: on the empty disk every
    /// promise must be missing.
    fn prove_the_eye(&self) -> Result<(), Trouble> {
        let all: Vec<&Promise> = self.acks.iter().map(|ack| &ack.promise).collect();
        self.copy("before", "cut")?;
        let seen = self.rig.mounted("cut", "c", |home| workload::look(home, &all))?;
        if seen.lost as usize == all.len() && !all.is_empty() {
            Ok(())
        } else {
            Err(format!("{} of {} letters missed on an empty disk", seen.lost, all.len()))
        }
    }

    /// Cuts the power at random places between the first promise and the last.
    fn cuts(&self, states: u32) -> Result<Found, Trouble> {
        self.prove_the_eye()?;
        let (first, last) = (self.acks.first(), self.acks.last());
        let range = first.map_or(0, |a| a.at)..=last.map_or(0, |a| a.at);
        let places: Vec<usize> = (0..self.log.entries.len())
            .filter(|&n| self.log.entries.get(n).is_some_and(|e| range.contains(&e.end)))
            .collect();
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let mut picked: Vec<usize> = Vec::new();
        while picked.len() < (states / 2) as usize && !places.is_empty() {
            picked.extend(places.get(chance.below(places.len())));
        }
        picked.sort_unstable();
        self.replay(&picked, &mut chance)
    }

    /// Rebuilds the disk write by write; at each picked place tries two cuts: everything written
    /// so far is there, and only what was flushed plus a random half of the rest.
    fn replay(&self, picked: &[usize], chance: &mut Chance) -> Result<Found, Trouble> {
        let mut found = Found::default();
        for name in ["all", "flushed"] {
            self.copy("before", name)?;
        }
        let mut in_flight: Vec<&Entry> = Vec::new();
        for (n, entry) in self.log.entries.iter().enumerate() {
            self.log.apply(entry, &self.rig.at("all"))?;
            in_flight.push(entry);
            if entry.flush {
                for done in in_flight.drain(..) {
                    self.log.apply(done, &self.rig.at("flushed"))?;
                }
            }
            for _ in picked.iter().filter(|&&p| p == n) {
                self.copy("all", "cut")?;
                self.judge(entry.end, &mut found)?;
                self.copy("flushed", "cut")?;
                for lucky in in_flight.iter().filter(|_| chance.below(2) == 0) {
                    self.log.apply(lucky, &self.rig.at("cut"))?;
                }
                self.judge(entry.end, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Mounts the cut disk and looks for everything promised before `at`.
    fn judge(&self, at: u64, found: &mut Found) -> Result<(), Trouble> {
        found.states += 1;
        let due: Vec<&Promise> =
            self.acks.iter().filter(|ack| ack.at <= at).map(|ack| &ack.promise).collect();
        let looked = self.rig.mounted("cut", "c", |home| workload::look(home, &due));
        match looked {
            Ok(seen) => {
                found.lost += seen.lost;
                found.torn += seen.torn;
            }
            Err(why) => {
                println!("state at {at}: {why}");
                found.unmountable += 1;
            }
        }
        Ok(())
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), Trouble> {
        let mut cp = Command::new("cp");
        cp.arg("--sparse=always").arg(self.rig.at(from)).arg(self.rig.at(to));
        run(&mut cp)
    }
}

/// Repeatable chance (xorshift): a state that fails can be found again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}
