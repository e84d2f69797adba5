//! The words of Life with qmail's `qmailctl`, for who knows no others: its table and its usage line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::print;
use crate::{Args, Trouble};

/// Each word of the table with what it does, in its order.
const TABLE: [(&str, &str); 13] = [
    ("stop", "stops mail service (smtp connections refused, nothing goes out)"),
    ("start", "starts mail service (smtp connection accepted, mail can go out)"),
    ("pause", "temporarily stops mail service (connections accepted, nothing leaves)"),
    ("cont", "continues paused mail service"),
    ("stat", "displays status of mail service"),
    ("cdb", "rebuild the tcpserver cdb file for smtp"),
    ("restart", "stops and restarts smtp, sends qmail-send a TERM & restarts it"),
    ("doqueue", "schedules queued messages for immediate delivery"),
    ("reload", "sends qmail-send HUP, rereading locals and virtualdomains"),
    ("queue", "shows status of queue"),
    ("alrm", "same as doqueue"),
    ("flush", "same as doqueue"),
    ("hup", "same as reload"),
];

/// What is said to a word that nobody knows, or to none.
const WORDS: &str = "start|stop|restart|doqueue|flush|reload|stat|pause|cont|cdb|queue|help";

/// Reads the command line; the exit code if nothing is left to be done. What is more than a word is
/// answered in more words than that script has.
pub(crate) fn read(args: Vec<OsString>) -> Result<Args, ExitCode> {
    let word = args.get(1).filter(|_| args.len() == 2);
    if word.is_some_and(|word| word == "help") {
        let mut lines: Vec<String> =
            TABLE.iter().map(|(word, means)| format!("{word:>7} -- {means}")).collect();
        lines.push("more: qmailctl --help".to_owned());
        return Err(said(&lines.join("\n"), 0));
    }
    let program = args.first().map(|name| name.to_string_lossy().into_owned());
    let (alone, wordless) = (word.is_some(), args.len() < 2);
    Args::try_parse_from(args).map_err(|error| {
        if wordless || (alone && error.kind() == ErrorKind::InvalidSubcommand) {
            return said(&format!("Usage: {} {{{WORDS}}}", program.unwrap_or_default()), 1);
        }
        let told = error.print().map_err(|why| format!("unable to write: {why}"));
        let code = u8::try_from(error.exit_code()).unwrap_or(2);
        ended(if code == 0 { told } else { Ok(()) }, code)
    })
}

fn said(text: &str, code: u8) -> ExitCode {
    ended(print::lines(format_args!("{text}")), code)
}

/// The exit code; 111 and why, if what was asked for could not be told.
fn ended(told: Result<(), Trouble>, code: u8) -> ExitCode {
    let Err(why) = told else { return code.into() };
    print::complain(format_args!("qmailctl: fatal: {why}"));
    ExitCode::from(111)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [&str; 6] = [
        "README.md",
        "docs/first-hour.md",
        "docs/moving-from-qmail.md",
        "docs/daily-work.md",
        "docs/when-something-is-wrong.md",
        "docs/journeys/README.md",
    ];

    /// The words of every `qmailctl` on an indented line, up to what is the shell's.
    fn commands(page: &str) -> impl Iterator<Item = Vec<String>> {
        let code = page.lines().filter(|line| line.starts_with("    "));
        let parts = code.flat_map(|line| line.split([';', '|', '>', '#']));
        parts.filter_map(|part| {
            let mut words = part.split_whitespace();
            words.find(|word| *word == "qmailctl" || word.ends_with("bin/qmailctl"))?;
            Some(std::iter::once("qmailctl").chain(words).map(str::to_owned).collect())
        })
    }

    #[test]
    fn every_command_in_the_book_is_one() {
        let mut tried = 0;
        for page in PAGES {
            let path = format!("{}/../../{page}", env!("CARGO_MANIFEST_DIR"));
            for words in commands(&std::fs::read_to_string(path).unwrap()) {
                if words.get(1).is_none_or(|word| word != "help") {
                    let read = Args::try_parse_from(&words);
                    assert!(read.is_ok(), "{page}: {}", words.join(" "));
                    tried += 1;
                }
            }
        }
        assert!(tried > 30, "{tried}");
    }
}
