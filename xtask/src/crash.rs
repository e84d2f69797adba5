//! `cargo xtask crash`: power cuts rehearsed, first in the simulator, then on real blocks.

use std::process::{Command, Stdio};

use clap::Args;

use crate::blocks;
use crate::tally::{Ending, Tally, Trouble, passes};

/// Simulated states tried by `cargo xtask test`.
const BOUNDED: &str = "20000";
/// Subsets of what was not synced that are tried at each step of whole lives.
const LIVES: &str = "200";
/// Block-level states tried by `cargo xtask test`.
const BOUNDED_BLOCKS: u32 = 60;
/// Block-level states tried by default.
const BLOCK_STATES: u32 = 2_000;

/// Rehearse power cuts.
#[derive(Args)]
pub(crate) struct Crash {
    /// Stop the simulator after about this many states of each kind; all of them if not given.
    #[arg(long)]
    states: Option<u64>,
    /// Block-level states on ext4, xfs and btrfs together; 0 leaves them out.
    #[arg(long, default_value_t = BLOCK_STATES)]
    blocks: u32,
    /// Leave the simulator out.
    #[arg(long)]
    no_simulator: bool,
}

impl Crash {
    /// The simulator's whole space, then the block rig.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let mut tally = Tally::default();
        if !self.no_simulator {
            let states = self.states.map(|n| n.to_string());
            tally.check("simulated power cuts", || simulate(states.as_deref()));
            tally.check("power cuts through whole lives", lives);
        }
        if self.blocks > 0 {
            blocks::rehearse(&mut tally, self.blocks);
        }
        tally.verdict()
    }
}

/// The part that belongs in every test run.
pub(crate) fn bounded(tally: &mut Tally) {
    tally.check("simulated power cuts", || simulate(Some(BOUNDED)));
    blocks::rehearse(tally, BOUNDED_BLOCKS);
}

/// Letters that bounce or are delivered in part, by qmail-send's own schedule on the queue's own log;
/// `cargo xtask test` tries a part of them among the tests of `qmail`.
fn lives() -> Ending {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::root()).stdin(Stdio::null()).env("CUTS", LIVES);
    cargo.args(["test", "--quiet", "--locked", "--package", "qmail", "--bin", "qmail", "cuts"]);
    passes(cargo.args(["--", "--nocapture"]))
}

/// Runs the explorer; it exits with 1 at the first broken promise.
fn simulate(states: Option<&str>) -> Ending {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::root()).stdin(Stdio::null());
    cargo.args(["run", "--quiet", "--release", "--locked", "--package", "crash", "--", "all"]);
    if let Some(states) = states {
        cargo.args(["--states", states]);
    }
    passes(&mut cargo)
}
