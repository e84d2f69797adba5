//! The services of a home: their directories, run scripts, logs and rules, and where svscan finds them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base::limits::PROGRAM_MEMORY;
use store::home::{Home, Roles};

use crate::permissions::{about, directory, replace, unless_there};
use crate::places::Places;
use crate::print::say;
use crate::scripts::{self, Listen};
use crate::{Trouble, belongings};

/// Who may send where: this host relays for itself.
const RULES: &str = "127.:allow,RELAYCLIENT=\"\",TCPREMOTEHOST=\"localhost\"\n:allow\n";

/// How services go down when everything does (service(5)): deliveries under way get their time, and
/// queued stays until what became of them is written down.
const FAREWELL: [(&str, &str, &str); 2] =
    [("queued", "ends-last", ""), ("qmail-send", "timeout-down", "60000\n")];

/// The services that people know by name, and what they need here, in the order of a start.
pub(crate) const NAMES: [&str; 5] =
    ["queued", "pspawn", "qmail-send", "qmail-smtpd", "qmail-pop3d"];

/// Those of them that this home must have: whose directory, link or log is there, and where one is,
/// those that no mail system is without. Other services are for who wants them.
pub(crate) fn required(places: &Places) -> Vec<&'static str> {
    let there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    let has = |name: &str| {
        let traces = [places.services.join(name), places.service(name), places.log(name)];
        traces.iter().any(|path| there(path))
    };
    let some = NAMES.into_iter().any(has);
    let always = |name: &str| some && matches!(name, "queued" | "qmail-send");
    NAMES.into_iter().filter(|name| always(name) || has(name)).collect()
}

/// Those of them that listen where setup is told.
pub(crate) const SERVERS: [&str; 2] = ["qmail-smtpd", "qmail-pop3d"];

/// Service directories, log directories and the SMTP rules. Of the services in `kept` a run script
/// that is there stays: nobody said where else to listen. So does every script that somebody has
/// changed. In a tree that somebody made by hand only what is missing is made, and of the services
/// those that it cannot do without.
pub(crate) fn make(
    home: &Home,
    roles: &Roles,
    listen: &Listen,
    places: &Places,
    kept: &[&str],
) -> Result<(), Trouble> {
    let root = home.owner_ids();
    // A tree without POP3 stays one.
    let by_hand = is_by_hand(places);
    if places.guided {
        script(places, &home.path("rc"), &scripts::rc(home), false)?;
        log(home, roles, places, "qmail-send")?;
    }
    for service in scripts::services(home, roles, listen, places) {
        let (name, dir) = (service.name, places.services.join(service.name));
        if by_hand && name == "qmail-pop3d" && !dir.exists() {
            continue;
        }
        directory(&dir.join("log"), 0o755, &root)?;
        log(home, roles, places, name)?;
        let logger = scripts::logger(home, roles, places, name);
        script(places, &dir.join("log/run"), &logger, false)?;
        for (at, file, text) in FAREWELL {
            if at == name {
                unless_there(&dir.join(file), text)?;
            }
        }
        let run = dir.join("run");
        script(places, &run, &service.run, kept.contains(&name))?;
        if SERVERS.contains(&name) && !kept.contains(&name) {
            tell_kept(&run, &service.run)?;
        }
    }
    unless_there(&places.rules, RULES)?;
    compile_rules(home, places)
}

/// The files of [`FAREWELL`] that are missing, with their text: of services whose run script is as
/// setup has written it. What somebody else's needs, they know.
pub(crate) fn farewell(
    home: &Home,
    roles: &Roles,
    places: &Places,
) -> Vec<(PathBuf, &'static str)> {
    // None of these listens.
    let nowhere = Listen { smtp: String::new(), pop3: String::new() };
    let services = scripts::services(home, roles, &nowhere, places);
    let missing = FAREWELL.into_iter().filter_map(|(name, file, text)| {
        let dir = places.services.join(name);
        let service = services.iter().find(|service| service.name == name)?;
        let run = std::fs::read_to_string(dir.join("run")).ok()?;
        let (path, ours) = (dir.join(file), is_as_written(places, &run, &service.run));
        (ours && !path.exists()).then_some((path, text))
    });
    missing.collect()
}

/// A log's directory. The guide wants it open to everybody; one that is there somebody has made so.
fn log(home: &Home, roles: &Roles, places: &Places, name: &str) -> Result<(), Trouble> {
    let dir = places.log(name);
    match places.guided {
        true if dir.is_dir() => Ok(()),
        true => directory(&dir, 0o755, &roles.qmaill),
        false => belongings::log(&dir, home, roles),
    }
}

/// Whether the scripts there are somebody's own.
pub(crate) fn is_by_hand(places: &Places) -> bool {
    let run = places.services.join("qmail-send/run");
    places.guided && std::fs::read_to_string(run).is_ok_and(|text| !scripts::is_marked(&text))
}

/// Whether a script is as setup has written it, now or before. In the guide's places ours have always
/// been marked: what has no mark was typed there, word for word or not.
fn is_as_written(places: &Places, there: &str, text: &str) -> bool {
    let typed = places.guided && !scripts::is_marked(there);
    !typed && scripts::is_ours(there, text)
}

/// Writes a script, unless the one that is there shall be kept, or is an administrator's own.
fn script(places: &Places, path: &Path, text: &str, kept: bool) -> Result<(), Trouble> {
    let ours = match std::fs::read_to_string(path) {
        Ok(there) if there == text => !runs(path),
        Ok(there) => !kept && is_as_written(places, &there, text),
        // A link that leads nowhere yet, or what is no text, is somebody's.
        Err(_) => std::fs::symlink_metadata(path).is_err(),
    };
    if ours { replace(path, 0o755, text.as_bytes()) } else { Ok(()) }
}

/// Whether a script can be run as it should.
fn runs(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o7777 == 0o755)
}

/// An address was given, and the script that has it is an administrator's own.
fn tell_kept(run: &Path, text: &str) -> Result<(), Trouble> {
    if std::fs::read_to_string(run).is_ok_and(|there| there != text) {
        say!("{} stays: somebody has changed it; write into it where to listen", run.display());
    }
    Ok(())
}

/// The run scripts whose programs get less memory than ours need. softlimit says so too if it is ours
/// (softlimit(8)); another one leaves it to the kernel, which kills without a word.
pub(crate) fn cramped(places: &Places) -> Vec<String> {
    let scripts = NAMES.map(|name| places.services.join(name).join("run"));
    let judged = scripts.iter().filter_map(|script| {
        let text = std::fs::read_to_string(script).ok()?;
        let bytes = memory(&text).filter(|bytes| *bytes < PROGRAM_MEMORY)?;
        Some(format!(
            "{} gives its programs {bytes} bytes of memory, which are too few (mend: softlimit -m {PROGRAM_MEMORY})",
            script.display()
        ))
    });
    judged.collect()
}

/// What `softlimit -m BYTES` or `-a BYTES` in a script leaves.
fn memory(script: &str) -> Option<u64> {
    let words: Vec<&str> =
        script.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
    let at = words.iter().position(|word| *word == "softlimit" || word.ends_with("/softlimit"))?;
    let options = words.get(at..)?;
    let amounts = options.windows(2).filter_map(|pair| match pair {
        ["-m" | "-a", bytes] => bytes.parse().ok(),
        [word, _] => word.strip_prefix("-m").or(word.strip_prefix("-a"))?.parse().ok(),
        _ => None,
    });
    amounts.min()
}

/// Compiles the SMTP rules with tcprules; the table is everybody's to read.
pub(crate) fn compile_rules(home: &Home, places: &Places) -> Result<(), Trouble> {
    let source = about(&places.rules, std::fs::File::open(&places.rules))?;
    let [cdb, tmp] = places.compiled();
    let mut tcprules = Command::new(home.path("bin/tcprules"));
    tcprules.arg(&cdb).arg(&tmp).stdin(source);
    if !about(&home.path("bin/tcprules"), tcprules.status())?.success() {
        return Err(format!("{}: tcprules did not accept it", places.rules.display()));
    }
    use std::os::unix::fs::PermissionsExt;
    about(&cdb, std::fs::set_permissions(&cdb, std::fs::Permissions::from_mode(0o644)))
}

/// Links every service to where svscan looks, last of all: it starts what it sees. What stands there
/// under the same name is left alone.
pub(crate) fn show(home: &Home, places: &Places) -> Result<(), Trouble> {
    if !places.guided {
        return Ok(());
    }
    directory(&places.scanned, 0o755, &home.owner_ids())?;
    let service = home.path("service");
    if std::fs::symlink_metadata(&service).is_err() {
        about(&service, symlink(&places.scanned, &service))?;
    }
    for name in NAMES {
        let (target, at) = (places.services.join(name), places.service(name));
        if !target.exists() {
            continue;
        }
        match std::fs::symlink_metadata(&at) {
            Ok(_) if same(&at, &target) => {}
            Ok(_) => say!("{} stays: it is not {}", at.display(), target.display()),
            Err(_) => about(&at, symlink(&target, &at))?,
        }
    }
    Ok(())
}

/// Whether two paths lead to one directory.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    let found = (std::fs::metadata(one), std::fs::metadata(other));
    matches!(found, (Ok(one), Ok(other)) if sys::file::is_same(&one, &other))
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn a_scripts_limit_of_memory_is_found_where_softlimit_gets_it() {
        let script = "#!/bin/sh\n# softlimit -m 1 is too few\nexec /usr/local/bin/softlimit -m 2000000 \\\n tcpserver -v\n";
        assert_eq!(memory(script), Some(2_000_000));
        assert_eq!(memory("softlimit -c 0 -a3000000 x"), Some(3_000_000));
        assert_eq!(memory("exec softlimit -o 20 tcpserver -v -m x"), None);
        assert_eq!(memory("exec tcpserver -m 5"), None);
    }
}
