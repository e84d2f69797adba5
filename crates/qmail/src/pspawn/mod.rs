//! check logins and open mailboxes, each as its user
//!
//! *Runs as* root (as the home's owner in a private home) · *hears* qmail-popup and qmail-smtpd,
//! one bounded message for each login · *opens* `users/passwords.cdb`, `users/cdb`, `/etc/passwd`,
//! `control/checkpassword` · *speaks to* its children, which check a login, and to the clean
//! parents of qmail-pop3d, each run as its account's user

mod check;
mod child;
mod crowd;
mod files;
mod nests;
mod server;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, chown};

use store::home::Home;
use sys::pass::{self, Kind};
use sys::user;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 512;

pub(crate) fn main(args: &[OsString]) -> i32 {
    // A foreign checkpassword program runs us when the secret fits.
    if args.get(1).is_some_and(|word| word == child::WELCOME) {
        return child::welcome(args.get(2));
    }
    match start() {
        Ok(code) => code,
        Err(why) => {
            say(&format!("fatal: {why}"));
            111
        }
    }
}

fn start() -> Result<i32, String> {
    let home = Home::find().map_err(|err| err.to_string())?;
    if home.is_private() && user::euid() == 0 {
        user::drop_to(&home.owner_ids()).map_err(|err| format!("unable to be the owner: {err}"))?;
    }
    let roles = home.roles().map_err(|err| err.to_string())?;
    let path = home.path("pspawn/socket");
    let listener = listen(&home, roles.nofiles)
        .map_err(|err| format!("unable to listen at {}: {err}", path.display()))?;
    // Root could become any of them.
    let peers = [roles.qmaild.uid, home.owner(), 0];
    let server = server::Server::new(home, listener, peers);
    let mut server = server.map_err(|err| format!("unable to start: {err}"))?;
    server.run().map_err(|err| format!("unable to go on: {err}"))?;
    Ok(0)
}

/// The socket, in a directory that only we and the network programs' group may enter.
fn listen(home: &Home, nofiles: u32) -> io::Result<OwnedFd> {
    let dir = home.path("pspawn");
    let mode = if home.is_private() { 0o700 } else { 0o750 };
    match fs::DirBuilder::new().mode(mode).create(&dir) {
        Ok(()) => chown(&dir, None, Some(nofiles))?,
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        Err(err) => return Err(err),
    }
    pass::listen(&dir.join("socket"), Kind::Seqpacket, 0o666, BACKLOG)
}

/// One line in the log.
fn say(text: &str) {
    sys::log::put(sys::fd::stderr(), format!("qmail-pspawn: {text}\n").as_bytes());
}
