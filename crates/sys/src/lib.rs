//! The kernel, made safe. The only crate with `unsafe`; it knows nothing of mail.

pub mod brood;
pub mod clock;
pub mod errno;
pub mod fd;
pub mod lock;
pub mod pass;
pub mod poll;
pub mod sandbox;
pub mod signal;
pub mod spawn;
pub mod user;
