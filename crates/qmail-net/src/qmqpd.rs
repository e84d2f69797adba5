//! receive letters by QMQP, from clients that may send anywhere
//!
//! *Runs as* qmaild (never root) · *hears* the client on descriptors 0 and 1, or on the connection
//! its clean parent is handed · *opens* nothing · *speaks to* queued, or to the program
//! `$QMAILQUEUE` names

use std::ffi::OsString;

use crate::qmtpd::service::{self, Protocol};

/// Serves one client on descriptors 0 and 1; or, as a clean parent, each connection it is handed.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    service::main(Protocol::Qmqp)
}
