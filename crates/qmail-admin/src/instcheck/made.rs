//! What setup makes, and would mend: directories, files that are locked, queue and logs, and a link for
//! each program.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use store::home::{Home, Roles};
use sys::user::Ids;

use super::judge::Finding;
use super::{Type, command};
use crate::places::Places;
use crate::scripts::quoted;
use crate::{Trouble, belongings, setup};

/// What setup would mend, without how.
pub(crate) fn findings(home: &Home) -> Result<Vec<String>, Trouble> {
    let (roles, places) = (home.roles().map_err(|e| e.to_string())?, Places::of(home));
    Ok(made(home, &roles, &places).into_iter().map(Finding::into_said).collect())
}

/// What is not as setup makes it.
pub(super) fn made(home: &Home, roles: &Roles, places: &Places) -> Vec<Finding> {
    let mut found = Vec::new();
    let setup = command(home, "qmailctl setup");
    let mut look = |path: &Path, wanted, mode, owner: &Ids| {
        let owner = Some(owner).filter(|_| !home.is_private());
        let wrong = look(path, wanted, mode, owner).into_iter();
        found.extend(wrong.map(|(what, mend)| {
            let mend = match mend {
                Mend::Setup => setup.clone(),
                Mend::Away => {
                    let it = quoted(path);
                    format!("mv {it} {it}.old && {setup}")
                }
                Mend::Command(words) => format!("{words} {}", quoted(path)),
            };
            Finding::new(path, what, mend)
        }));
    };
    for (path, mode, owner) in setup::directories(home, roles, places) {
        look(&path, Type::Directory, mode, &owner);
    }
    let optional = home.path("queue/lock/tcpto6");
    for (path, mode, owner) in setup::locked(home, roles) {
        // Stock has no such file, and qmail-remote does without.
        if path != optional || path.exists() {
            look(&path, Type::File, mode, &owner);
        }
    }
    for belongings in belongings::all(home, roles, places) {
        found.extend(belongings.look(true).into_iter().map(|said| Finding {
            path: PathBuf::new(),
            mend: match said.ends_with(TYPE) {
                true => format!("move it away, then: {setup}"),
                false => setup.clone(),
            },
            said,
        }));
    }
    programs(home, &mut found);
    found
}

/// Said of what is another kind of thing.
const TYPE: &str = "has wrong type";

/// How something that setup makes is mended.
enum Mend {
    /// By setup itself.
    Setup,
    /// By setup, once what is there is moved away.
    Away,
    /// By these words before the path.
    Command(String),
}

/// What is not as it should be.
fn look(path: &Path, wanted: Type, mode: u32, owner: Option<&Ids>) -> Vec<(&'static str, Mend)> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(e) if e.kind() == ErrorKind::NotFound => return vec![("does not exist", Mend::Setup)],
        Err(e) => return vec![(sys::errno::text(&e), Mend::Setup)],
    };
    if !wanted.is(&about) {
        return vec![(TYPE, Mend::Away)];
    }
    let mut wrong = Vec::new();
    if let Some(owner) = owner.filter(|owner| about.uid() != owner.uid) {
        wrong.push(("has wrong owner", Mend::Command(format!("chown {}", owner.uid))));
    }
    if let Some(owner) = owner.filter(|owner| about.gid() != owner.gid) {
        wrong.push(("has wrong group", Mend::Command(format!("chgrp {}", owner.gid))));
    }
    let there = about.permissions().mode() & 0o7777;
    if there != mode {
        // chmod leaves a directory such bits unless more digits say otherwise.
        let digits = if there & !mode & 0o6000 == 0 { 3 } else { 5 };
        wrong.push(("has wrong permissions", Mend::Command(format!("chmod {mode:0digits$o}"))));
    }
    wrong
}

/// The binaries, and a link to one of them for each of their programs.
fn programs(home: &Home, found: &mut Vec<Finding>) {
    let setup = command(home, "qmailctl setup");
    for binary in setup::BINARIES {
        let path = home.path("bin").join(binary);
        let text = match Command::new(&path).arg("help").stdin(Stdio::inherit()).output() {
            Ok(said) if said.status.success() => String::from_utf8_lossy(&said.stdout).into_owned(),
            failed => {
                found.push(unusable(&path, failed.err()));
                continue;
            }
        };
        for name in text.lines().filter_map(|line| line.split_whitespace().next()) {
            let link = home.path("bin").join(name);
            match fs::read_link(&link) {
                Ok(to) if to == Path::new(binary) => {}
                // A site may have put its own in its place.
                Ok(_) if link.exists() => {}
                Err(_) if link.is_file() => {}
                _ => found.push(Finding::new(&link, "does not exist", &*setup)),
            }
        }
    }
}

/// A binary that does not answer.
fn unusable(path: &Path, why: Option<std::io::Error>) -> Finding {
    let again = "put this version's binary there again";
    match why {
        Some(e) if e.kind() == ErrorKind::NotFound => Finding::new(path, "does not exist", again),
        Some(e) if e.kind() == ErrorKind::PermissionDenied => {
            Finding::new(path, "cannot be run", format!("chmod 755 {}", quoted(path)))
        }
        Some(e) => Finding::new(path, &format!("cannot be run: {}", sys::errno::text(&e)), again),
        None => Finding::new(path, "does not say which programs it holds: it is damaged", again),
    }
}
