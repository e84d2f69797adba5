//! `qmailctl selftest powercut`: is mail on this file system safe from a power cut?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sys::dir::Dir;

use super::belief::{self, Mount};
use super::blocklog::BlockLog;
use super::byhand;
use super::cuts::{Found, Record};
use super::rig::{Kind, Rig};
use super::workload;
use crate::Trouble;
use crate::print::say;

/// Room for the disks, which have holes, and for the log of all writes to one.
const ROOM: u64 = 2 << 30;

/// Test whether mail on a directory's file system survives power cuts.
#[derive(Args)]
pub(crate) struct Powercut {
    /// The directory whose file system is meant.
    dir: PathBuf,
    /// How many cuts to try.
    #[arg(long, default_value_t = 100)]
    states: u32,
    /// How many letters the programs handle while every write is kept.
    #[arg(long, default_value_t = 60)]
    letters: u32,
    /// Which cuts: another number, other cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the disk of the first cut that breaks a promise in this file.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// For the last step: write records and print the number of each that is safe, until the power
    /// goes. Keep the output on another machine.
    #[arg(long, conflicts_with = "check")]
    begin: bool,
    /// After the power is back: look for every number in this file.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Try this kind of file system instead of the directory's own.
    #[arg(long, value_name = "FS")]
    like: Option<String>,
    /// With --like: arguments for mkfs, separated by spaces.
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    mkfs: String,
    /// With --like: mount options.
    #[arg(long, value_name = "OPTS", default_value = "")]
    options: String,
}

impl Powercut {
    /// Runs what can be run here and says what was found, and what was not tried.
    pub(crate) fn run(self) -> Result<ExitCode, Trouble> {
        if self.begin {
            return byhand::begin(&self.dir);
        }
        if let Some(list) = &self.check {
            return byhand::check(&self.dir, list);
        }
        if let Some(like) = &self.like {
            let mkfs = self.mkfs.split_whitespace().map(String::from).collect();
            let kind = Kind { fs: like.clone(), mkfs, options: self.options.clone() };
            return self.cuts(kind).map(exit);
        }
        let mount = Mount::of(&self.dir)?;
        let is_believed = belief::report(&self.dir, &mount)?;
        say!("");
        let held = match mount.kind() {
            Some(kind) => self.cuts(kind)?,
            None => {
                say!("not tried: a {} cannot be made on a disk that keeps every write", mount.fs);
                None
            }
        };
        say!("");
        tell(held, is_believed, &self.dir)?;
        Ok(if is_believed { exit(held) } else { ExitCode::FAILURE })
    }

    /// Tries the cuts on this kind of file system; whether all promises held, if it could be tried.
    fn cuts(&self, kind: Kind) -> Result<Option<bool>, Trouble> {
        if sys::user::euid() != 0 {
            say!("not tried: only root can mount a disk that keeps every write");
            return Ok(None);
        }
        if let Some(missing) = kind.lacks() {
            say!("not tried: {missing} is needed");
            return Ok(None);
        }
        let name = kind.to_string();
        let Some(parent) = [Path::new("/dev/shm"), &self.dir].into_iter().find(|dir| roomy(dir))
        else {
            say!("not tried: room for its disks is needed, {ROOM} bytes in /dev/shm or here");
            return Ok(None);
        };
        if let Err(why) = sys::process::own_mounts() {
            say!("not tried: it may not mount anything here: {why}");
            return Ok(None);
        }
        let found = self.rehearse(parent, kind)?;
        say!("{name}: {found}");
        Ok(Some(found.is_clean()))
    }

    /// Records a run of the programs on a disk of this kind and cuts it short again and again.
    fn rehearse(&self, parent: &Path, kind: Kind) -> Result<Found, Trouble> {
        let rig = Rig::new(parent, kind)?;
        let bin = programs(&rig)?;
        rig.make()?;
        rig.mounted("new", |home| workload::prepare(&bin, home))?;
        rig.copy("new", "before")?;
        rig.copy("before", "base")?;
        let (logged, log) = (rig.logged()?, rig.at("log"));
        let worked = rig.mounted("disk", |home| workload::record(home, &log, self.letters));
        drop(logged);
        let record = Record {
            rig: &rig,
            log: BlockLog::read(&log)?,
            events: worked?,
            keep: self.keep.clone(),
        };
        record.prove_the_log()?;
        record.prove_the_eye()?;
        record.cuts(self.states, self.seed)
    }
}

/// Whether a directory has room for several disks and the log of one.
fn roomy(dir: &Path) -> bool {
    Dir::open(dir).and_then(|dir| dir.free()).is_ok_and(|free| free >= ROOM)
}

/// 0 if what was tried held, 1 if not, 100 if nothing could be tried.
fn exit(held: Option<bool>) -> ExitCode {
    match held {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => 100.into(),
    }
}

/// The verdict, in words, and what is left to do.
fn tell(held: Option<bool>, is_believed: bool, dir: &Path) -> Result<(), Trouble> {
    match held {
        Some(true) => say!(
            "Tested: the programs on a new file system of this kind, on a disk of ours that forgets \
             what it was not told to keep. No acknowledged letter was lost, torn or doubled."
        ),
        Some(false) => say!("Tested: promises were BROKEN on a file system of this kind."),
        None => say!("The programs were not tested on a file system of this kind."),
    }
    if !is_believed {
        say!("Do not keep mail here before the doubts above are gone.");
    }
    let dir = dir.display();
    say!(
        "Not tested: whether your own disk keeps what it says it has written. For that, from \
         another machine:"
    );
    say!("  ssh THIS qmailctl selftest powercut {dir} --begin > numbers    then cut the power");
    say!("  and when it is back, with the file numbers:");
    say!("  qmailctl selftest powercut {dir} --check numbers");
    Ok(())
}

/// Copies the binaries that lie beside this program to where every user can run them.
fn programs(rig: &Rig) -> Result<PathBuf, Trouble> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    for binary in ["daemontools", "qmail", "qmail-admin", "qmail-net"] {
        let (from, to) = (beside.join(binary), rig.at("bin").join(binary));
        std::fs::copy(&from, to).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    Ok(rig.at("bin"))
}
