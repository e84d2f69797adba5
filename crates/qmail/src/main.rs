//! The inside of the mail system: queue, scheduler, local delivery and injection; no network.
#![forbid(unsafe_code)]

mod checkpassword;
mod clean;
mod commands;
mod config;
mod config_fast;
mod fences;
mod flag;
mod getpw;
mod inject;
mod leaving;
mod local;
mod login;
mod lspawn;
mod mbox_lock;
mod newmrh;
mod newu;
mod pspawn;
mod pw2u;
mod qread;
mod queue;
mod queued;
mod rspawn;
mod send;
mod sendmail;
mod showctl;
mod spawn;
mod start;

use sys::multicall::{self, Program};

/// Every program, in the order of the alphabet.
const PROGRAMS: &[Program] = &[
    Program {
        name: "bouncesaying",
        sentence: "refuse a letter with these words, perhaps only if a program says so",
        main: commands::bouncesaying::main,
    },
    Program {
        name: "checkpassword",
        sentence: "check a name and password, then run a program as that user",
        main: checkpassword::main,
    },
    Program {
        name: "condredirect",
        sentence: "send a letter on to another address if a program says so",
        main: commands::condredirect::main,
    },
    Program {
        name: "config",
        sentence: "write the settings of a new home from what DNS says of the host",
        main: config::main,
    },
    Program {
        name: "config-fast",
        sentence: "write the settings of a new home from the host's name",
        main: config_fast::main,
    },
    Program {
        name: "datemail",
        sentence: "queue a letter the way sendmail does, with a Date field in local time",
        main: commands::datemail::main,
    },
    Program {
        name: "dot-forward",
        sentence: "follow a .forward file",
        main: commands::aliases::dot_forward::main,
    },
    Program {
        name: "elq",
        sentence: "read new mail with elm, from a Maildir",
        main: commands::elq::main,
    },
    Program {
        name: "except",
        sentence: "turn a program's answer round",
        main: commands::except::main,
    },
    Program {
        name: "fastforward",
        sentence: "send a letter on as a forwarding table says",
        main: commands::aliases::fastforward::main,
    },
    Program {
        name: "forward",
        sentence: "send a letter on to other addresses",
        main: commands::forward::main,
    },
    Program {
        name: "maildir2mbox",
        sentence: "move the letters of a Maildir into an mbox file",
        main: commands::maildir2mbox::main,
    },
    Program { name: "maildirmake", sentence: "make a Maildir", main: commands::maildirmake::main },
    Program {
        name: "maildirwatch",
        sentence: "show what is new in a Maildir, again and again",
        main: commands::maildirwatch::main,
    },
    Program {
        name: "mailq",
        sentence: "list the queue the way sendmail does",
        main: sendmail::mailq,
    },
    Program {
        name: "mailsubj",
        sentence: "queue a letter under a subject",
        main: commands::mailsubj::main,
    },
    Program {
        name: "newaliases",
        sentence: "make fastforward's table of sendmail's alias file",
        main: commands::aliases::newaliases::main,
    },
    Program {
        name: "newinclude",
        sentence: "make a mailing list for fastforward of a sendmail include file",
        main: commands::aliases::newinclude::main,
    },
    Program {
        name: "pinq",
        sentence: "read new mail with pine, from a Maildir",
        main: commands::elq::pinq,
    },
    Program {
        name: "predate",
        sentence: "put a Date field on top of a letter and give it to a program",
        main: commands::predate::main,
    },
    Program {
        name: "preline",
        sentence: "give a program the letter with its From, Return-Path and Delivered-To lines on top",
        main: commands::preline::main,
    },
    Program {
        name: "printforward",
        sentence: "print the instructions of a forwarding table",
        main: commands::aliases::tables::printforward,
    },
    Program {
        name: "printmaillist",
        sentence: "print the lines of fastforward's mailing list",
        main: commands::aliases::maillist::printmaillist,
    },
    Program {
        name: "qail",
        sentence: "read new mail with Mail, from a Maildir",
        main: commands::elq::qail,
    },
    Program {
        name: "qbiff",
        sentence: "tell a user at his terminals that a letter has come",
        main: commands::qbiff::main,
    },
    Program {
        name: "qmail-clean",
        sentence: "ask queued to forget what qmail-send has finished",
        main: clean::main,
    },
    Program {
        name: "qmail-getpw",
        sentence: "find the system user a local part belongs to",
        main: getpw::main,
    },
    Program {
        name: "qmail-inject",
        sentence: "preprocess and queue a letter from a local user",
        main: inject::main,
    },
    Program { name: "qmail-local", sentence: "deliver or forward one letter", main: local::main },
    Program {
        name: "qmail-lspawn",
        sentence: "make local deliveries, each as its user",
        main: lspawn::main,
    },
    Program {
        name: "qmail-newmrh",
        sentence: "compile control/morercpthosts into control/morercpthosts.cdb",
        main: newmrh::main,
    },
    Program {
        name: "qmail-newu",
        sentence: "compile users/assign into users/cdb",
        main: newu::main,
    },
    Program {
        name: "qmail-pspawn",
        sentence: "check logins and open mailboxes, each as its user",
        main: pspawn::main,
    },
    Program {
        name: "qmail-pw2u",
        sentence: "make a users/assign of a list of the system's users",
        main: pw2u::main,
    },
    Program { name: "qmail-qread", sentence: "list the letters in the queue", main: qread::main },
    Program { name: "qmail-qstat", sentence: "count the letters in the queue", main: qread::qstat },
    Program {
        name: "qmail-queued",
        sentence: "keep the queue: every letter on disk before it is acknowledged",
        main: queued::main,
    },
    Program {
        name: "qmail-queue",
        sentence: "queue a letter from descriptors 0 and 1",
        main: queue::main,
    },
    Program {
        name: "qmail-rspawn",
        sentence: "make remote deliveries, each in a process of its own",
        main: rspawn::main,
    },
    Program { name: "qmail-send", sentence: "deliver the letters of the queue", main: send::main },
    Program {
        name: "qmail-showctl",
        sentence: "show every setting, and say what is wrong with them",
        main: showctl::main,
    },
    Program {
        name: "qmail-start",
        sentence: "start qmail-send and its helpers, wired together",
        main: start::main,
    },
    Program {
        name: "qreceipt",
        sentence: "tell the sender that his letter was delivered, if he asks for it",
        main: commands::qreceipt::main,
    },
    Program {
        name: "sendmail",
        sentence: "queue a letter the way sendmail does",
        main: sendmail::main,
    },
    Program {
        name: "setforward",
        sentence: "make a forwarding table of instructions",
        main: commands::aliases::tables::setforward,
    },
    Program {
        name: "setmaillist",
        sentence: "make a mailing list for fastforward of lines",
        main: commands::aliases::maillist::setmaillist,
    },
];

fn main() {
    multicall::run(PROGRAMS)
}
