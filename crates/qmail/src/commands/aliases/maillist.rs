//! setmaillist: make a mailing list for fastforward. printmaillist: print one.
//!
//! *Runs as* whoever calls it · *hears* lines, or a list, on descriptor 0 · *opens* (setmaillist)
//! the two files it is told of · *speaks to* (printmaillist) descriptor 1

use std::ffi::OsString;

use base::limits;
use letter::forwarding::list::{self, BadList};

use super::super::{Stop, answer, end, words};
use super::{Replaced, read_input, wrong_in};

const USAGE: &str = "setmaillist: usage: setmaillist list.bin list.tmp";

/// The program `setmaillist`.
pub(crate) fn setmaillist(args: &[OsString]) -> i32 {
    end("setmaillist", set(words(args)))
}

fn set(args: &[OsString]) -> Result<i32, Stop> {
    let [path, tmp, ..] = args else { return Err(Stop::Usage(USAGE)) };
    let text = read_input(limits::ALIASES)?;
    let file = list::compile(&text)
        .map_err(|wrong| Stop::later(wrong_in(b"input", wrong.line, &wrong.why)))?;
    Replaced { path, tmp, public: true }.write(&file)?;
    Ok(0)
}

/// The program `printmaillist`.
pub(crate) fn printmaillist(_args: &[OsString]) -> i32 {
    end("printmaillist", print())
}

fn print() -> Result<i32, Stop> {
    let file = read_input(limits::EXPANSION)?;
    let text = list::print(&file).map_err(|BadList| Stop::never("bad mailing list format"))?;
    answer(&text)
}
