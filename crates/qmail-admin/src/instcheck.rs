//! `qmailctl check`: is everything in the home there, with its owner, mode and type? In the words of
//! stock's instcheck.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use base::json::{Object, array, string};
use store::home::Home;
use store::users::Directory;
use sys::user::Ids;

use crate::places::Places;
use crate::print::say;
use crate::{Trouble, belongings, postmasters, services, setup};

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
    let mut warnings = findings(home)?;
    warnings.extend(users(home));
    warnings.extend(postmasters::missing(home)?);
    warnings.extend(services::cramped(&Places::of(home)));
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
    let path = home.path("users/cdb");
    if let Err(err) = Directory::new(home).assigned(b"") {
        return Some(err.to_string());
    }
    let closed = fs::metadata(&path).is_ok_and(|about| about.mode() & 0o004 == 0);
    (closed && !home.is_private()).then(|| {
        format!("{} cannot be read by every program (mend: run qmail-newu)", path.display())
    })
}

/// What setup would mend.
pub(crate) fn findings(home: &Home) -> Result<Vec<String>, Trouble> {
    let (roles, places) = (home.roles().map_err(|e| e.to_string())?, Places::of(home));
    let mut warnings = Vec::new();
    for (path, mode, owner) in setup::directories(home, &roles, &places) {
        let owner = Some(&owner).filter(|_| !home.is_private());
        look(&path, Type::Directory, mode, owner, &mut warnings);
    }
    let optional = home.path("queue/lock/tcpto6");
    for (path, mode, owner) in setup::locked(home, &roles) {
        // Stock has no such file, and qmail-remote does without.
        if path == optional && !path.exists() {
            continue;
        }
        let owner = Some(&owner).filter(|_| !home.is_private());
        look(&path, Type::File, mode, owner, &mut warnings);
    }
    for belongings in belongings::all(home, &roles, &places) {
        warnings.extend(belongings.look(true));
    }
    programs(home, &mut warnings);
    Ok(warnings)
}

fn look(path: &Path, wanted: Type, mode: u32, owner: Option<&Ids>, warnings: &mut Vec<String>) {
    let mut warn = |what: &str| warnings.push(format!("{} {what}", path.display()));
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return warn("does not exist"),
        Err(e) => return warn(sys::errno::text(&e)),
    };
    if !wanted.is(&about) {
        return warn("has wrong type");
    }
    if owner.is_some_and(|owner| about.uid() != owner.uid) {
        warn("has wrong owner");
    }
    if owner.is_some_and(|owner| about.gid() != owner.gid) {
        warn("has wrong group");
    }
    if about.permissions().mode() & 0o7777 != mode {
        warn("has wrong permissions");
    }
}

/// The binaries, and a link to one of them for each of their programs.
fn programs(home: &Home, warnings: &mut Vec<String>) {
    for binary in setup::BINARIES {
        let path = home.path("bin").join(binary);
        let Ok(said) = Command::new(&path).arg("help").stdin(Stdio::inherit()).output() else {
            warnings.push(format!("{} does not exist", path.display()));
            continue;
        };
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        for name in text.lines().filter_map(|line| line.split_whitespace().next()) {
            let link = home.path("bin").join(name);
            match fs::read_link(&link) {
                Ok(to) if to == Path::new(binary) => {}
                // A site may have put its own in its place.
                Ok(_) if link.exists() => {}
                Err(_) if link.is_file() => {}
                _ => warnings.push(format!("{} does not exist", link.display())),
            }
        }
    }
}
