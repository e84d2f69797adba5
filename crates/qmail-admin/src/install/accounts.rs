//! The accounts of the roles, made by the machine's own programs: `/etc/passwd` is not ours to edit.

use std::path::Path;
use std::process::Command;

use crate::Trouble;

/// The groups.
pub(super) const GROUPS: [&str; 2] = ["nofiles", "qmail"];
/// The roles, the group of each, and its home below the mail system's.
pub(super) const ROLES: [(&str, &str, &str); 7] = [
    ("alias", "nofiles", "alias"),
    ("qmaild", "nofiles", ""),
    ("qmaill", "nofiles", ""),
    ("qmailp", "nofiles", ""),
    ("qmailq", "qmail", ""),
    ("qmailr", "qmail", ""),
    ("qmails", "qmail", ""),
];
/// Where programs for this lie.
const BINS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What this machine makes accounts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tools {
    /// `groupadd` and `useradd`, as nearly everywhere.
    Shadow,
    /// `addgroup -S` and `adduser -S`, as where busybox is.
    Busybox,
    /// Nothing: the roles get numbers in `users/roles`.
    None,
}

impl Tools {
    /// Looks what there is.
    pub(super) fn here() -> Self {
        if program("useradd").is_some() && program("groupadd").is_some() {
            Self::Shadow
        } else if program("adduser").is_some_and(|path| is_busybox(&path)) {
            Self::Busybox
        } else {
            Self::None
        }
    }

    /// The words that make a group.
    pub(super) fn group(self, name: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Shadow => &["groupadd", "--system", name],
            Self::Busybox => &["addgroup", "-S", name],
            Self::None => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The words that make an account nobody can log in to.
    pub(super) fn account(self, name: &str, group: &str, home: &Path) -> Vec<String> {
        let home = home.to_string_lossy();
        let words: &[&str] = match self {
            Self::Shadow => &[
                "useradd",
                "--system",
                "--no-create-home",
                "--home-dir",
                &home,
                "--shell",
                "/bin/true",
                "--gid",
                group,
                name,
            ],
            Self::Busybox => {
                &["adduser", "-S", "-D", "-H", "-h", &home, "-s", "/bin/true", "-G", group, name]
            }
            Self::None => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// A program of the machine's.
pub(super) fn program(name: &str) -> Option<String> {
    let found = BINS.iter().map(|dir| format!("{dir}/{name}"));
    found.into_iter().find(|path| Path::new(path).exists())
}

/// Debian's `adduser` has other options.
fn is_busybox(path: &str) -> bool {
    std::fs::canonicalize(path).is_ok_and(|path| path.ends_with("busybox"))
}

/// Runs a command of the machine's to its end.
pub(super) fn run(words: &[String]) -> Result<(), Trouble> {
    let [name, args @ ..] = words else { return Ok(()) };
    let path = program(name).unwrap_or_else(|| name.clone());
    let status = Command::new(&path).args(args).status().map_err(|e| format!("{path}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", words.join(" "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_group_that_is_made() {
        assert!(ROLES.iter().all(|(_, group, _)| GROUPS.contains(group)));
        let words = Tools::Busybox.account("alias", "nofiles", Path::new("/var/qmail/alias"));
        assert_eq!(
            words.join(" "),
            "adduser -S -D -H -h /var/qmail/alias -s /bin/true -G nofiles alias"
        );
        assert_eq!(Tools::Shadow.group("qmail"), ["groupadd", "--system", "qmail"]);
        assert!(Tools::None.group("qmail").is_empty());
    }
}
