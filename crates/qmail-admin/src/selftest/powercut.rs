//! `qmailctl selftest powercut`: is mail on this file system safe from a power cut?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::blocklog::BlockLog;
use super::cuts::{Found, Record};
use super::rig::{Kind, Rig};
use super::workload;
use crate::Trouble;

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
    /// Runs what can be run here and says what was found.
    pub(crate) fn run(self) -> Result<ExitCode, Trouble> {
        let kind = Kind {
            fs: self.like.clone().unwrap_or_else(|| "ext4".into()),
            mkfs: self.mkfs.split_whitespace().map(String::from).collect(),
            options: self.options.clone(),
        };
        if let Some(missing) = kind.lacks() {
            println!("not tried: {missing} is needed");
            return Ok(ExitCode::from(100));
        }
        let found = self.rehearse(kind.clone())?;
        println!("{kind}: {found}");
        Ok(if found.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Records a run of the programs on a disk of this kind and cuts it short again and again.
    fn rehearse(&self, kind: Kind) -> Result<Found, Trouble> {
        let shm = Path::new("/dev/shm");
        let rig = Rig::new(if shm.is_dir() { shm } else { &self.dir }, kind)?;
        let bin = programs(&rig)?;
        rig.make()?;
        rig.mounted("base", |home| workload::prepare(&bin, home))?;
        rig.copy("base", "before")?;
        let (logged, log) = (rig.logged()?, rig.at("log"));
        let worked = rig.mounted("disk", |home| workload::record(home, &log, self.letters));
        drop(logged);
        let record = Record { rig: &rig, log: BlockLog::read(&log)?, events: worked? };
        record.prove_the_eye()?;
        record.cuts(self.states, self.seed)
    }
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
