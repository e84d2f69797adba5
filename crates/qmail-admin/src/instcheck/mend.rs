//! The commands that mend. Between the look and the command somebody whose directory the path leads
//! through can put a link there: nothing that root is told to do follows one of a user's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sys::user::Ids;

use super::judge::People;
use super::rules::At;
use super::walk::is_link;
use crate::scripts::quoted;

/// Before what is safe only for who has looked.
const ASTRAY: &str = "unless its path leads through a link: ";
/// Links that are followed one after another, as many as Linux follows.
const LINKS: usize = 40;

/// What would mend something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Another owner.
    Give(Ids),
    /// Another mode, as chmod is told it.
    Mode(String),
}

/// How a change is made to what stands at `path` and belongs to `uid`.
pub(super) fn mend(at: At, path: &Path, uid: u32, change: &Change, who: &People) -> String {
    let plain = |ids: &Ids, option| give(ids, option, path);
    match (at, change) {
        _ if who.private => private(at, path, uid, change, &who.owner),
        (At::Account("") | At::Elsewhere(""), change) => {
            let command = match change {
                Change::Give(ids) => plain(ids, "-h "),
                Change::Mode(mode) => chmod(mode, path),
            };
            format!("{}{command}", caution(path))
        }
        (At::Account(_) | At::Elsewhere(_), Change::Give(ids)) => maildir(ids, path),
        (At::Account(_) | At::Elsewhere(_), Change::Mode(mode)) => {
            format!("{}{}", become_user(&who.user), chmod(mode, path))
        }
        (At::Each("alias", _), Change::Give(ids)) => plain(ids, "-h "),
        (At::Each("alias", _), Change::Mode(mode)) => as_alias(mode, path, uid, &who.alias),
        (_, Change::Give(ids)) => plain(ids, ""),
        (_, Change::Mode(mode)) => chmod(mode, path),
    }
}

/// In a home where everything is its owner's, who cannot take what is another one's.
fn private(at: At, path: &Path, uid: u32, change: &Change, owner: &Ids) -> String {
    let deep = matches!(at, At::Account("Maildir") | At::Elsewhere("Maildir"));
    let given = give(owner, if deep { "-hR " } else { "-h " }, path);
    match change {
        Change::Mode(mode) if uid == owner.uid => chmod(mode, path),
        Change::Give(_) => format!("as root, {ASTRAY}{given}"),
        Change::Mode(mode) => {
            format!("as root, {ASTRAY}{given} && {}{}", become_user(owner), chmod(mode, path))
        }
    }
}

/// The whole Maildir is given: its parts lie where a user can put a link in the place of it.
fn maildir(ids: &Ids, path: &Path) -> String {
    let maildir = path.ancestors().find(|above| above.ends_with("Maildir")).unwrap_or(path);
    if is_link(maildir) {
        return format!("{} is a link: look whether that is meant", quoted(maildir));
    }
    format!("{}{}", caution(maildir.parent().unwrap_or(maildir)), give(ids, "-hR ", maildir))
}

/// In the alias user's directory only what is theirs is changed, by them.
fn as_alias(mode: &str, path: &Path, uid: u32, alias: &Ids) -> String {
    let change = format!("{}{}", become_user(alias), chmod(mode, path));
    match uid == alias.uid {
        true => change,
        false => format!("{} && {change}", give(alias, "-h ", path)),
    }
}

fn give(Ids { uid, gid, .. }: &Ids, option: &str, path: &Path) -> String {
    format!("chown {option}{uid}:{gid} {}", quoted(path))
}

fn chmod(mode: &str, path: &Path) -> String {
    format!("chmod {mode} {}", quoted(path))
}

/// The words before a command that root has somebody else do.
pub(super) fn become_user(Ids { uid, gid, .. }: &Ids) -> String {
    format!("setpriv --reuid {uid} --regid {gid} --clear-groups ")
}

/// What is said before a command of root's for a path that others can put something else in the place
/// of.
fn caution(path: &Path) -> &'static str {
    if is_kept(path, 0) { "" } else { ASTRAY }
}

/// Whether nobody but root and `owner` can put something else in a path's place.
pub(super) fn is_kept(path: &Path, owner: u32) -> bool {
    path.parent().is_some_and(|above| is_kept_dir(above, owner, LINKS))
}

/// Whether nobody but root and `owner` can change what is in a directory, or lead its path elsewhere.
fn is_kept_dir(dir: &Path, owner: u32, links: usize) -> bool {
    let mut way: Vec<&Path> = dir.ancestors().collect();
    way.reverse();
    let mut kept = false;
    for part in way {
        // What is not there only its maker brings.
        let Ok(about) = fs::symlink_metadata(part) else { return kept };
        if about.uid() != 0 && about.uid() != owner {
            return false;
        }
        let shared = about.mode() & 0o022 != 0;
        kept = match (fs::read_link(part), links.checked_sub(1)) {
            (Ok(to), Some(links)) => {
                is_kept_dir(&part.parent().unwrap_or(part).join(to), owner, links)
            }
            (Ok(_), None) => false,
            // In a sticky directory everybody may make something new, and nobody move another's.
            _ if shared && about.mode() & 0o1000 == 0 => return false,
            _ => !shared,
        };
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use yard::Yard;

    fn ids(uid: u32) -> Ids {
        Ids { uid, gid: uid + 1, groups: vec![] }
    }

    fn people(private: bool) -> People {
        match private {
            true => People { owner: ids(9), alias: ids(9), user: ids(9), private },
            false => People { owner: ids(0), alias: ids(7), user: ids(48_000), private },
        }
    }

    /// What is to be done about something of root's in a place.
    fn said(at: At, below: &str, change: &Change, private: bool) -> String {
        mend(at, &Path::new("/no/ann").join(below), 0, change, &people(private))
    }

    #[test]
    fn below_a_users_directory_root_follows_nothing() {
        let (mode, give) = (Change::Mode("u+rwx".into()), Change::Give(ids(48_000)));
        for part in ["Maildir", "Maildir/new"] {
            for at in [At::Account(part), At::Elsewhere(part)] {
                assert_eq!(
                    said(at, part, &mode, false),
                    format!(
                        "setpriv --reuid 48000 --regid 48001 --clear-groups chmod u+rwx /no/ann/{part}"
                    )
                );
                assert!(
                    said(at, part, &give, false).ends_with("chown -hR 48000:48001 /no/ann/Maildir")
                );
            }
        }
        let alias = At::Each("alias", ".qmail");
        let shut = "setpriv --reuid 7 --regid 8 --clear-groups chmod u+rwx /no/ann/x";
        assert_eq!(said(alias, "x", &mode, false), format!("chown -h 7:8 /no/ann/x && {shut}"));
        assert_eq!(mend(alias, Path::new("/no/ann/x"), 7, &mode, &people(false)), shut);
    }

    #[test]
    fn in_a_private_home_all_is_its_owners_and_root_is_warned() {
        let (mode, give) = (Change::Mode("go-w".into()), Change::Give(ids(9)));
        let warned = "as root, unless its path leads through a link: chown -h 9:10 /no/ann/run";
        let run = At::Service("run");
        assert_eq!(said(run, "run", &give, true), warned);
        assert_eq!(
            said(run, "run", &mode, true),
            format!(
                "{warned} && setpriv --reuid 9 --regid 10 --clear-groups chmod go-w /no/ann/run"
            )
        );
        let own = mend(run, Path::new("/no/ann/run"), 9, &mode, &people(true));
        assert_eq!(own, "chmod go-w /no/ann/run");
    }

    #[test]
    fn a_path_is_kept_if_nobody_else_can_put_anything_in_its_way() {
        let (yard, me) = (Yard::new("kept"), sys::user::euid());
        let shut = |name: &str, mode| {
            let dir = yard.join(name);
            fs::create_dir_all(dir.join("sub")).unwrap();
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        };
        shut("mine", 0o755);
        shut("open", 0o777);
        shut("sticky", 0o1777);
        symlink("mine", yard.join("good")).unwrap();
        symlink("open/sub", yard.join("bad")).unwrap();
        symlink("round", yard.join("round")).unwrap();
        let kept = |name: &str| is_kept(&yard.join(name), me);
        let yes = ["mine", "mine/sub/x", "mine/gone/x", "sticky/sub/x", "good/x", "good/sub/x"];
        assert_eq!(yes.map(kept), [true; 6]);
        let no = ["open/x", "open/sub/x", "sticky/x", "sticky/gone/x", "bad/x", "round/x"];
        assert_eq!(no.map(kept), [false; 6]);
        assert!(!is_kept(&yard.join("mine/x"), me + 1) || me == 0, "another one's is not");
    }
}
