//! serve one Maildir by POP3
//!
//! *Runs as* the mailbox's user (never root) · *hears* the client, who has logged in, on
//! descriptors 0 and 1, or on the connection its clean parent is handed · *opens* the Maildir its
//! argument names · *speaks to* nobody else

mod lengths;
mod maildir;
mod name;
mod sizes;
mod talk;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use store::home::Home;
use sys::brood::{self, Serve};
use sys::{clock, fd, net, signal, user};

use crate::fences;

use self::maildir::{Maildir, Trouble, complain};
use self::talk::Ends;

/// Sessions at once in one clean parent; qmail-pspawn's own limit is lower.
const CHILDREN: usize = 10_000;
/// Sessions until a clean parent makes way for a fresh one.
const RETIRE: u64 = 100_000;

/// `qmail-pop3d Maildir`. The exit code is 0 even for a session that breaks off, as in stock: to
/// qmail-popup anything else is a login that failed.
pub(crate) fn main(args: &[OsString]) -> i32 {
    if user::euid() == 0 || user::uid() == 0 {
        let _gone = io::stderr().write_all(b"qmail-pop3d invoked as uid 0, terminating\n");
        return 1;
    }
    hide();
    if let Some(sock) = brood::requested() {
        return parent(sock, args.get(1));
    }
    signal::ignore(signal::Signal::Pipe);
    sweep(args.get(1));
    serve(args.get(1), fd::stdin(), fd::stdout());
    0
}

/// Keeps the user's other processes from our descriptors, of which the log is not the user's. Where
/// the home is the user's own there is nothing to keep, and its owner is to find us.
fn hide() {
    if !Home::find().is_ok_and(|home| home.is_private()) {
        // No kernel refuses it.
        let _ = sys::process::keep_to_itself();
    }
}

/// The clean parent of one user, in that user's home: each child serves one connection.
fn parent(sock: OwnedFd, path: Option<&OsString>) -> i32 {
    let home = std::env::var_os("HOME").unwrap_or_default();
    if let Err(err) = std::env::set_current_dir(&home) {
        let (home, text) = (home.display(), sys::errno::text(&err));
        let _gone = writeln!(io::stderr(), "qmail-pop3d: unable to switch to {home}: {text}");
        return 111;
    }
    sweep(path);
    let fenced = path.and_then(|path| fence(path.as_ref()));
    let limits = Serve { max_children: CHILDREN, retire_after: RETIRE };
    let served = brood::serve(sock, limits, |_, fds| {
        let Some(connection) = fds.first() else { return 111 };
        // The home may be another directory by now, or gone.
        let entered = std::env::set_current_dir(&home)
            .inspect_err(|err| complain("switch to", "".as_ref(), err));
        let path = path.filter(|_| entered.is_ok());
        let _blocking = fd::set_nonblocking(connection, false);
        if fenced.is_some() && path.and_then(|path| identity(path.as_ref())) != fenced {
            // Another Maildir of the same name is behind our fence.
            sys::log::say(format_args!(
                "{} is not the Maildir it was: making way for another process",
                home.display()
            ));
            Ends::new(connection.as_fd(), connection.as_fd())
                .refuse("this mailbox has been replaced, try again");
            brood::make_way();
        }
        serve(path, connection.as_fd(), connection.as_fd());
        0
    });
    if served.is_ok() { 0 } else { 111 }
}

/// Keeps nothing but the Maildir; which it is. One that is not there is not served either.
fn fence(path: &Path) -> Option<(u64, u64)> {
    let maildir = identity(path)?;
    if let Some(missing) = fences::pop3d(path).close_or_tell() {
        let _gone = writeln!(io::stderr(), "qmail-pop3d: warning: {missing}");
    }
    Some(maildir)
}

/// By what a directory is known, whatever it is called.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).inspect_err(|err| complain("stat", path, err));
    meta.ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Removes what deliveries that died have left behind.
fn sweep(path: Option<&OsString>) {
    if let Some(path) = path {
        Maildir::at(path.as_ref()).sweep(clock::now());
    }
}

/// One session.
fn serve(path: Option<&OsString>, input: BorrowedFd<'_>, output: BorrowedFd<'_>) {
    // Not a socket: nothing is lost.
    let _only_for_tcp = net::nodelay(output);
    let mut ends = Ends::new(input, output);
    let maildir = path.ok_or(Trouble::NoMaildir);
    match maildir.and_then(|path| Maildir::at(path.as_ref()).scan()) {
        Ok(maildir) => talk::serve(&mut ends, &maildir),
        Err(trouble) => ends.refuse(match trouble {
            Trouble::NoMaildir => "this user has no $HOME/Maildir",
            Trouble::Unreadable => "unable to scan $HOME/Maildir",
        }),
    }
}
