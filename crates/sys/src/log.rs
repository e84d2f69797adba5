//! Lines for the log on descriptor 2: `PROGRAM: TEXT`, each in one write. With what a user or a
//! stranger named in it, it is still one line.

use crate::fd;
use crate::spawn::Status;
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// The longest line, bytes: what a pipe takes whole (`PIPE_BUF`), so that the lines of several
/// processes do not mix.
const LONGEST: usize = 4_096;

/// The line: control bytes become `_`, what is too long is cut.
pub fn line(program: &str, text: fmt::Arguments<'_>) -> Vec<u8> {
    let mut line = format!("{program}: {text}").into_bytes();
    line.truncate(LONGEST - 1);
    for byte in line.iter_mut().filter(|byte| byte.is_ascii_control()) {
        *byte = b'_';
    }
    line.push(b'\n');
    line
}

/// Says a line under the name this process was started by. There is nobody to tell if that fails.
pub fn say(text: fmt::Arguments<'_>) {
    let first = std::env::args_os().next().unwrap_or_default();
    let name = first.as_bytes().rsplit(|&c| c == b'/').next().unwrap_or_default();
    say_to(fd::stderr(), &String::from_utf8_lossy(name), text);
}

/// Says a line in another log.
pub fn say_to(log: impl AsFd, program: &str, text: fmt::Arguments<'_>) {
    put(log, &line(program, text));
}

/// Writes lines. If the log does not take them they are written once more, behind one that says so:
/// some may be there twice, or in pieces.
pub fn put(log: impl AsFd, lines: &[u8]) {
    if let Err(err) = fd::write_all(&log, lines) {
        let why = crate::errno::text(&err);
        let again = format!("warning: unable to write to this log: {why}; once more:\n");
        let _nobody_hears = fd::write_all(&log, &[again.as_bytes(), lines].concat());
    }
}

/// Says `PROGRAM: child PID killed by signal N`; nothing of a child that ended by itself.
pub fn bury(child: u32, status: Status) {
    if let Status::Killed(_) = status {
        say(format_args!("child {child} {status}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_it_stays_one_line() {
        let said = line("qmail-local", format_args!("unable to open a\nb\x1b[1m: {}", "no"));
        assert_eq!(said, b"qmail-local: unable to open a_b_[1m: no\n");
        let long = line("p", format_args!("{}", "x".repeat(9_999)));
        assert_eq!((long.len(), long.last()), (LONGEST, Some(&b'\n')));
        let said = line("p", format_args!("child 7 {}", Status::Killed(9)));
        assert_eq!(said, b"p: child 7 killed by signal 9\n");
    }
}
