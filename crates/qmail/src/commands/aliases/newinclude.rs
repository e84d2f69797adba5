//! make a mailing list for fastforward of a sendmail include file
//!
//! *Runs as* whoever calls it · *hears* its environment · *opens* the file it is told of, and the
//! list beside it; control files · *speaks to* nobody

use std::ffi::OsString;

use letter::aliases::{self, Why};

use super::super::{Stop, end, variable, words};
use super::{Replaced, read_text, rules, shown, with_ending, wrong_in};

const USAGE: &str = "newinclude: usage: newinclude list";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("newinclude", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let rules = rules(&variable)?;
    let path = args.first().ok_or(Stop::Usage(USAGE))?;
    let unread = |err| Stop::unable([b"read ", shown(path)].concat(), &err);
    let text = read_text(path).map_err(unread)?;
    let list = aliases::include(&rules, &text).map_err(|wrong| match wrong.why {
        // In the original's words for these.
        Why::LongAddress => {
            let why = "addresses must be under 800 bytes";
            Stop::later(wrong_in(shown(path), wrong.line, &why))
        }
        why => Stop::later(wrong_in(shown(path), wrong.line, &why)),
    })?;
    let (bin, tmp) = (with_ending(path, ".bin"), with_ending(path, ".tmp"));
    Replaced { path: &bin, tmp: &tmp, public: true }.write(&list)?;
    Ok(0)
}
