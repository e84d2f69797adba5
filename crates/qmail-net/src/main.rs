//! The outside of the mail system: every program that talks to a stranger.
#![forbid(unsafe_code)]

mod fences;
mod grounds;
mod pop3d;
mod popup;
mod qmqpc;
mod qmqpd;
mod qmtpd;
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
    Program {
        name: "qmail-qmqpc",
        sentence: "hand a letter to a QMQP server, in place of qmail-queue",
        main: qmqpc::main,
    },
    Program {
        name: "qmail-qmqpd",
        sentence: "receive letters by QMQP, from clients that may send anywhere",
        main: qmqpd::main,
    },
    Program { name: "qmail-qmtpd", sentence: "receive letters by QMTP", main: qmtpd::main },
    Program { name: "qmail-remote", sentence: "send a letter by SMTP", main: remote::main },
    Program { name: "qmail-smtpd", sentence: "receive letters by SMTP", main: smtpd::main },
    Program { name: "qmail-tcpok", sentence: "forget which hosts timed out", main: remote::tcpok },
    Program { name: "qmail-tcpto", sentence: "list which hosts timed out", main: remote::tcpto },
];

fn main() {
    multicall::run(PROGRAMS)
}
