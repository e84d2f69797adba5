//! The caretakers: supervision, logging, the TCP listener and what belongs to TCP connections.
#![forbid(unsafe_code)]

mod argv0;
mod crlf;
mod envdir;
mod fences;
mod fghack;
mod look;
mod message;
mod multilog;
mod pgrphack;
mod rblsmtpd;
mod readproctitle;
mod recordio;
mod relay;
mod room;
mod run;
mod setlock;
mod setuidgid;
mod softlimit;
mod splogger;
mod supervise;
mod svc;
mod svok;
mod svscan;
mod svscanboot;
mod svstat;
mod svwait;
mod tai64n;
mod tcpclient;
mod tcprules;
mod tcpserver;
mod ucspi;
mod waiting;

use sys::multicall::{self, Program};

/// Every program, in the order of the alphabet.
const PROGRAMS: &[Program] = &[
    Program { name: "addcr", sentence: "put a CR before every line feed", main: crlf::addcr },
    Program { name: "argv0", sentence: "run a program under another name", main: argv0::main },
    Program {
        name: "date@",
        sentence: "ask a host for the time of day",
        main: tcpclient::ask::date,
    },
    Program { name: "delcr", sentence: "remove the CR before every line feed", main: crlf::delcr },
    Program {
        name: "envdir",
        sentence: "run a program with variables set from a directory",
        main: envdir::main,
    },
    Program {
        name: "envuidgid",
        sentence: "run a program with another account's ids in UID and GID",
        main: setuidgid::envuidgid,
    },
    Program {
        name: "fghack",
        sentence: "keep a program that backgrounds itself in the foreground",
        main: fghack::main,
    },
    Program { name: "finger@", sentence: "ask a host about a user", main: tcpclient::ask::finger },
    Program {
        name: "fixcrio",
        sentence: "put missing CRs into what a program hears and says",
        main: recordio::fixcrio,
    },
    Program { name: "http@", sentence: "fetch a web page from a host", main: tcpclient::ask::http },
    Program {
        name: "mconnect",
        sentence: "talk to an SMTP server by hand",
        main: tcpclient::ask::mconnect,
    },
    Program {
        name: "mconnect-io",
        sentence: "pass lines between a terminal and a TCP connection",
        main: tcpclient::ask::mconnect_io,
    },
    Program { name: "multilog", sentence: "write a log, rotated by size", main: multilog::main },
    Program {
        name: "pgrphack",
        sentence: "run a program in a process group of its own",
        main: pgrphack::main,
    },
    Program {
        name: "rblsmtpd",
        sentence: "refuse mail from addresses that DNS lists name",
        main: rblsmtpd::main,
    },
    Program {
        name: "readproctitle",
        sentence: "show a log where ps shows the command line",
        main: readproctitle::main,
    },
    Program {
        name: "recordio",
        sentence: "record what a program hears and says",
        main: recordio::main,
    },
    Program { name: "setlock", sentence: "run a program holding a lock", main: setlock::main },
    Program {
        name: "setuidgid",
        sentence: "run a program as another account",
        main: setuidgid::main,
    },
    Program {
        name: "softlimit",
        sentence: "run a program under resource limits",
        main: softlimit::main,
    },
    Program { name: "splogger", sentence: "hand lines to syslog", main: splogger::main },
    Program {
        name: "supervise",
        sentence: "start a service and start it again when it dies",
        main: supervise::main,
    },
    Program { name: "svc", sentence: "control supervised services", main: svc::main },
    Program { name: "svok", sentence: "tell whether supervise is running", main: svok::main },
    Program {
        name: "svscan",
        sentence: "start and watch a supervise for every service",
        main: svscan::main,
    },
    Program {
        name: "svscanboot",
        sentence: "start svscan, with its log where ps shows it",
        main: svscanboot::main,
    },
    Program {
        name: "svstat",
        sentence: "print the state of supervised services",
        main: svstat::main,
    },
    Program {
        name: "svwait",
        sentence: "wait until supervised services are up, ready, down or restarted",
        main: svwait::main,
    },
    Program { name: "tai64n", sentence: "put a time label before each line", main: tai64n::main },
    Program {
        name: "tcp-env",
        sentence: "run a program with the variables of a TCP connection",
        main: tcpserver::tcp_env::main,
    },
    Program {
        name: "tai64nlocal",
        sentence: "turn time labels into local time",
        main: tai64n::local,
    },
    Program {
        name: "tcpcat",
        sentence: "print what a TCP server says",
        main: tcpclient::ask::tcpcat,
    },
    Program {
        name: "tcpclient",
        sentence: "connect to a TCP server and run a program",
        main: tcpclient::main,
    },
    Program { name: "tcprules", sentence: "compile rules for tcpserver", main: tcprules::main },
    Program {
        name: "tcpserver",
        sentence: "accept TCP connections and run a program for each",
        main: tcpserver::main,
    },
    Program {
        name: "tcprulescheck",
        sentence: "show what rules say of a client",
        main: tcprules::check::main,
    },
    Program { name: "who@", sentence: "ask a host who is logged in", main: tcpclient::ask::who },
];

fn main() {
    multicall::run(PROGRAMS)
}
