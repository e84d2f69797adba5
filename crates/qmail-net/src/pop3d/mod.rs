//! serve one Maildir by POP3
//!
//! *Runs as* the mailbox's user (never root) · *hears* the client, who has logged in, on
//! descriptors 0 and 1 · *opens* the Maildir its argument names · *speaks to* nobody else

mod maildir;
mod name;
mod talk;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;

use sys::{clock, fd, net, signal, user};

use self::maildir::{Maildir, Trouble};
use self::talk::Ends;

/// `qmail-pop3d Maildir`. The exit code is 0 even for a session that breaks off, as in stock: to
/// qmail-popup anything else is a login that failed.
pub(crate) fn main(args: &[OsString]) -> i32 {
    if user::euid() == 0 || user::uid() == 0 {
        let _gone = io::stderr().write_all(b"qmail-pop3d invoked as uid 0, terminating\n");
        return 1;
    }
    signal::ignore(signal::Signal::Pipe);
    let (input, output) = (fd::stdin(), fd::stdout());
    // Not a socket: nothing is lost.
    let _only_for_tcp = net::nodelay(output.as_fd());
    let mut ends = Ends::new(input, output);
    match open(args.get(1)) {
        Ok(mut maildir) => talk::serve(&mut ends, &mut maildir),
        Err(trouble) => ends.refuse(match trouble {
            Trouble::NoMaildir => "this user has no $HOME/Maildir",
            Trouble::Unreadable => "unable to scan $HOME/Maildir",
        }),
    }
    0
}

/// The Maildir with its letters, litter in `tmp` swept out.
fn open(path: Option<&OsString>) -> Result<Maildir, Trouble> {
    let maildir = Maildir::open(path.ok_or(Trouble::NoMaildir)?.as_ref())?;
    maildir.sweep(clock::now());
    maildir.scan()
}
