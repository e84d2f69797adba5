//! compile rules for tcpserver
//!
//! *Runs as* whoever edits the rules. *Hears* the rules on descriptor 0. *Opens* the temporary
//! file and renames it onto the database. *Speaks to* nobody; warnings on stderr.

mod parse;

use crate::message::{PERMANENT, TEMPORARY, Voice, say};
use base::cdb::{TooBig, Writer};
use parse::{Line, parse};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

const VOICE: Voice = Voice("tcprules");

/// `tcprules rules.cdb rules.tmp` < rules. Exit code 0; 100 for misuse or a line that is no rule;
/// 111 for a failure, which leaves the database as it was.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, cdb, tmp] = args else { return VOICE.usage("tcprules rules.cdb rules.tmp") };
    match compile(cdb, tmp) {
        Ok(()) => 0,
        Err(code) => code,
    }
}

/// Reads, writes, renames; a failure is told and returned as the exit code.
fn compile(cdb: &OsStr, tmp: &OsStr) -> Result<(), i32> {
    let made = sys::file::open_trunc(tmp);
    let mut file = made.map_err(|e| VOICE.fatal(&[&"unable to create ", &tmp], Some(&e)))?;
    let text = sys::fd::read_to_end(sys::fd::stdin(), base::limits::CONTROL_FILE);
    let text = text.map_err(|e| VOICE.fatal(&[&"unable to read input"], Some(&e)))?;
    let bytes = database(&text)?;
    let wrote = file.write_all(&bytes).and_then(|()| file.sync_all());
    wrote.map_err(|e| VOICE.fatal(&[&"unable to write to ", &tmp], Some(&e)))?;
    let moved = std::fs::rename(tmp, cdb);
    moved.map_err(|e| VOICE.fatal(&[&"unable to move ", &tmp, &" to ", &cdb], Some(&e)))
}

/// The database of a file of rules.
fn database(text: &[u8]) -> Result<Vec<u8>, i32> {
    let mut writer = Writer::new();
    for (number, line) in (1_u32..).zip(text.split(|&byte| byte == b'\n')) {
        add(&mut writer, number, line)?;
    }
    Ok(writer.finish())
}

fn add(writer: &mut Writer, number: u32, line: &[u8]) -> Result<(), i32> {
    match parse(line) {
        Line::Nothing => Ok(()),
        Line::NoColon => {
            let what = format!("line {number} has no colon and was passed over: ");
            VOICE.warning(&[&what, &OsStr::from_bytes(line)], None);
            Ok(())
        }
        Line::Bad(line) => {
            say(&[b"tcprules: fatal: unable to parse this line: ", line, b"\n"].concat());
            Err(PERMANENT)
        }
        Line::Rule(rule) => {
            let done = rule.keys().try_for_each(|key| writer.add(&key, &rule.value));
            done.map_err(|TooBig| out_of_memory())
        }
    }
}

/// What the original says of a database over 4 GiB.
fn out_of_memory() -> i32 {
    VOICE.fatal(&[&"out of memory"], None::<&io::Error>);
    TEMPORARY
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::cdb::Cdb;

    fn get(file: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        Cdb::new(file).unwrap().get(key).unwrap().map(<[u8]>::to_vec)
    }

    #[test]
    fn the_first_of_two_equal_addresses_decides() {
        let file = database(b"1.2.3.4:deny\n1.2.3.4:allow\n").unwrap();
        assert_eq!(get(&file, b"1.2.3.4"), Some(b"D\0".to_vec()));
    }

    #[test]
    fn sizes_are_the_originals() {
        assert_eq!(database(b"# only comments\n").unwrap().len(), 2048);
        assert_eq!(database(b"1.2.3.4:deny\n").unwrap().len(), 2081);
        assert_eq!(database(b"127.:allow,RELAYCLIENT=\"\"\n:allow\n").unwrap().len(), 2114);
    }

    #[test]
    fn a_bad_line_is_exit_100_and_a_line_without_a_colon_is_none() {
        assert_eq!(database(b"1.2.3.4:foo\n"), Err(100));
        assert_eq!(database(b"no colon here\n").unwrap().len(), 2048);
    }
}
