//! make fastforward's table of sendmail's alias file
//!
//! *Runs as* root · *hears* nobody · *opens* the alias file, and the table beside it; control
//! files · *speaks to* nobody

use std::ffi::{OsStr, OsString};

use base::cdb;
use letter::aliases::{self, Why};

use super::super::{Stop, end, words};
use super::{Replaced, read_text, rules, shown, with_ending, wrong_in};

/// The alias file, if no other is named.
const ALIASES: &str = "/etc/aliases";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("newaliases", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let rules = rules(&|_| None)?;
    let path = args.first().map_or(OsStr::new(ALIASES), OsString::as_os_str);
    let unread = |err| Stop::unable([b"read ", shown(path)].concat(), &err);
    let text = read_text(path).map_err(unread)?;
    let records = aliases::table(&rules, &text).map_err(|wrong| {
        let said = wrong_in(shown(path), wrong.line, &wrong.why);
        // As the original has it: the others may be half of an edit.
        if wrong.why == Why::LongAddress { Stop::never(said) } else { Stop::later(said) }
    })?;
    let table = cdb::build(records).map_err(|err| Stop::never(err.to_string()))?;
    let (cdb, tmp) = (with_ending(path, ".cdb"), with_ending(path, ".tmp"));
    Replaced { path: &cdb, tmp: &tmp, public: true }.write(&table)?;
    Ok(0)
}
