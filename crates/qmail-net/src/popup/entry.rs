//! Who checks a secret and opens the mailbox: pspawn, or a program with the checkpassword
//! interface, which may have to be started by another process than the one that hears the client.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::limits;
use base::text0;
use base::wire::login::{Answer, Login, Verb};
use proto::pop3::login::{Credentials, Verdict};
use store::home::Home;
use sys::pass::{self, Kind};
use sys::poll::{self, Interest};
use sys::spawn::{self, Command, Status};

use super::ends::Ends;
use super::{Circumstances, keeper, say};

/// How long pspawn may think: many logins at once wait for their turn at a slow hash.
const PSPAWN_PATIENCE: Duration = Duration::from_secs(60);

/// The way in.
#[derive(Debug)]
pub(super) enum Entry {
    /// pspawn of this home takes name, secret and connection.
    Pspawn(Home),
    /// This program and its arguments, started for each secret.
    Program(Vec<OsString>),
    /// The process that starts such a program where this one may not.
    Keeper(OwnedFd),
}

impl Entry {
    /// Whether it is pspawn, which goes on without us.
    pub(super) const fn is_pspawn(&self) -> bool {
        matches!(self, Self::Pspawn(_))
    }

    /// Asks whether the secret fits; if so, the client has been served, or is being.
    pub(super) fn ask(
        &self,
        credentials: &Credentials,
        timestamp: &[u8],
        ends: &Ends,
        about: &Circumstances,
    ) -> Verdict {
        let asked = match self {
            Self::Pspawn(home) => ask_pspawn(home, credentials, timestamp, ends),
            Self::Program(command) => {
                let (name, secret) = (&credentials.name[..], &credentials.secret[..]);
                let login = Login { verb: Verb::Open, name, secret, timestamp };
                ask_program(command, &login, ends, about)
            }
            Self::Keeper(keeper) => keeper::ask(keeper, credentials, timestamp),
        };
        asked.unwrap_or_else(|text| {
            say(&format!("warning: {text}"));
            Verdict::Trouble
        })
    }
}

/// Sends the login and the connection to pspawn.
fn ask_pspawn(
    home: &Home,
    credentials: &Credentials,
    timestamp: &[u8],
    ends: &Ends,
) -> Result<Verdict, String> {
    let path = home.path("pspawn/socket");
    let trouble = |err: io::Error| {
        format!("unable to ask qmail-pspawn at {}: {err} (is service pspawn up?)", path.display())
    };
    let (name, secret) = (&credentials.name[..], &credentials.secret[..]);
    let mut message = Vec::with_capacity(limits::LOGIN);
    Login { verb: Verb::Open, name, secret, timestamp }.encode(&mut message);
    let sock = pass::connect_soon(&path, Kind::Seqpacket).map_err(trouble)?;
    let sent = pass::send(&sock, &message, &[ends.input()]);
    wipe(message);
    sent.map_err(trouble)?;
    if poll::ready(&[sock.as_fd()], Interest::READ, Some(PSPAWN_PATIENCE)).map_err(trouble)?
        != [true]
    {
        return Err(trouble(io::ErrorKind::TimedOut.into()));
    }
    let mut room = [0; limits::QUEUE_TEXT + 1];
    let (length, _none) = pass::recv(&sock, &mut room, 1).map_err(trouble)?;
    match Answer::decode(room.get(..length).unwrap_or_default()) {
        Ok(Answer::Welcome) => Ok(Verdict::Served),
        Ok(Answer::Refused) => Ok(Verdict::Refused),
        Ok(Answer::Busy) => Ok(Verdict::Busy),
        Ok(Answer::Trouble(text)) => {
            Err(format!("qmail-pspawn: {}", String::from_utf8_lossy(text)))
        }
        Err(malformed) => Err(trouble(io::Error::other(malformed))),
    }
}

/// Runs the program with the login on descriptor 3 and waits for it; it, or what it starts, serves
/// the client on 0 and 1.
pub(super) fn ask_program(
    command: &[OsString],
    login: &Login<'_>,
    ends: &Ends,
    about: &Circumstances,
) -> Result<Verdict, String> {
    let (program, args) = command.split_first().ok_or("no subprogram")?;
    let trouble = |err: io::Error| format!("unable to run {}: {err}", program.display());
    let (read, write) = sys::fd::pipe().map_err(trouble)?;
    let mut child = Command::new(program).args(args);
    for (name, value) in &about.0 {
        child = child.env(name, value);
    }
    let child = child.fd(ends.input(), 0).fd(ends.output(), 1).fd(read, 3);
    let pid = child.spawn().map_err(trouble)?;
    drop(child);
    tell(write, login);
    let status = spawn::wait(pid).map_err(trouble)?;
    sys::log::bury(pid, status);
    Ok(match status {
        Status::Exited(0) => Verdict::Served,
        Status::Exited(_) => Verdict::Refused,
        Status::Killed(_) => Verdict::Crashed,
    })
}

/// Writes `name\0secret\0timestamp\0`. A program that does not read it has its own reasons, and an
/// exit code to tell them.
fn tell(pipe: OwnedFd, login: &Login<'_>) {
    let mut message = Vec::with_capacity(limits::LOGIN);
    for field in [login.name, login.secret, login.timestamp] {
        text0::put(&mut message, field);
    }
    let _gone = sys::fd::write_all(&pipe, &message);
    // The end of file is what it waits for.
    drop(pipe);
    wipe(message);
}

/// Overwrites what held a secret.
pub(super) fn wipe(mut message: Vec<u8>) {
    message.fill(0);
    std::hint::black_box(&message);
}
