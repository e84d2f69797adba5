//! `qmailctl check`: is this installation in order? First what setup makes, in the words of stock's
//! instcheck; then what [`rules`] say of it as it stands.

mod accounts;
mod files;
mod judge;
mod logs;
mod made;
mod mend;
mod rules;
mod services;
mod walk;

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use base::json::{Object, array, string};
use store::home::Home;
use store::users::assign::{self, AssignError};
use store::users::{Directory, LookupError};

use crate::places::Places;
use crate::print::say;
use crate::scripts::quoted;
use crate::upgrade::unfinished_upgrade;
use crate::{Trouble, postmasters, settings, sources};
use judge::Finding;
pub(crate) use made::findings;

/// What should stand somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Directory,
    File,
}

impl Type {
    fn is(self, about: &Metadata) -> bool {
        match self {
            Self::Directory => about.is_dir(),
            Self::File => about.is_file(),
        }
    }
}

/// Looks at all of it, and at what setup leaves to the administrator; 1 if anything is not as it
/// should be.
pub(crate) fn check(home: &Home, json: bool) -> Result<ExitCode, Trouble> {
    let (roles, places) = (home.roles().map_err(|e| e.to_string())?, Places::of(home));
    let mut found = made::made(home, &roles, &places);
    found.extend(walk::findings(home, &roles, &places, &found));
    let mut warnings: Vec<String> = found.iter().map(Finding::to_string).collect();
    match users(home) {
        // Whoever is here cannot be told: nor who is not.
        Some(trouble) => warnings.push(trouble),
        None => warnings.extend(postmasters::missing(home)?),
    }
    warnings.extend(files::passwords(home));
    warnings.extend(settings::all(home));
    warnings.extend(crate::services::cramped(&places));
    warnings.extend(unfinished_upgrade(home));
    if json {
        let warned = array(warnings.iter().map(string));
        say!("{}", Object::new().truth("ok", warnings.is_empty()).json("warnings", &warned).end());
    } else {
        for warning in &warnings {
            say!("instcheck: warning: {warning}");
        }
    }
    Ok(ExitCode::from(u8::from(!warnings.is_empty())))
}

/// What is wrong with `users/cdb`, by which reception knows who is here, and deliveries whose a
/// letter is: each of them puts off what it cannot judge.
fn users(home: &Home) -> Option<String> {
    if let Some(gone) = sources::gone(home, sources::ACCOUNTS) {
        // qmail-newu could not mend it.
        return Some(gone);
    }
    let path = home.path("users/cdb");
    let newu = command(home, "qmail-newu");
    match Directory::new(home).assigned(b"") {
        Err(LookupError::Cdb(path, err)) if err.kind() == ErrorKind::InvalidData => {
            let path = path.display();
            return Some(format!("unable to use {path}: it is damaged (mend: {newu})"));
        }
        Err(err) => return Some(err.to_string()),
        Ok(_) => {}
    }
    if let Some(closed) = settings::closed(home, &path, &newu) {
        return Some(closed);
    }
    compiled(home).map(|(what, mend)| {
        let mend = mend.map_or_else(|| newu.clone(), |first| format!("{first}, then: {newu}"));
        format!("{what} (mend: {mend})")
    })
}

/// Whether `users/cdb` is what `users/assign` says, to the last record: one that was cut short gives
/// most accounts, and puts off the others' letters. And what there is to do before it is made anew.
fn compiled(home: &Home) -> Option<(String, Option<&'static str>)> {
    let [path, from] = ["users/cdb", "users/assign"].map(|name| home.path(name));
    let read = |path: &Path| match sources::plain(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    };
    let told = |path: &Path, e| format!("{}: {}", path.display(), sys::errno::text(&e));
    let (text, cdb) = match (read(&from), read(&path)) {
        (Err(e), _) => return Some((told(&from, e), Some("make it a file that can be read"))),
        (_, Err(e)) => return Some((told(&path, e), None)),
        (Ok(text), Ok(cdb)) => (text?, cdb),
    };
    let (path, from) = (path.display(), from.display());
    let Some(cdb) = cdb else {
        return Some((format!("{path} does not exist: {from} has no effect"), None));
    };
    match assign::is_compiled(&text, &cdb) {
        Ok(true) => None,
        Ok(false) => Some((format!("{path} is damaged, or is not what {from} says"), None)),
        Err(AssignError::NoDot) => {
            Some((format!("{from} has no last line with a single dot"), Some("end it in one")))
        }
        Err(why) => Some((format!("{from} {why}"), Some("correct the line"))),
    }
}

/// One of the home's own programs as a command.
fn command(home: &Home, words: &str) -> String {
    let (program, rest) = words.split_once(' ').unwrap_or((words, ""));
    format!("{} {rest}", quoted(&home.path("bin").join(program))).trim_end().to_owned()
}
