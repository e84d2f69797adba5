//! receive letters by QMTP
//!
//! *Runs as* qmaild (never root) · *hears* the client on descriptors 0 and 1, or on the connection
//! its clean parent is handed · *opens* `control/`, `users/cdb` and accounts' `.qmail` names ·
//! *speaks to* queued, or to the program `$QMAILQUEUE` names

pub(crate) mod service;
mod site;
mod talk;

use std::ffi::OsString;

use self::service::Protocol;

/// Serves one client on descriptors 0 and 1; or, as a clean parent, each connection it is handed.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    service::main(Protocol::Qmtp)
}
