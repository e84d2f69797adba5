//! compile rules for tcpserver
//!
//! *Runs as* whoever edits the rules. *Hears* the rules on descriptor 0. *Opens* the temporary
//! file and renames it onto the database. *Speaks to* nobody; warnings on stderr.

pub(crate) mod check;
pub(crate) mod odd;
mod parse;

use crate::message::{TEMPORARY, Voice, say};
use crate::tcpserver::rules::LENGTHS;
use base::cdb::{TooBig, Writer};
use parse::{Line, Rule, parse};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

const VOICE: Voice = Voice("tcprules");
/// Lines that are no rules, and odd ones, that are shown.
const SHOWN: usize = 20;

/// `tcprules rules.cdb rules.tmp` < rules. Exit code 0; 100 for misuse; 111 for a failure or a line
/// that is no rule, which leaves the database as it was.
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

/// A database in the making.
#[derive(Default)]
struct Book {
    writer: Writer,
    /// The lengths of the networks in it: of IPv4, of IPv6.
    lengths: [BTreeSet<u8>; 2],
    /// Lines that are no rules.
    bad: usize,
    /// Rules that no client will ever meet.
    odd: usize,
}

/// The database of a file of rules. Every line is looked at, so that all that is wrong is told at
/// once.
fn database(text: &[u8]) -> Result<Vec<u8>, i32> {
    let mut book = Book::default();
    for (number, line) in (1_u32..).zip(text.split(|&byte| byte == b'\n')) {
        book.line(number, line)?;
    }
    book.finish()
}

impl Book {
    fn line(&mut self, number: u32, line: &[u8]) -> Result<(), i32> {
        match parse(line) {
            Line::Nothing => {}
            Line::NoColon => {
                let what = format!("line {number} has no colon and was passed over: ");
                VOICE.warning(&[&what, &OsStr::from_bytes(line)], None);
            }
            Line::Bad(line, why) => self.bad(number, line, why),
            Line::Rule(rule) => {
                if let Some(odd) = rule.odd {
                    self.odd(number, line, odd);
                }
                self.rule(&rule).map_err(|TooBig| out_of_memory())?;
            }
        }
        Ok(())
    }

    /// Shows a line that is no rule in the original's words, and then where it is.
    fn bad(&mut self, number: u32, line: &[u8], why: &str) {
        self.bad = self.bad.saturating_add(1);
        if self.bad <= SHOWN {
            say(&[b"tcprules: fatal: unable to parse this line: ", line, b"\n"].concat());
            say(format!("tcprules: fatal: that is line {number}: {why}\n").as_bytes());
        }
    }

    /// Warns of a rule that is one, and that nobody can have meant.
    fn odd(&mut self, number: u32, line: &[u8], why: &str) {
        self.odd = self.odd.saturating_add(1);
        if self.odd <= SHOWN {
            let what = format!("line {number}: {why}: ");
            VOICE.warning(&[&what, &OsStr::from_bytes(line)], None);
        }
    }

    fn rule(&mut self, rule: &Rule<'_>) -> Result<(), TooBig> {
        if let Some(network) = rule.network {
            let [four, six] = &mut self.lengths;
            let lengths = if network.ip().is_ipv4() { four } else { six };
            lengths.insert(network.bits());
        }
        rule.keys().try_for_each(|key| self.writer.add(&key, &rule.value))
    }

    fn finish(mut self) -> Result<Vec<u8>, i32> {
        if self.odd > SHOWN {
            let more = format!("{} more such lines", self.odd.saturating_sub(SHOWN));
            VOICE.warning(&[&more], None);
        }
        if self.bad > SHOWN {
            let more = format!("{} more lines are no rules", self.bad.saturating_sub(SHOWN));
            VOICE.fatal(&[&more], None);
        }
        if self.bad > 0 {
            return Err(TEMPORARY);
        }
        for (key, lengths) in LENGTHS.into_iter().zip(&self.lengths) {
            if !lengths.is_empty() {
                let longest_first: Vec<u8> = lengths.iter().rev().copied().collect();
                self.writer.add(key, &longest_first).map_err(|TooBig| out_of_memory())?;
            }
        }
        Ok(self.writer.finish())
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
    fn a_bad_line_is_a_failure_and_a_line_without_a_colon_is_none() {
        assert_eq!(database(b"1.2.3.4:foo\n"), Err(111));
        assert_eq!(database(b"no colon here\n").unwrap().len(), 2048);
    }

    #[test]
    fn the_lengths_of_networks_are_kept_the_longest_first() {
        let file = database(b"10.0.0.0/8:deny\n10.1.0.0/16:allow\n::/0:deny\n").unwrap();
        assert_eq!(get(&file, b"/4"), Some(vec![16, 8]));
        assert_eq!(get(&file, b"/6"), Some(vec![0]));
        assert_eq!(get(&file, b"::/0"), Some(b"D\0".to_vec()));
    }
}
