//! send a letter on to another address if a program says so
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* nothing · *speaks to* the
//! program it is told to ask; queued, or the program `$QMAILQUEUE` names

use std::ffi::OsString;
use std::fs::File;
use std::io::Seek;
use std::os::unix::ffi::OsStrExt;

use sys::fd;

use super::child::{Answer, ask};
use super::requeue::requeue;
use super::{Stop, end, needed, say, words};

const USAGE: &str = "condredirect: usage: condredirect newaddress program [ arg ... ]";

/// The program. Exit code 99: the lines of the `.qmail` file that follow do not count.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("condredirect", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let [address, program, args @ ..] = args else { return Err(Stop::Usage(USAGE)) };
    match ask("condredirect", program, args)? {
        Answer::Yes => redirect(address),
        Answer::No => Ok(0),
    }
}

fn redirect(address: &OsString) -> Result<i32, Stop> {
    let mut letter = File::from(fd::take(0));
    letter.rewind().map_err(|err| Stop::unable("rewind message", &err))?;
    let sender = needed("SENDER")?;
    let delivered_to = needed("DTLINE")?;
    let read = |buf: &mut [u8]| fd::read(&letter, buf);
    let pid = requeue(&delivered_to, read, &sender, [address.as_bytes()]).map_err(Stop::from)?;
    say(format!("condredirect: qp {pid}"));
    Ok(99)
}
