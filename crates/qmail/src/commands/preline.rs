//! give a program the letter with its From, Return-Path and Delivered-To lines on top
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* nothing · *speaks to* the
//! program it is told to run

use std::ffi::OsString;

use sys::getopt::{Opt, getopt};

use super::feed::{by_error, feed};
use super::{Stop, end, variable};

const USAGE: &str = "preline: usage: preline cmd [ arg ... ]";

/// Which lines go on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lines {
    from: bool,
    return_path: bool,
    delivered_to: bool,
}

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("preline", run(args))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let line = |name| variable(name).ok_or(Stop::Usage(USAGE));
    let all = [line("UFLINE")?, line("RPLINE")?, line("DTLINE")?];
    let (lines, command) = Lines::parse(args)?;
    let (program, args) = command.split_first().ok_or(Stop::Usage(USAGE))?;
    let wanted = [lines.from, lines.return_path, lines.delivered_to];
    let head = all.into_iter().zip(wanted).filter_map(|(line, wanted)| wanted.then_some(line));
    feed(program, args, &head.collect::<Vec<_>>().concat(), by_error)
}

impl Lines {
    /// Reads the options (the first of `args` is the program's name); what stands behind them.
    fn parse(args: &[OsString]) -> Result<(Self, &[OsString]), Stop> {
        let read = getopt(args, "frdFRD").inspect_err(|misuse| misuse.complain(args));
        let (options, command) = read.map_err(|_| Stop::Usage(USAGE))?;
        let mut lines = Self { from: true, return_path: true, delivered_to: true };
        for Opt { letter, .. } in options {
            let line = match letter.to_ascii_lowercase() {
                b'f' => &mut lines.from,
                b'r' => &mut lines.return_path,
                _ => &mut lines.delivered_to,
            };
            *line = letter.is_ascii_uppercase();
        }
        Ok((lines, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(bool, bool, bool, usize), Stop> {
        let words = ["preline"].into_iter().chain(line.split_whitespace());
        let words: Vec<OsString> = words.map(OsString::from).collect();
        let (lines, rest) = Lines::parse(&words)?;
        Ok((lines.from, lines.return_path, lines.delivered_to, rest.len()))
    }

    #[test]
    fn small_letters_leave_lines_out_and_capitals_bring_them_back() {
        assert_eq!(parse("cat -f"), Ok((true, true, true, 2)));
        assert_eq!(parse("-fr -d cat"), Ok((false, false, false, 1)));
        assert_eq!(parse("-frdRD cat"), Ok((false, true, true, 1)));
        assert_eq!(parse("-d -- -x"), Ok((true, true, false, 1)));
        assert_eq!(parse("- x"), Ok((true, true, true, 2)));
        assert_eq!(parse("-x cat"), Err(Stop::Usage(USAGE)));
    }
}
