//! The clean parent, both sides: one process that has never seen a stranger's byte forks a child
//! for each connection or job it is handed, and tells how the child ended.
//!
//! The owner starts the clean parent with a SEQPACKET socket whose number is in `$BROOD_FD`. A job
//! is one message: its serial number (eight bytes, little-endian), then the payload, with the
//! descriptors attached. An answer is 13 bytes: a letter, the serial, a number; one message holds
//! one answer or several. `ready` and a greeting is said first, and whenever the greeting changes.
//!
//! The greeting is what the program says before it has heard anything. A listener that knows it
//! can say it itself and hand a connection over only when its client has answered; it then tells
//! what was said in the variable [`GREETED`].

mod annex;
mod greeting;
mod owner;
mod parent;
mod regular;
mod word;

pub use annex::{Annex, make_way};
pub use greeting::Greeting;
pub use owner::Brood;
pub use parent::{CleanParent, Serve, requested, serve, serve_as};
pub use regular::{Heard, Regular};
pub use word::Event;

/// The variable that tells a program it is to be a clean parent.
pub const VARIABLE: &str = "BROOD_FD";
/// The most descriptors one job carries.
pub const FDS: usize = 4;
/// The variable of a job by which a listener tells what it has said to the client already: the
/// greeting without its line end. Not set, or empty: nothing was said.
pub const GREETED: &str = "GREETED";
/// The variable of a job by which a listener tells that the client spoke before it was greeted.
pub const EARLYTALKER: &str = "EARLYTALKER";
/// The variable of a job by which a listener tells that places are short: if it is not empty, the
/// client is waited for less long.
pub const HURRY: &str = "HURRY";
