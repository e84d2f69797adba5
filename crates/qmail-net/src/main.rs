//! The outside of the mail system: every program that talks to a stranger.
#![forbid(unsafe_code)]

mod fences;
mod pop3d;
mod popup;
mod remote;
mod smtpd;

use sys::multicall::{self, Program};
use sys::nook::Nook;

/// Children of clean parents write few pages: see there.
#[global_allocator]
static NOOK: Nook = Nook;

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
    multicall::run(PROGRAMS)
}
