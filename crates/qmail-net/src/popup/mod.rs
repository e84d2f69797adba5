//! read a POP3 login and pass the connection on
//!
//! *Runs as* qmaild (started as root, only what hears no stranger stays root, see `keeper`) · *hears*
//! the client on descriptors 0 and 1, or on the connection its clean parent is handed · *opens* nothing · *speaks to* pspawn, or to the program its
//! arguments name (the checkpassword interface)

mod ends;
mod entry;
mod keeper;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use base::event::sanitise;
use base::limits;
use proto::pop3::login::{self, Action, Credentials, Input, Session, Verdict};
use store::home::Home;
use sys::brood::{CleanParent, GREETED, Greeting, HURRY};
use sys::user::Ids;
use sys::{brood, clock, fd, user};

use crate::fences;

use self::ends::{Ends, Heard};
use self::entry::Entry;

/// Connections at once in one clean parent; tcpserver's own limit is normally lower.
const CHILDREN: usize = 10_000;
/// Connections until a clean parent makes way for a fresh one.
const RETIRE: u64 = 100_000;
/// How long a client may take to log in, all in all (stock: 1200 seconds for each line).
const PATIENCE: Duration = Duration::from_secs(1_200);
/// How long a refused client waits for the answer, so that guessing is slow.
const PAUSE: Duration = Duration::from_millis(1_500);

/// `qmail-popup hostname [subprogram args]`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let brood = brood::requested();
    let Prepared { host, entry, role } = match prepare(args, brood.is_some()) {
        Ok(prepared) => prepared,
        Err((code, text)) => {
            say(&format!("fatal: {text}"));
            return code;
        }
    };
    match brood {
        None => {
            let about = Circumstances(std::env::vars_os().collect(), false);
            if let (Entry::Program(command), Some(role)) = (&entry, role) {
                return keeper::serve_apart(&host, command, &role, &about);
            }
            serve(Ends::two(fd::take(0), fd::take(1)), &host, &entry, &about)
        }
        Some(sock) => {
            // A program that checks secrets may be anything.
            let fence = entry.is_pspawn().then(fences::popup);
            if let Some(missing) = fence.and_then(|fence| fence.close_or_tell()) {
                say(&format!("warning: {missing}"));
            }
            let limits = brood::Serve { max_children: CHILDREN, retire_after: RETIRE };
            let served = brood::serve_as(sock, limits, Door { host, entry });
            served.map_or_else(
                |err| {
                    say(&format!("fatal: unable to take connections: {err}"));
                    111
                },
                |()| 0,
            )
        }
    }
}

/// A clean parent's way in.
struct Door {
    host: Vec<u8>,
    entry: Entry,
}

impl CleanParent for Door {
    fn greeting(&self) -> Option<Greeting> {
        Greeting::new(&login::greeting(b"\0", &self.host))
    }

    fn child(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> i32 {
        serve_handed(payload, fds, &self.host, &self.entry)
    }
}

/// What the command line says.
struct Prepared {
    host: Vec<u8>,
    /// Where secrets are checked.
    entry: Entry,
    /// As whom strangers are heard, if this is root.
    role: Option<Ids>,
}

/// Reads the command line; or the exit code and what to say.
fn prepare(args: &[OsString], in_brood: bool) -> Result<Prepared, (i32, String)> {
    let Some((host, subprogram)) = args.get(1..).and_then(<[_]>::split_first) else {
        let _gone = io::stdout().write_all(b"-ERR usage: popup hostname subprogram\r\n");
        return Err((1, "usage: qmail-popup hostname [subprogram args]".into()));
    };
    let home = Home::find();
    let is_root = user::euid() == 0 && !home.as_ref().is_ok_and(Home::is_private);
    if is_root && (in_brood || subprogram.is_empty()) {
        let mend = "will not hear strangers as root; run it as qmaild and let qmail-pspawn, which \
                    hears none, check the passwords (name a checkpassword program in \
                    control/checkpassword)";
        return Err((111, mend.into()));
    }
    let trouble = |err: &dyn std::fmt::Display| (111, err.to_string());
    let role = match (&home, is_root) {
        (_, false) => None,
        (Ok(home), true) => Some(home.roles().map_err(|err| trouble(&err))?.qmaild),
        (Err(err), true) => return Err(trouble(err)),
    };
    let entry = match subprogram {
        [] => Entry::Pspawn(home.map_err(|err| trouble(&err))?),
        command => Entry::Program(command.to_vec()),
    };
    Ok(Prepared { host: host.as_bytes().to_vec(), entry, role })
}

/// What is known about a connection: its environment, and whether it was handed over.
struct Circumstances(BTreeMap<OsString, OsString>, bool);

impl Circumstances {
    /// A connection handed over with a block `K=V\0…`; entries without `=` are left out.
    fn of_handover(block: &[u8]) -> Self {
        let pairs = block.split(|&c| c == 0).filter_map(|entry| {
            let at = entry.iter().position(|&c| c == b'=')?;
            let (key, value) = entry.split_at_checked(at)?;
            let text = |bytes| OsStr::from_bytes(bytes).to_owned();
            Some((text(key), text(value.get(1..)?)))
        });
        Self(pairs.collect(), true)
    }

    /// What the listener has said to the client in our place. Only the listener that hands the
    /// connection over can tell.
    fn greeted(&self) -> Option<&[u8]> {
        let said = self.0.get(OsStr::new(GREETED)).map(|said| said.as_bytes());
        said.filter(|said| self.1 && !said.is_empty())
    }

    /// How long the client may take: for its login, and for one line of it.
    fn patience(&self) -> (Duration, Duration) {
        let hurry = self.0.get(OsStr::new(HURRY));
        match hurry.is_some_and(|hurry| !hurry.is_empty()) {
            true => (limits::HURRIED_SESSION, limits::HURRIED_COMMAND),
            false => (PATIENCE, PATIENCE),
        }
    }

    /// Where the client is.
    fn client(&self) -> &[u8] {
        self.0.get(OsStr::new("TCPREMOTEIP")).map_or(b"unknown", |ip| ip.as_bytes())
    }
}

/// Serves the connection a clean parent's child was handed.
fn serve_handed(payload: &[u8], fds: Vec<OwnedFd>, host: &[u8], entry: &Entry) -> i32 {
    let connection = fds.into_iter().next();
    let ends = connection.and_then(|it| Some(Ends::two(it.as_fd().try_clone_to_owned().ok()?, it)));
    ends.map_or(111, |ends| serve(ends, host, entry, &Circumstances::of_handover(payload)))
}

/// One client until it is passed on or gone. The exit code is stock's 1 whatever happened, but 0 if
/// pspawn serves the mailbox now.
fn serve(mut ends: Ends, host: &[u8], entry: &Entry, about: &Circumstances) -> i32 {
    let begun = clock::monotonic();
    let (all, one) = about.patience();
    let left = || all.saturating_sub(clock::monotonic().saturating_sub(begun)).min(one);
    let (mut session, mut actions) = match about.greeted() {
        Some(said) => (Session::greeted(said), Vec::new()),
        None => Session::new(std::process::id(), clock::now().secs(), host),
    };
    loop {
        let mut verdict = None;
        for action in actions {
            match action {
                Action::Reply(bytes) => {
                    if ends.say(&bytes, left()).is_err() {
                        return 1;
                    }
                }
                Action::Pause => clock::sleep(PAUSE),
                Action::Close => return 1,
                Action::Ask(credentials) => {
                    let found = entry.ask(&credentials, session.timestamp(), &ends, about);
                    note(&credentials, found, about);
                    if (found, entry.is_pspawn()) == (Verdict::Served, true) {
                        return 0;
                    }
                    verdict = Some(found);
                }
            }
        }
        (session, actions) = match verdict {
            Some(verdict) => session.step(Input::Verdict(verdict)),
            None => match ends.hear(left()) {
                Heard::Line(line) => session.step(Input::Line(&line)),
                Heard::TooLong => session.step(Input::TooLong),
                Heard::Endless => give_up(session, Input::Endless, "line without end", about),
                Heard::Deadline if one < PATIENCE => {
                    give_up(session, Input::Hurried, "too busy to wait any longer", about)
                }
                Heard::Deadline => session.step(Input::Deadline),
                Heard::Eof => session.step(Input::Eof),
            },
        };
    }
}

/// Ends a login before its time, and tells the log why.
fn give_up(
    session: Session,
    input: Input<'_>,
    why: &str,
    about: &Circumstances,
) -> (Session, Vec<Action>) {
    let (pid, client) = (std::process::id(), printable(about.client()));
    say(&format!("pid {pid} from {client}: {why}"));
    session.step(input)
}

/// Tells the log how a login went. A name is what a stranger made up: bounded, and nothing in it
/// can look like another line.
fn note(credentials: &Credentials, verdict: Verdict, about: &Circumstances) {
    let how = match verdict {
        Verdict::Served => "login",
        Verdict::Refused => "authorization failed",
        Verdict::Busy => "too many sessions",
        Verdict::Crashed => "checking the password crashed",
        Verdict::Trouble => "unable to check the password",
    };
    let (pid, client) = (std::process::id(), printable(about.client()));
    say(&format!("pid {pid} from {client}: {how}: {}", printable(&credentials.name)));
}

/// Bytes of it at most.
const SHOWN: usize = 100;

/// What somebody else made up, as a line of the log shows it.
fn printable(text: &[u8]) -> String {
    let mut line = Vec::new();
    sanitise(&mut line, text.get(..SHOWN).unwrap_or(text));
    String::from_utf8_lossy(&line).into_owned()
}

/// One line in the log.
fn say(text: &str) {
    // In one piece: the logger wakes for each.
    sys::log::put(fd::stderr(), format!("qmail-popup: {text}\n").as_bytes());
}
