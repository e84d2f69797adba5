//! The outside of the mail system: every program that talks to a stranger.
#![forbid(unsafe_code)]

mod pop3d;
mod popup;
mod remote;
mod smtpd;

use std::ffi::OsString;
use std::path::Path;

/// A program of this binary: its name, its one sentence, its `main`.
struct Program {
    name: &'static str,
    sentence: &'static str,
    main: fn(&[OsString]) -> i32,
}

/// Every program, in the order of the alphabet.
const PROGRAMS: &[Program] = &[
    Program { name: "qmail-pop3d", sentence: "serve one Maildir by POP3", main: pop3d::main },
    Program {
        name: "qmail-popup",
        sentence: "read a POP3 login and pass the connection on",
        main: popup::main,
    },
    Program { name: "qmail-remote", sentence: "send a letter by SMTP", main: remote::main },
    Program { name: "qmail-smtpd", sentence: "receive letters by SMTP", main: smtpd::main },
    Program { name: "qmail-tcpok", sentence: "forget which hosts timed out", main: remote::tcpok },
];

fn main() {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let mut found = find(args.first());
    if found.is_none() && args.len() > 1 {
        args.remove(0);
        found = find(args.first());
    }
    std::process::exit(found.map_or_else(help, |program| (program.main)(&args)));
}

/// The program a path names by its last component.
fn find(name: Option<&OsString>) -> Option<&'static Program> {
    let name = Path::new(name?).file_name()?;
    PROGRAMS.iter().find(|program| name == program.name)
}

/// Lists the programs; exit code 100 as for any misuse, 0 if `help` was asked for.
fn help() -> i32 {
    for program in PROGRAMS {
        println!("{:16} {}", program.name, program.sentence);
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == "help") { 0 } else { 100 }
}
