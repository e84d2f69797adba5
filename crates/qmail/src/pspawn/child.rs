//! The life of a child: one check, or one session.
//!
//! It tells its parent through a pipe: [`FITS`] if the secret fits and it has become the user,
//! [`FOUND`] and the account if it was only to find that out, or the trouble. What it says behind
//! [`FITS`] (qmail-pop3d cannot be run) is heard only if it comes at once with it. A child that
//! says nothing tells by its exit code: 1 is refused, anything else is trouble.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use base::text0;
use base::wire::login::{Login, Verb};
use store::control::Control;
use store::home::Home;
use store::users::Account;
use sys::{fd, signal, spawn, user};

use crate::login::{Denied, authenticate, become_account, trouble, variables};

/// The secret fits, and the mailbox is being served if it was to be.
pub(super) const FITS: u8 = 0x06;
/// The secret fits; whose it is follows ([`read_account`]).
pub(super) const FOUND: u8 = 0x11;
/// The argument by which a foreign checkpassword program starts us, followed by the verb.
pub(super) const WELCOME: &str = "--welcome";
/// Where a checkpassword program finds the login.
const LOGIN: i32 = 3;
/// Where [`welcome`] finds the pipe.
const PIPE: i32 = 4;

/// What a child has to do.
pub(super) enum Task<'a> {
    /// Find out whether the secret fits, and whose it is.
    Check(Login<'a>),
    /// Serve this account's mailbox on this connection: its secret was found right.
    Serve(&'a Account, &'a OwnedFd),
    /// Let this program and its arguments decide, and serve what it opens.
    Foreign(&'a [OsString], Login<'a>, Option<&'a OwnedFd>),
}

/// The child's whole life.
pub(super) fn live(home: &Home, task: &Task<'_>, pipe: &OwnedFd) -> ! {
    signal::unblock_all();
    let denied = match work(home, task, pipe) {
        Ok(()) => spawn::exit(0),
        Err(denied) => denied,
    };
    if let Denied::Trouble(text) = &denied {
        let _ = fd::write_all(pipe, text.as_bytes());
    }
    spawn::exit(denied.exit_code())
}

fn work(home: &Home, task: &Task<'_>, pipe: &OwnedFd) -> Result<(), Denied> {
    match task {
        Task::Check(login) => {
            let account = authenticate(home, login)?;
            fd::write_all(pipe, &found(&account)).map_err(trouble)
        }
        Task::Serve(account, connection) => {
            wire(connection)?;
            // Before the word: a mailbox that is not there is trouble to be told, to the client and
            // in the log, and nobody listens to this pipe after the word.
            become_account(account)?;
            fd::write_all(pipe, &[FITS]).map_err(trouble)?;
            let served = pop3d(home, &environment(home, account));
            served.map(|never| match never {}).map_err(Denied::Trouble)
        }
        Task::Foreign(program, login, connection) => {
            connection.map_or(Ok(()), wire)?;
            run_foreign(home, program, login, pipe).map(|never| match never {})
        }
    }
}

/// The client at descriptors 0 and 1.
fn wire(connection: &OwnedFd) -> Result<(), Denied> {
    // The network program may have had it non-blocking; that would be seen by its heir.
    fd::set_nonblocking(connection, false)
        .and_then(|()| fd::place(connection, 0))
        .and_then(|()| fd::place(connection, 1))
        .map_err(trouble)
}

/// The variables qmail-pop3d gets, and no others.
pub(super) fn environment(home: &Home, account: &Account) -> Vec<(OsString, OsString)> {
    let mut env = variables(account);
    env.push(("QMAILHOME".into(), home.root().as_os_str().to_owned()));
    env
}

/// [`FOUND`] and whose it is: uid, gid, name, home.
fn found(account: &Account) -> Vec<u8> {
    let mut word = vec![FOUND];
    word.extend_from_slice(&account.uid.to_le_bytes());
    word.extend_from_slice(&account.gid.to_le_bytes());
    for field in [&account.user, &account.home] {
        text0::put(&mut word, field);
    }
    word
}

/// The account behind [`FOUND`]; never root's.
pub(super) fn read_account(word: &[u8]) -> Option<Account> {
    let (uid, rest) = word.split_first_chunk()?;
    let (gid, rest) = rest.split_first_chunk()?;
    let (uid, gid) = (u32::from_le_bytes(*uid), u32::from_le_bytes(*gid));
    let mut fields = text0::fields(rest)?;
    let (user, home) = (fields.next()?.to_vec(), fields.next()?.to_vec());
    let whole = fields.next().is_none() && uid != 0;
    whole.then(|| Account { user, uid, gid, home, dash: Vec::new(), ext: Vec::new() })
}

/// The program and its arguments in `control/checkpassword`, divided by blanks.
pub(super) fn foreign(home: &Home) -> Result<Option<Vec<OsString>>, Denied> {
    let line = Control::new(home).line("checkpassword").map_err(trouble)?.unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(|word| OsStr::from_bytes(word).to_owned()).collect();
    Ok((!words.is_empty()).then_some(words))
}

/// Becomes a program that checks by itself, drops its rights by itself, and then runs [`welcome`].
fn run_foreign(
    home: &Home,
    program: &[OsString],
    login: &Login<'_>,
    pipe: &OwnedFd,
) -> Result<Infallible, Denied> {
    let Login { verb, name, secret, timestamp } = *login;
    let mut message = Vec::new();
    for field in [name, secret, timestamp] {
        text0::put(&mut message, field);
    }
    // It fits the pipe's buffer, so nobody need read it yet.
    let (read, write) = fd::pipe().map_err(trouble)?;
    fd::write_all(&write, &message).map_err(trouble)?;
    drop(write);
    let moved = above(&read).and_then(|read| Ok((read, above(pipe)?)));
    let (read, pipe) = moved.map_err(trouble)?;
    fd::place(&read, LOGIN).and_then(|()| fd::place(&pipe, PIPE)).map_err(trouble)?;
    let mut argv = program.to_vec();
    argv.push(home.path("bin/qmail-pspawn").into_os_string());
    argv.push(WELCOME.into());
    argv.push(if verb == Verb::Open { "open".into() } else { "check".into() });
    let mut env: Vec<_> = std::env::vars_os().filter(|(name, _)| name == "PATH").collect();
    env.push(("QMAILHOME".into(), home.root().as_os_str().to_owned()));
    let err = spawn::exec_search(&argv, Some(&env));
    // Where the parent listens now.
    let _ = fd::set_cloexec(&pipe, true);
    let shown = program.first().map(|name| name.display().to_string()).unwrap_or_default();
    Err(Denied::Trouble(format!("unable to run {shown}: {}", sys::errno::text(&err))))
}

/// A copy of a descriptor at a number that is not needed for anything else.
fn above(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let mut below = Vec::new();
    loop {
        let copy = fd.try_clone()?;
        if copy.as_raw_fd() > PIPE {
            return Ok(copy);
        }
        below.push(copy);
    }
}

/// Run by a foreign checkpassword program that has let somebody in, as that user: tells
/// qmail-pspawn, and becomes qmail-pop3d if the verb is `open`.
pub(super) fn welcome(verb: Option<&OsString>) -> i32 {
    let pipe = fd::take(PIPE);
    match enter(verb, &pipe) {
        Ok(()) => 0,
        Err(text) => {
            let _ = fd::write_all(&pipe, text.as_bytes());
            111
        }
    }
}

fn enter(verb: Option<&OsString>, pipe: &OwnedFd) -> Result<(), String> {
    let home = Home::find().map_err(|err| err.to_string())?;
    if user::euid() == 0 {
        return Err("the checkpassword program lets somebody in as root: no logins as root".into());
    }
    fd::set_cloexec(pipe, true).map_err(|err| err.to_string())?;
    fd::write_all(pipe, &[FITS]).map_err(|err| err.to_string())?;
    if verb.is_some_and(|verb| verb == "open") {
        let env: Vec<_> = std::env::vars_os().collect();
        let Err(err) = pop3d(&home, &env);
        return Err(err);
    }
    Ok(())
}

/// Becomes qmail-pop3d on the user's Maildir.
fn pop3d(home: &Home, env: &[(OsString, OsString)]) -> Result<Infallible, String> {
    let path = home.path("bin/qmail-pop3d");
    let argv = ["qmail-pop3d".into(), "Maildir".into()];
    let err = spawn::exec(path.as_os_str(), &argv, Some(env));
    Err(format!("unable to run {}: {}", path.display(), sys::errno::text(&err)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_crosses_the_pipe_whole_and_root_never_does() {
        let (user, home) = (b"joe".to_vec(), b"/home/joe".to_vec());
        let joe = Account { user, uid: 5, gid: 6, home, dash: Vec::new(), ext: Vec::new() };
        let word = found(&joe);
        assert_eq!(read_account(word.get(1..).unwrap()), Some(joe.clone()));
        for cut in 1..word.len() - 1 {
            assert_eq!(read_account(&word[1..cut]), None, "{cut}");
        }
        assert_eq!(read_account(&found(&Account { uid: 0, ..joe })[1..]), None);
    }
}
