//! (being written)
#![forbid(unsafe_code)]

pub mod client;
pub mod control;
pub mod home;
