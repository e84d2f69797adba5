//! What is fuzzed: one function a target, each an oracle that panics when a promise is broken.
//!
//! The fuzzers' binaries (`targets/`) call them under libFuzzer; `tests/replay.rs` calls them with
//! every seed and thousands of random inputs under plain `cargo test`, with a bound on memory.
//! The decision page is `docs/decisions/fuzzing.md`.

mod aliases;
mod brood;
mod cdb;
mod dot;
mod header;
mod packets;
mod pick;
mod pop3;
mod programs;
mod proxy;
mod queue;
mod reference;
mod settings;
mod smtp_client;
mod smtp_model;
mod smtp_server;
mod stock;
mod tai64n;
mod wire;
mod words;

/// `programs` includes files that say `crate::spawn`: of `sys` or of `qmail`.
mod spawn {
    pub(crate) use sys::spawn::Status;

    use base::outcome::Outcome;

    /// As `qmail` has it.
    pub(crate) type Verdict = (Outcome, Vec<u8>);

    /// The same.
    pub(crate) fn later(text: &str) -> Verdict {
        (Outcome::Later, text.as_bytes().to_vec())
    }
}

pub use self::aliases::aliases;
pub use self::cdb::cdb;
pub use self::dot::dot;
pub use self::header::header;
pub use self::packets::{qmqp, qmtp};
pub use self::pop3::pop3;
pub use self::proxy::proxy;
pub use self::queue::queue;
pub use self::settings::settings;
pub use self::smtp_client::smtp_client;
pub use self::smtp_server::smtp_server;
pub use self::wire::wire;
pub use self::words::words;

/// A target: its name, as the binary and the folder of seeds are called, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 14] = [
    ("smtp_server", smtp_server),
    ("dot", dot),
    ("pop3", pop3),
    ("smtp_client", smtp_client),
    ("wire", wire),
    ("queue", queue),
    ("header", header),
    ("settings", settings),
    ("cdb", cdb),
    ("words", words),
    ("aliases", aliases),
    ("qmtp", qmtp),
    ("qmqp", qmqp),
    ("proxy", proxy),
];
