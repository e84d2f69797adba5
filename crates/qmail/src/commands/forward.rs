//! send a letter on to other addresses
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* nothing · *speaks to*
//! queued, or the program `$QMAILQUEUE` names

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::requeue::requeue_stdin;
use super::{Stop, end, needed, say, words};

const USAGE: &str = "forward: usage: forward address ...";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("forward", run(words(args)))
}

fn run(addresses: &[OsString]) -> Result<i32, Stop> {
    let sender = needed("NEWSENDER")?;
    let delivered_to = needed("DTLINE")?;
    if addresses.is_empty() {
        // A letter to nobody would vanish.
        return Err(Stop::Usage(USAGE));
    }
    let recipients = addresses.iter().map(|address| address.as_bytes());
    let pid = requeue_stdin(&delivered_to, &sender, recipients)?;
    say(format!("forward: qp {pid}"));
    Ok(0)
}
