//! Whose a local part is that `users/cdb` does not know: what `qmail-getpw` answers
//! (qmail-getpw(8)).
//!
//! A site may put a program of its own into `bin/qmail-getpw`. Where that is ours, its answer is
//! found here, without a process for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::limits;
use sys::poll::{self, Interest};
use sys::process::Held;
use sys::signal::Signal;
use sys::spawn::{self, Command, Status};
use sys::user::{Ids, Passwd};
use sys::{clock, fd};

use super::{Account, LookupError, assign, dotqmail};
use crate::home::{Home, bytes};

/// Names of this many bytes or more are not looked for among the system's users.
const LOGIN_NAME: usize = 32;
/// Where a system user's name may end and an extension begin.
const BREAK: u8 = b'-';

/// What `bin/qmail-getpw` answers, whoever's program it is.
pub(super) fn ask(home: &Home, local: &[u8]) -> Result<Account, LookupError> {
    match replacement(home)? {
        None => answer(home, local),
        Some(program) => run(home, &program, local),
    }
}

/// The same without running anything; `None` if only the site's program knows.
pub(super) fn known(home: &Home, local: &[u8]) -> Result<Option<Account>, LookupError> {
    match replacement(home)? {
        None => answer(home, local).map(Some),
        Some(_) => Ok(None),
    }
}

/// The program in `bin/qmail-getpw`, if it is not ours.
fn replacement(home: &Home) -> Result<Option<PathBuf>, LookupError> {
    let found = home.replacement("qmail-getpw");
    found.map_err(|err| LookupError::Run(home.path("bin/qmail-getpw"), err))
}

/// Asks a site's program, as stock does: as qmailp, with the local part as its argument. What it
/// says on descriptor 2 goes where ours goes.
fn run(home: &Home, program: &Path, local: &[u8]) -> Result<Account, LookupError> {
    let roles = home.roles().map_err(|err| LookupError::NoAlias(err.to_string()))?;
    let ids = Ids { gid: roles.nofiles, groups: vec![roles.nofiles], ..roles.qmailp };
    let started = || -> io::Result<(Child, OwnedFd)> {
        let (said, say) = fd::pipe()?;
        let command = Command::new(program).argv0("bin/qmail-getpw").arg(OsStr::from_bytes(local));
        let nothing = OwnedFd::from(File::open("/dev/null")?);
        let pid = command.dir(home.root()).fd(nothing, 0).fd(say, 1).ids(ids).spawn()?;
        Ok((Child::hold(pid)?, said))
    };
    let (child, said) = started().map_err(|err| LookupError::Run(program.into(), err))?;
    let (words, status) = child.finish(&said, limits::GETPW);
    let wrong = |code: u8, why: String| Err(LookupError::Program(program.into(), code, why));
    match status {
        None => wrong(118, format!("did not answer within {} seconds", limits::GETPW.as_secs())),
        Some(status @ Status::Killed(_)) => wrong(118, status.to_string()),
        Some(status @ Status::Exited(code)) if code != 0 => wrong(code, status.to_string()),
        Some(Status::Exited(_)) => match read(&words) {
            Some(account) => Ok(account),
            None => wrong(112, "did not print user, uid, gid, home, dash and ext".into()),
        },
    }
}

/// A site's program that runs.
struct Child {
    pid: u32,
    held: Held,
}

impl Child {
    /// Takes hold of it. One that cannot be held could not be waited for with an end: it is ended.
    fn hold(pid: u32) -> io::Result<Self> {
        let held = Held::open(pid).inspect_err(|_| {
            kill(pid);
            let _ended = spawn::wait(pid);
        })?;
        Ok(Self { pid, held })
    }

    /// What it says until it ends, and how it ended; `None` if it had to be ended.
    fn finish(self, said: &OwnedFd, patience: Duration) -> (Vec<u8>, Option<Status>) {
        let by = clock::monotonic().saturating_add(patience);
        let words = hear(said, by);
        let left = || by.saturating_sub(clock::monotonic());
        let over = || poll::ready(&[self.held.as_fd()], Interest::READ, Some(left()));
        let ended = words.is_some() && over().is_ok_and(|ready| ready == [true]);
        if !ended {
            kill(self.pid);
        }
        let status = spawn::wait(self.pid).ok().filter(|_| ended);
        (words.unwrap_or_default(), status)
    }
}

fn kill(pid: u32) {
    let _it_may_be_gone = sys::signal::kill(pid, Signal::Kill);
}

/// All it says, as much as an answer may be; `None` if the end does not come.
fn hear(said: &OwnedFd, by: Duration) -> Option<Vec<u8>> {
    let (mut words, mut room) = (Vec::new(), [0; 1_024]);
    loop {
        let left = by.saturating_sub(clock::monotonic());
        match fd::read_within(said, &mut room, left).ok()? {
            0 => return Some(words),
            n => {
                let free = limits::GETPW_ANSWER.saturating_sub(words.len());
                words.extend(room.iter().take(n.min(free)));
            }
        }
    }
}

/// Six fields, each with its NUL.
fn read(words: &[u8]) -> Option<Account> {
    let mut fields = words.split(|&c| c == 0).map(<[u8]>::to_vec);
    let mut next = || fields.next();
    let (user, uid, gid) = (next()?, next()?, next()?);
    let (home, dash, ext) = (next()?, next()?, next()?);
    next()?;
    let (uid, gid) = (assign::number(&uid).ok()?, assign::number(&gid).ok()?);
    Some(Account { user, uid, gid, home, dash, ext })
}

/// An account as `qmail-getpw` prints it: user, uid, gid, home, dash and ext, each with a NUL.
pub fn print(account: &Account) -> Vec<u8> {
    let Account { user, uid, gid, home, dash, ext } = account;
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let fields: [&[u8]; 6] = [user, uid.as_bytes(), gid.as_bytes(), home, dash, ext];
    fields.iter().flat_map(|field| [field, &b"\0"[..]].concat()).collect()
}

/// Our own answer: the longest name of a system user the local part begins with, else the alias
/// user.
///
/// # Errors
/// [`LookupError`]: it cannot be told now.
pub fn answer(home: &Home, local: &[u8]) -> Result<Account, LookupError> {
    for at in (0..=local.len()).rev() {
        let Some((name, rest)) = local.split_at_checked(at) else { continue };
        if name.len() >= LOGIN_NAME || !(rest.is_empty() || rest.starts_with(&[BREAK])) {
            continue;
        }
        let user = sys::user::by_name(&name.to_ascii_lowercase()).map_err(LookupError::Passwd)?;
        let Some(user) = user.filter(|user| user.uid != 0 && may_become(home, user.uid)) else {
            continue;
        };
        if owns_home(&user)? {
            let (dash, ext) = rest.split_at_checked(1).unwrap_or_default();
            let (dash, ext) = (dash.to_vec(), ext.to_vec());
            let (uid, gid) = (user.uid, user.gid);
            return Ok(Account { user: user.name, uid, gid, home: user.home, dash, ext });
        }
    }
    alias(home, local)
}

/// In a private home deliveries are made under one uid only.
fn may_become(home: &Home, uid: u32) -> bool {
    !home.is_private() || uid == home.owner()
}

/// Whether the user has a home of their own; that is how an account is switched off.
fn owns_home(user: &Passwd) -> Result<bool, LookupError> {
    match std::fs::metadata(OsStr::from_bytes(&user.home)) {
        Ok(meta) => Ok(meta.uid() == user.uid),
        Err(err) if dotqmail::is_temporary(&err) => Err(LookupError::Home(user.home.clone(), err)),
        Err(_) => Ok(false),
    }
}

/// The alias user with the whole local part as extension.
fn alias(home: &Home, local: &[u8]) -> Result<Account, LookupError> {
    let roles = home.roles().map_err(|err| LookupError::NoAlias(err.to_string()))?;
    Ok(Account {
        user: b"alias".to_vec(),
        uid: roles.alias.uid,
        gid: roles.alias.gid,
        home: bytes(&home.path("alias")).to_vec(),
        dash: b"-".to_vec(),
        ext: local.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::{Exists, Routing, lookup, mailbox_exists, tests::home};
    use std::os::unix::fs::PermissionsExt;

    /// A home with our programs, and with this script in qmail-getpw's place.
    fn with(tag: &str, script: Option<&str>) -> yard::Kept<Home> {
        let home = home(tag);
        std::fs::create_dir_all(home.path("bin")).unwrap();
        std::fs::write(home.path("bin/qmail"), "").unwrap();
        match script {
            None => std::os::unix::fs::symlink("qmail", home.path("bin/qmail-getpw")).unwrap(),
            Some(script) => {
                // Written by a process of its own: no fork of another test holds it open.
                let path = home.path("bin/qmail-getpw");
                let text = format!("printf '%s\\n' '#!/bin/sh' '{script}' > {}", path.display());
                let pid = Command::new("sh").args(["-c", &text]).spawn().unwrap();
                spawn::wait(pid).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        home
    }

    #[test]
    fn a_sites_program_answers_in_the_place_of_ours() {
        let script = r#"printf "joe\0005\0006\000/h\000-\000%s\000" "$1""#;
        let account = lookup(&with("getpw", Some(script)), b"Some.Body").unwrap();
        assert_eq!((&account.user[..], account.uid, account.gid), (&b"joe"[..], 5, 6));
        assert_eq!((&account.dash[..], &account.ext[..]), (&b"-"[..], &b"Some.Body"[..]));
        assert_eq!(read(&print(&account)), Some(account));
    }

    #[test]
    fn its_exit_code_goes_on_and_nonsense_is_a_bug() {
        for (n, (script, code)) in
            [("exit 115", 115), ("exit 100", 100), ("kill -9 $$", 118), ("echo joe", 112)]
                .into_iter()
                .enumerate()
        {
            let home = with(&format!("getpw-{n}"), Some(script));
            assert_eq!(lookup(&home, b"x").unwrap_err().exit_code(), code, "{script}");
        }
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let (said, say) = fd::pipe().unwrap();
        let pid = Command::new("sleep").arg("60").fd(say, 1).spawn().unwrap();
        let child = Child::hold(pid).unwrap();
        assert_eq!(child.finish(&said, Duration::from_millis(100)), (Vec::new(), None));
    }

    #[test]
    fn a_program_that_is_gone_is_missed_and_a_letter_for_it_is_taken() {
        let home = with("getpw-gone", None);
        assert_eq!(lookup(&home, b"nobody-here").unwrap().user, b"alias");
        let ask = |home: &Home| mailbox_exists(home, &Routing::default(), b"x");
        let routing = Routing { envnoathost: b"h".to_vec(), ..Routing::default() };
        assert_eq!(ask(&home), Exists::Unknown);
        let local = Routing { locals: crate::control::Set::from_lines([&b"h"[..]]), ..routing };
        assert_eq!(mailbox_exists(&home, &local, b"nobody-here"), Exists::No);
        std::fs::remove_file(home.path("bin/qmail-getpw")).unwrap();
        assert_eq!(lookup(&home, b"nobody-here").unwrap_err().exit_code(), 121);
        assert_eq!(mailbox_exists(&home, &local, b"nobody-here"), Exists::Unknown);
    }

    #[test]
    fn an_answer_has_six_fields_with_their_ends() {
        for bad in [&b"joe\x005\x006\0/h\0-\0ext"[..], b"joe\0x\x006\0/h\0\0\0", b""] {
            assert_eq!(read(bad), None);
        }
        assert!(read(b"joe\x005\x006\0/h\0\0\0").is_some_and(|account| account.ext.is_empty()));
    }
}
