//! The clean parent, both sides: one process that has never seen a stranger's byte forks a child
//! for each connection or job it is handed, and tells how the child ended.
//!
//! The owner starts the clean parent with a SEQPACKET socket whose number is in `$BROOD_FD`. A job
//! is one message: its serial number (eight bytes, little-endian), then the payload, with the
//! descriptors attached. The answers are messages of 13 bytes: a letter, the serial, a number.

mod owner;
mod parent;
mod word;

pub use owner::Brood;
pub use parent::{Serve, requested, serve};
pub use word::Event;

/// The variable that tells a program it is to be a clean parent.
pub const VARIABLE: &str = "BROOD_FD";
/// The most descriptors one job carries.
pub const FDS: usize = 4;
