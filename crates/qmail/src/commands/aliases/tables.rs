//! setforward: make a forwarding table of instructions. printforward: print those of a table.
//!
//! *Runs as* whoever calls it · *hears* instructions, or a table, on descriptor 0 · *opens*
//! (setforward) the two files it is told of · *speaks to* (printforward) descriptor 1

use std::ffi::OsString;

use base::cdb::{self, Cdb};
use base::limits;
use letter::forwarding::table;

use super::super::{Stop, answer, end, words};
use super::{Replaced, read_input, wrong_in};

const USAGE: &str = "setforward: usage: setforward data.cdb data.tmp";

/// The program `setforward`.
pub(crate) fn setforward(args: &[OsString]) -> i32 {
    end("setforward", set(words(args)))
}

fn set(args: &[OsString]) -> Result<i32, Stop> {
    let [path, tmp, ..] = args else { return Err(Stop::Usage(USAGE)) };
    let text = read_input(limits::ALIASES)?;
    let records = table::parse(&text)
        .map_err(|wrong| Stop::never(wrong_in(b"input", wrong.line, &wrong.why)))?;
    let file = cdb::build(records).map_err(|err| Stop::never(err.to_string()))?;
    Replaced { path, tmp, public: false }.write(&file)?;
    Ok(0)
}

/// The program `printforward`.
pub(crate) fn printforward(_args: &[OsString]) -> i32 {
    end("printforward", print())
}

fn print() -> Result<i32, Stop> {
    let file = read_input(limits::FORWARDING_TABLE)?;
    let text = printed(&file).ok_or_else(|| Stop::never("bad database format"))?;
    answer(&text)
}

/// The instructions of a table, if it is one.
fn printed(file: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for record in Cdb::new(file).ok()?.records() {
        let (key, value) = record.ok()?;
        table::print(key, value, &mut text).ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_prints_as_what_it_is_made_of() {
        let text = b"root@:\n, &joe@x.y\n, |log\n;\nl@h: ?o@h;\n";
        let file = cdb::build(table::parse(text).unwrap()).unwrap();
        assert_eq!(printed(&file).as_deref(), Some(&text[..]));
        assert_eq!(printed(&cdb::build([(b"x", b"y")]).unwrap()), None);
        assert_eq!(printed(b"no table"), None);
    }
}
