//! What setup makes, and would mend: directories, files that are locked, queue and logs, and a link for
//! each program.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use store::home::{Home, Roles};
use sys::user::Ids;

use super::judge::Finding;
use super::{Type, command, mend};
use crate::places::Places;
use crate::scripts::quoted;
use crate::{Trouble, belongings, binaries, services, setup};

/// What setup would mend, without how.
pub(crate) fn findings(home: &Home) -> Result<Vec<String>, Trouble> {
    let (roles, places) = (home.roles().map_err(|e| e.to_string())?, Places::of(home));
    Ok(made(home, &roles, &places).into_iter().map(Finding::into_said).collect())
}

/// What is not as setup makes it.
pub(super) fn made(home: &Home, roles: &Roles, places: &Places) -> Vec<Finding> {
    let mut found = Vec::new();
    let (setup, owns) = (command(home, "qmailctl setup"), home.owner_ids());
    let mut look = |path: &Path, wanted, mode, owner: &Ids| {
        let owner = Some(owner).filter(|_| !home.is_private());
        let wrong = look(path, wanted, mode, owner).into_iter();
        // Where a role could put a link in its place only setup goes, which follows none.
        let kept = mend::is_kept(path, owns.uid);
        found.extend(wrong.map(|(what, mend)| {
            let mend = match mend {
                Mend::Setup => setup.clone(),
                Mend::Away if kept => {
                    let it = quoted(path);
                    format!("mv -T {it} {it}.old && {setup}")
                }
                Mend::Away => format!("move it away, then: {setup}"),
                Mend::Command(words) if kept => format!("{words} {}", quoted(path)),
                Mend::Command(_) => setup.clone(),
            };
            Finding::new(path, what, mend)
        }));
    };
    for (path, mode, owner) in setup::directories(home, roles, places) {
        look(&path, Type::Directory, mode, &owner);
    }
    // It must not be a role's: who has it decides what lies under the names of the locks.
    look(&home.path("queue/lock"), Type::Directory, 0o755, &owns);
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
    let farewell = services::farewell(home, roles, places).into_iter();
    found.extend(farewell.map(|(path, _)| Finding::new(&path, NO_FAREWELL, &*setup)));
    programs(home, &mut found);
    found
}

/// Said of a service file that only later versions make.
const NO_FAREWELL: &str =
    "does not exist: letters under way when the machine goes down may be delivered twice";
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

/// The binaries, and a link to one of them for each of their programs. What others could have written
/// is not run, whoever looks: of that the rules tell. What nobody can run harms nobody.
fn programs(home: &Home, found: &mut Vec<Finding>) {
    let setup = command(home, "qmailctl setup");
    for binary in setup::BINARIES {
        let path = home.path("bin").join(binary);
        let theirs =
            |about: &Metadata| about.mode() & 0o111 != 0 && !binaries::is_trusted(home, about);
        if fs::metadata(&path).is_ok_and(|about| theirs(&about)) {
            continue;
        }
        let text = match binaries::answer(&path) {
            Ok((status, text)) if status.success() => text,
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

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    fn script(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::permissions::replace(path, 0o755, text.as_bytes()).unwrap();
    }

    #[test]
    fn a_program_that_others_can_write_is_not_run() {
        let root = Yard::new("check-theirs");
        for name in setup::BINARIES {
            let text =
                format!("#!/bin/sh\n: > {}/run-{name}\necho {name}-program\n", root.display());
            script(&root.join("bin").join(name), &text);
        }
        fs::set_permissions(root.join("bin/qmail"), fs::Permissions::from_mode(0o757)).unwrap();
        let home = Home::at(&root).unwrap();
        let mut found = Vec::new();
        programs(&home, &mut found);
        assert!(root.join("run-qmail-net").exists() && !root.join("run-qmail").exists());
        let missing = |name: &str| found.iter().any(|it| it.path == home.path("bin").join(name));
        assert!(missing("qmail-net-program") && !missing("qmail-program"), "{found:?}");
    }

    #[test]
    fn a_file_of_later_versions_is_missed_where_a_service_is_ours() {
        let root = Yard::new("check-farewell");
        let home = Home::at(&root).unwrap();
        let roles = Roles::all(&home.owner_ids());
        let places = Places::of(&home);
        let nowhere = || crate::scripts::Listen { smtp: String::new(), pop3: String::new() };
        for service in crate::scripts::services(&home, &roles, &nowhere(), &places) {
            script(&places.services.join(service.name).join("run"), &service.run);
        }
        let missing = || {
            let made = made(&home, &roles, &places).into_iter();
            made.filter(|it| it.said.ends_with(NO_FAREWELL)).map(|it| it.path).collect::<Vec<_>>()
        };
        let [last, down] = ["queued/ends-last", "qmail-send/timeout-down"]
            .map(|below| places.services.join(below));
        assert_eq!(missing(), [last.clone(), down.clone()]);
        fs::write(&last, "").unwrap();
        assert_eq!(missing(), [down]);
        script(&places.services.join("qmail-send/run"), "#!/bin/sh\nexec mine\n");
        assert_eq!(missing(), Vec::<PathBuf>::new());
    }
}
