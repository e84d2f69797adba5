//! What is there: the facts an installation is judged by. Nothing is changed here.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use store::home::Home;

use super::accounts::{GROUPS, ROLES, Tools};
use super::boot::{Boot, SAID, is_ours, is_running, is_up, svscan_pid};
use super::is_plain;
use super::plan::{Facts, File, Found, Link, Wishes, kept};
use super::source::Source;
use super::starters::{besides, boot, is_enabled, starts};
use crate::permissions::about;
use crate::places::Places;
use crate::setup::BINARIES;
use crate::upgrade::is_begun;
use crate::{Trouble, instcheck, services};

/// The most bytes of a file outside the home that are looked at.
const LONGEST: u64 = 1 << 20;
/// Where the system looks for qmail's programs.
const LINKS: [(&str, &str); 3] = [
    ("/usr/sbin/sendmail", "sendmail"),
    ("/usr/lib/sendmail", "sendmail"),
    ("/usr/bin/qmailctl", "qmailctl"),
];

/// Looks at everything.
pub(super) fn facts(wishes: &Wishes, source: &Source) -> Result<Facts, Trouble> {
    let home = Home::at(&wishes.home).ok();
    let scanned = home.as_ref().map_or(wishes.home.join("service"), |h| Places::of(h).scanned);
    let supervised = home.as_ref().is_some_and(is_running);
    let foreign = supervised && home.as_ref().is_none_or(|home| svscan_pid(home).is_none());
    let (boot, left) = boot(wishes, foreign, &scanned)?;
    if boot.file(&wishes.home, &scanned).is_some() {
        is_plain(&scanned)?;
    }
    let bin = wishes.home.join("bin");
    let ours = BINARIES.iter().all(|name| bin.join(name).exists());
    if !ours && home.as_ref().is_some_and(is_up) {
        return Err(format!(
            "{} is at work with other programs than ours: stop it first (qmail-move(7))",
            wishes.home.display()
        ));
    }
    let running = supervised && ours;
    let stale = source.stale(&bin)?;
    let files = files(wishes, source, boot, &scanned)?;
    Ok(Facts {
        tools: Tools::here(),
        numbered: wishes.home.join("users/roles").exists(),
        groups: known("/etc/group", GROUPS, |name| Ok(sys::user::group(name)?.is_some()))?,
        accounts: known("/etc/passwd", ROLES.map(|role| role.0), |name| {
            Ok(sys::user::by_name(name)?.is_some())
        })?,
        wrong: wrong(wishes, home.as_ref(), &stale)?,
        stale,
        links: links(wishes)?,
        enabled: is_enabled(boot, supervised, &files),
        live: wishes.live && (boot != Boot::Systemd || Path::new("/run/systemd/system").exists()),
        files,
        boot,
        running,
        left_to: left.then_some(scanned),
        besides: besides(wishes, boot)?,
        begun: ours && home.as_ref().is_some_and(is_begun),
    })
}

/// Which of these a file of the system's knows.
fn known<const N: usize>(
    file: &str,
    names: [&str; N],
    asks: impl Fn(&[u8]) -> std::io::Result<bool>,
) -> Result<Vec<String>, Trouble> {
    let mut known = Vec::new();
    for name in names {
        match asks(name.as_bytes()) {
            Ok(true) => known.push(name.to_owned()),
            Ok(false) => {}
            // A root directory without such a list.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{file}: {error}")),
        }
    }
    Ok(known)
}

/// What `setup` would mend.
fn wrong(wishes: &Wishes, home: Option<&Home>, stale: &[&str]) -> Result<Vec<String>, Trouble> {
    let Some(home) = home.filter(|home| home.path("control").is_dir()) else {
        return Ok(vec![format!("{} is no home yet", wishes.home.display())]);
    };
    let mut wrong = Vec::new();
    if !stale.is_empty() {
        wrong.push("a link for each program of the new binaries".to_owned());
    }
    let places = Places::of(home);
    if wishes.life_with_qmail && !places.guided {
        wrong.push("services, logs and rules where the guide has them".to_owned());
    }
    match home.roles() {
        Ok(_) if stale.is_empty() => wrong.extend(instcheck::findings(home)?),
        Ok(_) => {}
        Err(why) => wrong.push(why.to_string()),
    }
    let by_hand = services::is_by_hand(&places);
    let wanted = services::NAMES.into_iter().filter(|name| !by_hand || *name != "qmail-pop3d");
    let scripts = wanted.map(|name| places.services.join(name).join("run"));
    let needed = scripts.chain([home.path("control/me"), places.rules.clone()]);
    let missing = needed.filter(|path| !path.exists());
    wrong.extend(missing.map(|path| format!("{} does not exist", path.display())));
    wrong.extend(deaf(wishes, &places));
    Ok(wrong)
}

/// The servers that shall listen elsewhere than their scripts say.
fn deaf(wishes: &Wishes, places: &Places) -> Vec<String> {
    let scripts =
        wishes.listening.iter().map(|(name, at)| (places.services.join(name).join("run"), at));
    let other = scripts.filter(|(run, at)| {
        std::fs::read_to_string(run).is_ok_and(|text| !text.contains(&format!(" {at} ")))
    });
    other
        .map(|(run, at)| format!("{} shall have its server listen at {at}", run.display()))
        .collect()
}

/// The files: what starts it, what was said of that, and the manual.
fn files(
    wishes: &Wishes,
    source: &Source,
    boot: Boot,
    scanned: &Path,
) -> Result<Vec<(File, Found)>, Trouble> {
    if wishes.packaged {
        return Ok(Vec::new());
    }
    let starts = boot.file(&wishes.home, scanned).map(|(path, mode, text)| File {
        path,
        mode,
        text: text.into_bytes(),
        line: boot == Boot::Inittab,
    });
    let pages = source.pages().iter().filter_map(|(name, text)| {
        let section = name.rsplit_once('.')?.1;
        let path = wishes.home.join(format!("man/man{section}")).join(name);
        Some(File { path, mode: 0o644, text: text.clone(), line: false })
    });
    let said = wishes.boot.map(|boot| File {
        path: wishes.home.join(SAID),
        mode: 0o644,
        text: boot.said().into_bytes(),
        line: false,
    });
    let mut files = Vec::new();
    if let Some(file) = starts {
        let found = found(&file.path)?;
        let found = if file.line { found } else { judged(found, &wishes.home) };
        files.push((file, found));
    }
    for file in said.into_iter().chain(pages) {
        let found = found(&file.path)?;
        files.push((file, found));
    }
    Ok(files)
}

/// What stands where the unit or the script goes: ours, of whatever version, or somebody's.
fn judged(found: Found, home: &Path) -> Found {
    match found {
        Found::File(text) => match is_ours(&String::from_utf8_lossy(&text)) {
            true => Found::File(text),
            false => Found::Foreign(starts(&text, home)),
        },
        // A unit that is masked is a link to /dev/null.
        Found::Link(_) => Found::Foreign(false),
        found => found,
    }
}

/// The links outside the home.
pub(super) fn links(wishes: &Wishes) -> Result<Vec<(Link, Found)>, Trouble> {
    if wishes.packaged {
        return Ok(Vec::new());
    }
    let mut links: Vec<(Link, Found)> = Vec::new();
    for (at, program) in LINKS {
        let (at, to) = (PathBuf::from(at), wishes.home.join("bin").join(program));
        let link = Link { spare: spare(&at)?, at, to };
        // Two names of one directory are one link.
        let same = links.iter().any(|(other, _)| is_same_place(&other.at, &link.at));
        if !same {
            let found = match found(&link.at)? {
                Found::Link(to) if to != link.to && is_a_home(&link.at, &to) => Found::Ours,
                found => found,
            };
            links.push((link, found));
        }
    }
    Ok(links)
}

/// Whether a link leads to a program in a home of ours.
fn is_a_home(at: &Path, to: &Path) -> bool {
    let to = at.parent().unwrap_or(Path::new("/")).join(to);
    let bin = to.parent().filter(|bin| bin.ends_with("bin"));
    bin.is_some_and(|bin| BINARIES.iter().all(|binary| bin.join(binary).is_file()))
}

/// A name for what stands at a path, under which nothing is kept yet.
fn spare(path: &Path) -> Result<PathBuf, Trouble> {
    for name in kept(path) {
        if found(&name)? == Found::Nothing {
            return Ok(name);
        }
    }
    Err(format!("{}.before-qmail, and more like it: remove what nobody needs", path.display()))
}

/// What was kept last of what stood at a path.
pub(super) fn last_kept(path: &Path) -> Result<Option<PathBuf>, Trouble> {
    let mut last = None;
    for name in kept(path) {
        if found(&name)? != Found::Nothing {
            last = Some(name);
        }
    }
    Ok(last)
}

/// Whether two paths name one entry of one directory.
fn is_same_place(one: &Path, other: &Path) -> bool {
    let dir = |path: &Path| path.parent().and_then(|dir| std::fs::canonicalize(dir).ok());
    one.file_name() == other.file_name() && dir(one).is_some_and(|it| dir(other) == Some(it))
}

/// What stands at a path.
pub(super) fn found(path: &Path) -> Result<Found, Trouble> {
    let about_it = match std::fs::symlink_metadata(path) {
        Ok(about_it) => about_it,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Found::Nothing);
        }
        Err(error) => return about(path, Err(error)),
    };
    if about_it.is_symlink() {
        return about(path, std::fs::read_link(path)).map(Found::Link);
    }
    match about_it.is_file() {
        // What is longer is nothing of ours.
        true if about_it.len() > LONGEST => Ok(Found::File(Vec::new())),
        true => about(path, std::fs::read(path)).map(Found::File),
        false => Ok(Found::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_masked_unit_and_an_edited_one_are_somebodys() {
        let home = Path::new("/var/qmail");
        let (_, _, text) = Boot::Systemd.file(home, &home.join("service")).unwrap();
        let file = |text: &str| Found::File(text.into());
        assert_eq!(judged(file(&text), home), file(&text));
        assert_eq!(judged(file(&text.replace("=60", "=90")), home), Found::Foreign(true));
        assert_eq!(judged(file("#!/bin/sh\n"), home), Found::Foreign(false));
        assert_eq!(judged(Found::Link("/dev/null".into()), home), Found::Foreign(false));
        assert_eq!(judged(Found::Nothing, home), Found::Nothing);
    }

    #[test]
    fn what_was_kept_is_never_in_the_way_and_the_last_comes_back() {
        let dir = Yard::new("install-kept");
        std::fs::create_dir_all(dir.join("home/bin")).unwrap();
        let at = dir.join("sendmail");
        assert_eq!(last_kept(&at), Ok(None));
        for name in ["sendmail.before-qmail", "sendmail.before-qmail.2"] {
            assert_eq!(spare(&at), Ok(dir.join(name)));
            std::fs::write(dir.join(name), "").unwrap();
            assert_eq!(last_kept(&at), Ok(Some(dir.join(name))));
        }
        let to = dir.join("home/bin/sendmail");
        assert!(!is_a_home(&at, &to));
        for binary in BINARIES {
            std::fs::write(dir.join("home/bin").join(binary), "").unwrap();
        }
        assert!(is_a_home(&at, &to) && is_a_home(&at, Path::new("home/bin/sendmail")));
    }

    #[test]
    fn what_stands_somewhere_is_told_apart() {
        let dir = Yard::new("install-look");
        std::fs::write(dir.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("link")).unwrap();
        assert_eq!(found(&dir.join("file")), Ok(Found::File(b"x".into())));
        assert_eq!(found(&dir.join("link")), Ok(Found::Link("nowhere".into())));
        assert_eq!(found(&dir.join("none")), Ok(Found::Nothing));
        assert_eq!(found(&dir.join("file/below")), Ok(Found::Nothing));
        assert_eq!(found(&dir), Ok(Found::Other));
        assert!(is_same_place(
            &dir.join("file"),
            &dir.join("../").join(dir.file_name().unwrap()).join("file")
        ));
    }
}
