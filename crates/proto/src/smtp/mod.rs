//! SMTP (RFC 5321) as stock `qmail-smtpd` and `qmail-remote` speak it.

pub mod client;
pub mod command;
pub(crate) mod hops;
pub mod hosts;
pub mod reply;
pub mod server;
