//! Verdicts on senders: the one wrapper around mail-auth, in a process that hears one letter.
#![forbid(unsafe_code)]

mod authres;
mod print;
mod verdict;

use sys::multicall::{self, Program};

/// The one program.
const PROGRAMS: &[Program] = &[Program {
    name: "qmail-authres",
    sentence: "say whether a letter is from whom it says",
    main: authres::main,
}];

fn main() {
    multicall::run(PROGRAMS)
}
