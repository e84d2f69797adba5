//! A program that becomes its successor: the socket it listens on goes along, so that nobody who
//! calls meanwhile is turned away.
//!
//! The socket's number is in a variable, alone or with the word `trial`: then the program is only to
//! show that it could serve, and to end.

use crate::fd;
use crate::spawn::{self, Command};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The number of the socket in a trial.
const AT: i32 = 3;
/// What stands behind the number then.
const TRIAL: &str = " trial";
/// What stands behind the variable's name in the name of another: the number of the process that wants
/// the trial.
const FOR: &str = "_FOR";

/// What a forerunner left.
#[derive(Debug)]
pub struct Inherited {
    /// The socket, listening. An exec closes it again.
    pub sock: OwnedFd,
    /// Only to be shown, not to be served.
    pub trial: bool,
    /// In a trial, the pid of the forerunner, if it has told.
    pub forerunner: Option<u32>,
}

/// The socket a forerunner left, if there is one. Takes the variable out of the environment; call
/// once, at the start, before there is a second thread.
pub fn inherited(variable: &str) -> Option<Inherited> {
    let value = std::env::var(variable).ok()?;
    // SAFETY: the programs call this first thing in `main`, when they have one thread.
    unsafe { std::env::remove_var(variable) };
    let name = format!("{variable}{FOR}");
    let forerunner = std::env::var(&name).ok().and_then(|pid| pid.parse().ok());
    // SAFETY: as above.
    unsafe { std::env::remove_var(name) };
    let (number, trial) = match value.strip_suffix(TRIAL) {
        Some(number) => (number, true),
        None => (value.as_str(), false),
    };
    let sock = fd::take(number.parse().ok().filter(|number| *number > 2)?);
    if !rustix::net::sockopt::socket_acceptconn(&sock).is_ok_and(|listens| listens) {
        // Not ours to close: the variable came from somebody who did not mean us.
        std::mem::forget(sock);
        return None;
    }
    fd::set_cloexec(&sock, true).ok()?;
    Some(Inherited { sock, trial, forerunner })
}

/// Starts this program anew, as it lies on the disk now, with the arguments it had, for a trial; its
/// pid.
///
/// # Errors
/// It cannot be started.
pub fn try_out(variable: &str, sock: BorrowedFd<'_>) -> io::Result<u32> {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let (program, args) = argv.split_first().ok_or(ErrorKind::InvalidInput)?;
    let value = format!("{AT}{TRIAL}");
    let command = Command::new(program).args(args).fd(sock, AT).env(variable, value);
    command.env(format!("{variable}{FOR}"), std::process::id().to_string()).spawn()
}

/// Becomes this program anew, as it lies on the disk now, with the arguments it had and the socket;
/// returns only if that fails.
pub fn become_new(variable: &str, sock: &OwnedFd) -> io::Error {
    if let Err(error) = fd::set_cloexec(sock.as_fd(), false) {
        return error;
    }
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    env.retain(|(name, _)| name.as_os_str() != OsStr::new(variable));
    env.push((variable.into(), sock.as_raw_fd().to_string().into()));
    let error = spawn::exec_search(&argv, Some(&env));
    let _ = fd::set_cloexec(sock.as_fd(), true);
    error
}
