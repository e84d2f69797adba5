//! What lasts and who may have it: the home and its control files, users and passwords, the queue
//! and how to speak to it, Maildirs, and the disk under all of it.
#![forbid(unsafe_code)]

pub mod client;
pub mod control;
pub mod disk;
pub mod home;
pub mod maildir;
pub mod passwords;
pub mod program;
pub mod queue;
pub mod reach;
pub mod stock;
pub mod users;
