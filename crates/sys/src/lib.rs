//! The kernel, made safe. The only crate with `unsafe`; it knows nothing of mail.
#![allow(unsafe_code, reason = "this crate is where the kernel's calls are made safe")]

pub mod at;
pub mod brood;
pub mod clock;
pub mod crc;
pub mod dir;
pub mod errno;
pub mod fd;
pub mod file;
pub mod getopt;
pub mod lock;
pub mod log;
pub mod multicall;
pub mod net;
pub mod nook;
pub mod pass;
pub mod poll;
pub mod process;
pub mod random;
pub mod renew;
pub mod rlimit;
pub mod sandbox;
pub mod sched;
pub mod signal;
pub mod spawn;
pub mod tee;
pub mod user;
pub mod watch;
