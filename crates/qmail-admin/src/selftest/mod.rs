//! `qmailctl selftest`: what an administrator can find out about his own machine.

mod belief;
mod blocklog;
mod byhand;
mod cuts;
mod look;
mod powercut;
mod rig;
mod workload;

use std::process::ExitCode;

use clap::Subcommand;

use crate::Trouble;

/// The tests.
#[derive(Subcommand)]
pub(crate) enum Selftest {
    /// Cut the power many times, on a disk that keeps every write.
    Powercut(powercut::Powercut),
}

impl Selftest {
    /// Runs a test; the exit code is 0 if nothing was found.
    pub(crate) fn run(self) -> Result<ExitCode, Trouble> {
        match self {
            Self::Powercut(powercut) => powercut.run(),
        }
    }
}
