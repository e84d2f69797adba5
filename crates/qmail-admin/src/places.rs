//! Where a home's services, logs and rules lie: all below the home, or spread over the system as the
//! guide "Life with qmail" has taught administrators.

use std::path::{Path, PathBuf};

use store::home::Home;

/// The directory that svscan looks at on a system that follows the guide; Debian's stands second.
const SCANNED: [&str; 2] = ["/service", "/etc/service"];
/// The guide's place for logs: qmail-send's own, with the others' below it.
const LOGS: &str = "/var/log/qmail";
/// The guide's rules for SMTP clients.
const RULES: &str = "/etc/tcp.smtp";
/// A file in every tree made after the guide, of a home that has none of our own services yet.
const GUIDED: &str = "supervise/qmail-send/run";

/// Where things lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// What svscan looks at: the services, or links to them.
    pub(crate) scanned: PathBuf,
    /// The services' own directories.
    pub(crate) services: PathBuf,
    /// The rules for SMTP clients, as text.
    pub(crate) rules: PathBuf,
    /// Where logs lie: below the home, or one directory in another.
    logs: PathBuf,
    /// As the guide has them.
    pub(crate) guided: bool,
}

impl Places {
    /// The places of a home as it stands: as the guide has them if its services are in `supervise` and
    /// its `service` is a link to what svscan looks at, or if somebody made it by hand after the guide.
    pub(crate) fn of(home: &Home) -> Self {
        let service = home.path("service");
        match std::fs::read_link(&service) {
            Ok(scanned) if home.path("supervise").is_dir() => Self::guided(home, &scanned),
            Err(_) if !service.is_dir() && home.path(GUIDED).exists() => {
                Self::guided(home, &scanned_here())
            }
            _ => Self::own(home),
        }
    }

    /// Everything below the home.
    pub(crate) fn own(home: &Home) -> Self {
        let scanned = home.path("service");
        Self {
            services: scanned.clone(),
            rules: scanned.join("qmail-smtpd/rules"),
            scanned,
            logs: home.path("log"),
            guided: false,
        }
    }

    /// As the guide has them, with what svscan looks at.
    pub(crate) fn guided(home: &Home, scanned: &Path) -> Self {
        Self {
            scanned: scanned.into(),
            services: home.path("supervise"),
            rules: RULES.into(),
            logs: LOGS.into(),
            guided: true,
        }
    }

    /// A service as svscan, and whoever steers it, knows it.
    pub(crate) fn service(&self, name: &str) -> PathBuf {
        self.scanned.join(name)
    }

    /// Where the log of a service is.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        match name {
            _ if !self.guided => self.logs.join(name),
            "qmail-send" => self.logs.clone(),
            _ => self.logs.join(name.strip_prefix("qmail-").unwrap_or(name)),
        }
    }

    /// The rules, compiled, and the file they are compiled in.
    pub(crate) fn compiled(&self) -> [PathBuf; 2] {
        ["cdb", "tmp"].map(|end| self.rules.with_extension(self.ending(end)))
    }

    /// `rules` has no dot in its name, `tcp.smtp` has one that is no ending.
    fn ending(&self, end: &str) -> String {
        match self.rules.extension() {
            Some(old) => format!("{}.{end}", old.to_string_lossy()),
            None => end.to_owned(),
        }
    }
}

/// What svscan looks at on this machine: the first that has qmail's services, else the first there.
pub(crate) fn scanned_here() -> PathBuf {
    let known = || SCANNED.iter().map(Path::new);
    let taken = known().find(|dir| dir.join("qmail-send").exists());
    let found = taken.or_else(|| known().find(|dir| dir.is_dir()));
    found.unwrap_or(Path::new("/service")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::{Kept, Yard};

    fn home(name: &str) -> Kept<Home> {
        let root = Yard::new(&format!("places-{name}"));
        let home = Home::at(&root).unwrap();
        root.keep(home)
    }

    #[test]
    fn a_home_of_its_own_has_all_below_it() {
        let home = home("own");
        let places = Places::of(&home);
        assert_eq!(places, Places::own(&home));
        assert_eq!(places.log("qmail-smtpd"), home.path("log/qmail-smtpd"));
        let [cdb, tmp] = places.compiled();
        assert_eq!(cdb, home.path("service/qmail-smtpd/rules.cdb"));
        assert_eq!(tmp, home.path("service/qmail-smtpd/rules.tmp"));
    }

    #[test]
    fn a_tree_made_by_hand_and_one_of_ours_have_the_guides_places() {
        let home = home("guided");
        std::fs::create_dir_all(home.path("supervise/qmail-send")).unwrap();
        std::fs::write(home.path(GUIDED), "").unwrap();
        assert!(Places::of(&home).guided);
        std::os::unix::fs::symlink("/srv/service", home.path("service")).unwrap();
        let places = Places::of(&home);
        assert_eq!(places.service("queued"), Path::new("/srv/service/queued"));
        assert_eq!(places.services, home.path("supervise"));
        let logs = ["qmail-send", "qmail-smtpd", "queued"].map(|name| places.log(name));
        let wanted = ["/var/log/qmail", "/var/log/qmail/smtpd", "/var/log/qmail/queued"];
        assert_eq!(logs, wanted.map(PathBuf::from));
        let files = ["/etc/tcp.smtp.cdb", "/etc/tcp.smtp.tmp"].map(PathBuf::from);
        assert_eq!(places.compiled(), files);
    }

    #[test]
    fn services_that_somebody_has_put_elsewhere_are_still_the_homes_own() {
        let home = home("moved");
        std::os::unix::fs::symlink("/srv/service", home.path("service")).unwrap();
        assert!(!Places::of(&home).guided);
    }
}
