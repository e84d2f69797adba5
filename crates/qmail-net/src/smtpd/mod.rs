//! receive letters by SMTP
//!
//! *Runs as* qmaild (never root) · *hears* the client on descriptors 0 and 1, or on the connection
//! its clean parent is handed · *opens* `control/`, `users/cdb` and accounts' `.qmail` names ·
//! *speaks to* queued, or to the program `$QMAILQUEUE` names

pub(crate) mod annex;
pub(crate) mod circumstances;
pub(crate) mod intake;
mod patience;
pub(crate) mod received;
mod shop;
pub(crate) mod site;
pub(crate) mod talk;
pub(crate) mod welcome;

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use store::home::Home;
use store::users::Directory;
use sys::{brood, fd, user};

use crate::fences;
use crate::grounds::Grounds;

use self::circumstances::Circumstances;
use self::shop::Shop;
use self::site::Site;
use self::talk::Ends;

/// Connections at once in one clean parent; tcpserver's own limit is normally lower, and so is the
/// kernel's of processes.
pub(crate) const CHILDREN: usize = 100_000;
/// Connections until a clean parent makes way for a fresh one.
pub(crate) const RETIRE: u64 = 100_000;

/// The program's name.
const NAME: &str = "qmail-smtpd";

/// Serves one client on descriptors 0 and 1; or, as a clean parent, each connection it is handed.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    let brood = brood::requested();
    match prepare() {
        Ok(home) => brood.map_or_else(|| serve_one(&home), |socket| serve_many(socket, &home)),
        Err(trouble) => {
            say(NAME, format_args!("fatal: {trouble}"));
            111
        }
    }
}

/// Says something to the log, in one write: a line in pieces can meet another program's.
pub(crate) fn say(who: &str, what: std::fmt::Arguments<'_>) {
    sys::log::put(fd::stderr(), format!("{who}: {what}\n").as_bytes());
}

/// The home, once it is certain that this process may listen to strangers.
pub(crate) fn prepare() -> Result<Home, String> {
    let home = Home::find().map_err(|err| err.to_string())?;
    if user::euid() == 0 && !home.is_private() {
        return Err("refusing to run as root: run me as qmaild (tcpserver -u)".to_owned());
    }
    std::env::set_current_dir(home.root())
        .map_err(|err| format!("unable to chdir to {}: {err}", home.root().display()))?;
    Ok(home)
}

fn serve_one(home: &Home) -> i32 {
    let ends = Ends { hear: fd::stdin(), speak: fd::stdout() };
    serve(ends, home, &mut Directory::new(home), &Circumstances::of_process())
}

fn serve_many(socket: OwnedFd, home: &Home) -> i32 {
    let limits = brood::Serve { max_children: CHILDREN, retire_after: RETIRE };
    let annexed =
        |ends: Ends<'_>, about: &Circumstances| serve(ends, home, &mut Directory::new(home), about);
    let annex = match annex::open(&socket, annexed) {
        Ok(annex) => annex,
        Err(err) => {
            say(NAME, format_args!("fatal: unable to fork: {err}"));
            return 111;
        }
    };
    let mut grounds = Grounds::none();
    if annex.is_some() {
        grounds = Grounds::of(home, &fences::SMTPD);
        if let Some(missing) = fences::smtpd(home.root()).close_or_tell() {
            say(NAME, format_args!("warning: {missing}"));
        }
    }
    match brood::serve_as(socket, limits, Shop::open(home, annex, grounds)) {
        Ok(()) => 0,
        Err(err) => {
            say(NAME, format_args!("fatal: unable to serve: {err}"));
            111
        }
    }
}

/// One connection, the control files read for it; its exit code.
fn serve(ends: Ends<'_>, home: &Home, users: &mut Directory, about: &Circumstances) -> i32 {
    match Site::load(home) {
        Ok(site) => talk::talk(ends, home, &site, users, about, &mut None),
        Err(err) => {
            say(NAME, format_args!("fatal: {err}"));
            talk::send_away(ends);
            1
        }
    }
}
