//! Counting what passed, failed and was skipped; the closing line.

use std::fmt;
use std::process::Command;
use std::time::Instant;

use crate::limit;

/// Why a task could not be done, in words for the person at the terminal.
pub(crate) type Trouble = String;

/// How one check ended.
pub(crate) enum Ending {
    /// It held.
    Passed,
    /// It could not be tried here, and why.
    Skipped(String),
    /// It did not hold, and why.
    Failed(String),
}

/// How many checks ended how.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Runs one check, says how it ended and counts it.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Ending) {
        println!("=== {name}");
        let begun = Instant::now();
        let ending = check();
        let took = begun.elapsed().as_secs();
        if took > 0 {
            println!("({took} s)");
        }
        match ending {
            Ending::Passed => self.add(1, 0, 0),
            Ending::Skipped(why) => {
                println!("SKIPPED {name}: {why}");
                self.add(0, 0, 1);
            }
            Ending::Failed(why) => {
                println!("FAILED {name}: {why}");
                self.add(0, 1, 0);
            }
        }
    }

    /// Adds the counts of a whole run of tests.
    pub(crate) fn add(&mut self, passed: u64, failed: u64, skipped: u64) {
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }

    /// The verdict: an error if anything failed or nothing passed. The count is the last line; the
    /// error has no words to add to it.
    pub(crate) fn verdict(&self) -> Result<(), Trouble> {
        println!("{self}");
        if self.failed == 0 && self.passed > 0 { Ok(()) } else { Err(Trouble::new()) }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Turns findings into an ending: none is a pass.
pub(crate) fn findings(found: &[String]) -> Ending {
    if found.is_empty() { Ending::Passed } else { Ending::Failed(found.join("\n  ")) }
}

/// Runs one check by itself, as a task of its own.
pub(crate) fn single(name: &str, check: impl FnOnce() -> Ending) -> Result<(), Trouble> {
    let mut tally = Tally::default();
    tally.check(name, check);
    tally.verdict()
}

/// Runs a command to its end, or to the end of the time for everything, its output shown as it comes.
pub(crate) fn run(command: &mut Command) -> Result<(), Trouble> {
    let status = limit::status(command, limit::left())?;
    if status.success() { Ok(()) } else { Err(format!("{:?}: {status}", command.get_program())) }
}

/// [`run`] as a check.
pub(crate) fn passes(command: &mut Command) -> Ending {
    run(command).map_or_else(Ending::Failed, |()| Ending::Passed)
}
