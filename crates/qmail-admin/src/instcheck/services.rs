//! The services: whether each that must be is there, can be started, and is nobody else's to change.

use std::fs;
use std::path::{Path, PathBuf};

use super::judge::{Finding, then};
use super::rules::{At, Owner, RULES, Rule, User, WRITE};
use super::walk::{Walk, gone, is_link, rm};
use super::{Type, files, logs};
use crate::facts;
use crate::scripts::quoted;
use crate::services::{SERVERS, required, same};

/// A link in the directory that svscan looks at.
const LINK: At = At::Service("");

/// The directory that svscan looks at, where it is none that setup makes.
const SCANNED: Rule = Rule {
    at: LINK,
    kind: Type::Directory,
    owner: Owner::Home,
    needs: (User::Owner, 5),
    shut: WRITE,
    optional: true,
    so: "svscan starts nothing",
    danger: "who writes it decides what is run",
};

/// Looks at all of them, and at the rules for SMTP clients.
pub(super) fn look(walk: &mut Walk<'_>) {
    let places = walk.places;
    let names = required(places);
    for name in &names {
        let dir = places.services.join(name);
        if dir.exists() && places.guided {
            linked(walk, name, &dir);
        }
        service(walk, &dir, name);
        written(walk, &dir, name);
        if walk.places.guided {
            logs::look(walk, &dir, &places.log(name));
        }
    }
    if walk.places.guided {
        walk.look(&SCANNED, &places.scanned, None);
    }
    for path in facts::scanned(places).unwrap_or_default() {
        if !names.iter().any(|name| path.ends_with(name)) {
            other(walk, &path);
        }
    }
    clients(walk);
}

/// One service's directory, with its scripts.
fn service(walk: &mut Walk<'_>, dir: &Path, name: &str) {
    let has_log = dir.join("log").exists() || walk.places.log(name).exists();
    for rule in RULES {
        let At::Service(below) = rule.at else { continue };
        if below.starts_with("log") && !has_log {
            continue;
        }
        let path = if below.is_empty() { dir.to_path_buf() } else { dir.join(below) };
        let mend = anew(walk, &path, name, below);
        if !walk.look(rule, &path, Some(mend)) && rule.kind == Type::Directory {
            // There is nothing below it.
            return;
        }
    }
}

/// The directory of its log, where its logger, who may not make it, writes.
fn written(walk: &mut Walk<'_>, dir: &Path, name: &str) {
    let log = walk.places.log(name);
    // Of what is above it has been told.
    let alone = log.parent().is_some_and(Path::is_dir) && !log.exists();
    let writes = fs::read_to_string(dir.join("log/run"));
    if alone && writes.is_ok_and(|text| text.contains(&*log.to_string_lossy())) {
        let what = format!("{}: the log is not written", gone(&log));
        let mend = walk.qmailctl("setup");
        walk.tell(At::Service("log"), Finding::new(&log, &what, mend));
    }
}

/// How a part of a service is made again.
fn anew(walk: &Walk<'_>, path: &Path, name: &str, below: &str) -> String {
    if !crate::services::NAMES.contains(&name) {
        return "put it back".to_owned();
    }
    let option = match name.strip_prefix("qmail-").map(|name| name.trim_end_matches('d')) {
        Some("smtp") => "setup --smtp ADDR:PORT",
        Some("pop3") => "setup --pop3 ADDR:PORT",
        _ => "setup",
    };
    let listens = SERVERS.contains(&name) && !below.starts_with("log");
    let setup = walk.qmailctl(if listens { option } else { "setup" });
    let clear = if is_link(path) { format!("{}; ", rm(path)) } else { String::new() };
    match listens {
        true => format!("put it back, or make it anew: {clear}{setup}"),
        false => format!("{clear}{setup}"),
    }
}

/// Where svscan looks at links: whether there is one that leads to the service.
fn linked(walk: &mut Walk<'_>, name: &str, dir: &Path) {
    let link = walk.places.service(name);
    if same(&link, dir) || (link.exists() && !is_astray(walk, &link)) {
        return;
    }
    let what = match fs::read_link(&link) {
        Ok(to) if link.exists() => format!("is a link to {}", quoted(&to)),
        _ => gone(&link),
    };
    let what = format!("{what}: svscan does not see {}", dir.display());
    let mend = format!("ln -sfn {} {}", quoted(dir), quoted(&link));
    walk.tell(LINK, Finding::new(&link, &what, mend));
}

/// Whether a link leads to another of our services, or to what is none. One of somebody's own may
/// stand for ours.
fn is_astray(walk: &Walk<'_>, link: &Path) -> bool {
    let ours = |name| same(link, &walk.places.services.join(name));
    is_link(link) && (crate::services::NAMES.into_iter().any(ours) || !link.join("run").exists())
}

/// What else svscan finds: a service of somebody's own, or a link that leads nowhere.
fn other(walk: &mut Walk<'_>, path: &Path) {
    if path.is_dir() {
        if facts::is_within(walk.home, walk.places, path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            service(walk, path, &name);
        }
        return;
    }
    let ours = || fs::read_link(path).is_ok_and(|to| to.starts_with(walk.home.root()));
    if is_link(path) && !path.exists() && (!walk.places.guided || ours()) {
        let what = format!("{}: svscan finds no service there", gone(path));
        walk.tell(LINK, Finding::new(path, &what, rm(path)));
    }
}

/// The rules for SMTP clients, if the service asks them, and whether what they are compiled to is as
/// new as they are.
fn clients(walk: &mut Walk<'_>) {
    let rules = walk.places.rules.clone();
    let [compiled, _] = walk.places.compiled();
    let run = walk.places.services.join("qmail-smtpd/run");
    let asked =
        fs::read_to_string(run).is_ok_and(|text| text.contains(&*compiled.to_string_lossy()));
    let Some(rule) = RULES.iter().find(|rule| rule.at == At::Clients) else { return };
    let rule = Rule { optional: !asked, ..*rule };
    let [setup, cdb] = ["setup", "cdb"].map(|words| walk.qmailctl(words));
    if !walk.look(&Rule { so: "", ..rule }, &rules, Some(setup)) {
        return;
    }
    walk.look(&rule, &compiled, Some(cdb.clone()));
    if asked && files::is_damaged(&compiled) {
        let so = then(rule.so);
        let finding = Finding::new(&compiled, &format!("is damaged{so}"), cdb);
        return walk.tell(At::Clients, finding);
    }
    let changed = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
    if asked && changed(&compiled).is_some_and(|made| Some(made) < changed(&rules)) {
        let what = format!("is older than {}, which has no effect yet", rules.display());
        walk.tell(At::Clients, Finding::new(&compiled, &what, cdb));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use store::home::{Home, Roles};

    use super::*;
    use crate::places::Places;
    use yard::Yard;

    fn script(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_link_to_another_of_our_services_is_astray_and_who_writes_its_directory_decides() {
        let root = Yard::new("check-astray");
        let scanned = root.join("scanned");
        fs::create_dir_all(&scanned).unwrap();
        let home = Home::at(&root).unwrap();
        for name in ["queued", "qmail-send", "qmail-smtpd", "mine"] {
            script(&home.path(format!("supervise/{name}/run")));
        }
        for (name, to) in [("queued", "queued"), ("qmail-send", "queued"), ("qmail-smtpd", "mine")]
        {
            symlink(home.path("supervise").join(to), scanned.join(name)).unwrap();
        }
        fs::set_permissions(&scanned, fs::Permissions::from_mode(0o777)).unwrap();
        let (roles, places) = (Roles::all(&home.owner_ids()), Places::guided(&home, &scanned));
        let mut walk = Walk::new(&home, &roles, &places);
        look(&mut walk);
        let (home, scanned) = (home.root().display(), scanned.display());
        let astray = format!(
            "{scanned}/qmail-send is a link to {home}/supervise/queued: svscan does not see \
             {home}/supervise/qmail-send (mend: ln -sfn {home}/supervise/qmail-send \
             {scanned}/qmail-send)"
        );
        let open = format!(
            "{scanned} may be written by others than its owner: who writes it decides what is run \
             (mend: chmod go-w {scanned})"
        );
        let found: Vec<String> = walk.ended().iter().map(Finding::to_string).collect();
        let about = |line: &&String| line.contains("scanned");
        let found: Vec<&String> = found.iter().filter(about).collect();
        assert_eq!(found, [&astray, &open]);
    }

    #[test]
    fn a_service_that_svscan_does_not_see_is_named_where_links_lead_to_services() {
        let root = Yard::new("check-guided");
        let scanned = root.join("scanned");
        fs::create_dir_all(&scanned).unwrap();
        let home = Home::at(&root).unwrap();
        for name in ["queued", "qmail-send", "qmail-smtpd"] {
            script(&home.path(format!("supervise/{name}/run")));
            script(&home.path(format!("supervise/{name}/log/run")));
        }
        symlink(home.path("supervise/queued"), scanned.join("queued")).unwrap();
        symlink("/nowhere", scanned.join("qmail-smtpd")).unwrap();
        symlink("/nowhere", scanned.join("somebody's")).unwrap();
        symlink(home.path("supervise/old"), scanned.join("old")).unwrap();
        let (roles, places) = (Roles::all(&home.owner_ids()), Places::guided(&home, &scanned));
        let mut walk = Walk::new(&home, &roles, &places);
        look(&mut walk);
        let (home, scanned) = (home.root().display(), scanned.display());
        let wanted = [
            format!(
                "{scanned}/qmail-send does not exist: svscan does not see {home}/supervise/qmail-send \
                 (mend: ln -sfn {home}/supervise/qmail-send {scanned}/qmail-send)"
            ),
            format!(
                "{scanned}/qmail-smtpd is a link to /nowhere, where nothing is: svscan does not see \
                 {home}/supervise/qmail-smtpd (mend: ln -sfn {home}/supervise/qmail-smtpd \
                 {scanned}/qmail-smtpd)"
            ),
            format!(
                "{scanned}/old is a link to {home}/supervise/old, where nothing is: svscan finds no \
                 service there (mend: rm {scanned}/old)"
            ),
        ];
        let found: Vec<String> = walk.ended().iter().map(Finding::to_string).collect();
        for line in &wanted {
            assert!(found.contains(line), "{line}: {found:?}");
        }
        // Whatever else a machine has in the guide's places for logs.
        let about = |line: &&String| line.contains("scanned/");
        assert_eq!(found.iter().filter(about).count(), wanted.len(), "{found:?}");
    }
}
