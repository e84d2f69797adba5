//! `cargo xtask caretakers`: the steps of `tests/caretakers/`, played against our programs and
//! against Debian's, and a thousand services under one svscan.

use std::path::{Path, PathBuf};

use clap::Args;

use super::debian::Debian;
use super::stage::Whose;
use super::{Read, Suite, Turn, files, played, thousand, yard};
use crate::build;
use crate::tally::{Ending, Tally, Trouble};

/// Play the steps of tests/caretakers.
#[derive(Args)]
pub(crate) struct Caretakers {
    /// Only files whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Programs that are built already; else they are built now.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Only against our programs.
    #[arg(long)]
    ours: bool,
    /// Only against Debian's.
    #[arg(long, conflicts_with = "ours")]
    debian: bool,
    /// No steps: a thousand services under one svscan, ours and Debian's.
    #[arg(long)]
    thousand: bool,
}

impl Caretakers {
    /// Plays.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let binaries = match &self.binaries {
            Some(dir) => std::path::absolute(dir).map_err(|e| format!("{}: {e}", dir.display()))?,
            None => build::release()?,
        };
        let mut tally = Tally::default();
        let sides = Sides { ours: !self.debian, debian: !self.ours };
        if self.thousand {
            thousand(&mut tally, &binaries, sides);
        } else {
            steps(&mut tally, &binaries, self.only.as_deref().unwrap_or_default(), sides);
        }
        tally.verdict()
    }
}

/// Whose programs are played.
#[derive(Clone, Copy)]
struct Sides {
    ours: bool,
    debian: bool,
}

/// Everything: the steps against both sides, and a thousand services.
pub(crate) fn all(tally: &mut Tally, binaries: &Path) {
    steps(tally, binaries, "", Sides { ours: true, debian: true });
    thousand(tally, binaries, Sides { ours: true, debian: false });
}

/// A yard with Debian's programs, if they can be had; what cannot be done without them is skipped,
/// aloud.
fn prepared(tally: &mut Tally, binaries: &Path) -> Option<(yard::Yard, Option<Debian>)> {
    let yard = match yard(binaries) {
        Ok(yard) => yard,
        Err(why) => {
            tally.check("caretakers", || Ending::Failed(why));
            return None;
        }
    };
    let debian = match Debian::unpack(&yard) {
        Ok(debian) => Some(debian),
        Err(why) => {
            tally.check("caretakers, Debian's", || Ending::Skipped(why));
            None
        }
    };
    Some((yard, debian))
}

/// Plays every file whose name contains `only` and counts the steps.
fn steps(tally: &mut Tally, binaries: &Path, only: &str, sides: Sides) {
    let Some((yard, debian)) = prepared(tally, binaries) else { return };
    match files(Suite::Caretakers, only) {
        Ok(files) => played(tally, &turns(&files, debian.as_ref(), sides), &yard, debian.as_ref()),
        Err(why) => tally.check("caretakers", || Ending::Failed(why)),
    }
}

/// Who plays what. A file about what the original does not have is ours alone.
fn turns<'a>(files: &'a [Read], debian: Option<&'a Debian>, sides: Sides) -> Vec<Turn<'a>> {
    let mut turns = Vec::new();
    for file in files {
        if sides.ours {
            turns.push((file, Whose::Ours));
        }
        if let Some(debian) = debian.filter(|_| sides.debian && file.script.ours.is_none()) {
            turns.push((file, Whose::Debian(debian)));
        }
    }
    turns
}

/// A thousand services; what they cost is printed.
fn thousand(tally: &mut Tally, binaries: &Path, sides: Sides) {
    let Some((yard, debian)) = prepared(tally, binaries) else { return };
    if sides.ours {
        tally.check("a thousand services", || thousand::ours(&yard));
    }
    if let Some(debian) = debian.filter(|_| sides.debian) {
        tally.check("a thousand services, Debian's", || thousand::debians(&yard, &debian));
    }
}
