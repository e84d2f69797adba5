//! The logs where the guide has them: whether each logger can write its own. Their directories are
//! somebody's, and setup leaves them as they are.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sys::user::{self, Ids};

use super::judge::{Finding, class};
use super::rules::At;
use super::walk::Walk;
use crate::scripts::quoted;

/// Said of a directory that keeps a logger from its log.
const SO: &str = "the log is not written";

/// Looks at the log of the service in `dir`, if its logger writes there, as its script says.
pub(super) fn look(walk: &mut Walk<'_>, dir: &Path, log: &Path) {
    let Ok(script) = fs::read_to_string(dir.join("log/run")) else { return };
    if !script.split_whitespace().any(|word| Path::new(word.trim_matches(['"', '\''])) == log) {
        return;
    }
    let Some(logger) = logger(&script) else { return };
    for above in log.ancestors().skip(1).filter(|above| above.parent().is_some()) {
        let Ok(about) = fs::metadata(above) else { return };
        if granted(&about, &logger) & 1 == 0 {
            let mend = format!("chmod a+x {}", quoted(above));
            let what = format!("cannot be entered by uid {}: {SO}", logger.uid);
            return walk.tell(At::Service("log"), Finding::new(above, &what, mend));
        }
    }
    let Ok(about) = fs::metadata(log) else { return };
    if granted(&about, &logger) & 3 == 3 {
        return;
    }
    let path = quoted(log);
    let mend = match about.uid() == logger.uid {
        true => format!("chmod u+rwx {path}"),
        false => format!("chown -hR {}:{} {path} && chmod u+rwx {path}", logger.uid, logger.gid),
    };
    let what = format!("cannot be written by uid {}: {SO}", logger.uid);
    walk.tell(At::Service("log"), Finding::new(log, &what, mend));
}

/// Whom `setuidgid` in a script becomes; `None` if it becomes nobody else, or that cannot be told.
fn logger(script: &str) -> Option<Ids> {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find(|word| *word == "setuidgid" || word.ends_with("/setuidgid"))?;
    let who = words.next()?;
    if let Some((uid, gid)) = who.split_once(':') {
        return Some(Ids { uid: uid.parse().ok()?, gid: gid.parse().ok()?, groups: Vec::new() });
    }
    let found = user::by_name(who.as_bytes()).ok()??;
    Some(Ids { uid: found.uid, gid: found.gid, groups: Vec::new() })
}

/// Which of r (4), w (2) and x (1) somebody has.
fn granted(about: &Metadata, who: &Ids) -> u32 {
    match who.uid {
        0 => 7,
        _ => class(about.mode(), (about.uid(), about.gid()), who),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use store::home::{Home, Roles};
    use yard::Yard;

    use super::*;
    use crate::places::Places;

    #[test]
    fn a_log_that_its_logger_cannot_write_is_told_of_with_what_is_closed() {
        let root = Yard::new("check-logs");
        let (dir, above) = (root.join("supervise/x"), root.join("logs"));
        let log = above.join("x");
        fs::create_dir_all(dir.join("log")).unwrap();
        fs::create_dir_all(&log).unwrap();
        let home = Home::at(&root).unwrap();
        let places = Places::guided(&home, &root.join("scanned"));
        let roles = Roles::all(&home.owner_ids());
        let me = fs::metadata(&log).unwrap();
        let told = |uid: u32, modes: [u32; 2]| {
            let script = format!("exec setuidgid {uid}:7 multilog t {}/\n", log.display());
            fs::write(dir.join("log/run"), script).unwrap();
            for (path, mode) in [&above, &log].into_iter().zip(modes) {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            let mut walk = Walk::new(&home, &roles, &places);
            look(&mut walk, &dir, &log);
            walk.ended().iter().map(Finding::to_string).collect::<String>()
        };
        let other = me.uid() + 47_000;
        assert_eq!(told(me.uid(), [0o755, 0o755]), "");
        assert_eq!(told(other, [0o755, 0o777]), "");
        assert_eq!(
            told(other, [0o755, 0o755]),
            format!(
                "{0} cannot be written by uid {other}: {SO} (mend: chown -hR {other}:7 {0} && chmod \
                 u+rwx {0})",
                log.display()
            )
        );
        assert!(told(other, [0o700, 0o777]).starts_with(&format!("{} cannot be", above.display())));
    }

    #[test]
    fn a_loggers_user_is_whom_its_script_becomes() {
        let ids = logger("#!/bin/sh\n# setuidgid joe\nexec /q/bin/setuidgid 7:8 multilog t /l\n");
        assert_eq!(ids.map(|ids| (ids.uid, ids.gid)), Some((7, 8)));
        let root = logger("exec setuidgid root multilog t /l");
        assert_eq!(root.map(|ids| ids.uid), Some(0));
        for none in ["exec multilog t /l", "exec setuidgid", "exec setuidgid no-such-user-here x"] {
            assert!(logger(none).is_none(), "{none}");
        }
    }
}
