//! (being written)
#![forbid(unsafe_code)]

pub mod client;
pub mod control;
pub mod disk;
pub mod home;
pub mod maildir;
pub mod passwords;
pub mod queue;
pub mod users;
