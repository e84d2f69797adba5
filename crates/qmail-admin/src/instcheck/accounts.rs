//! The homes of the accounts in `users/assign`, each with its Maildir: the one walk of `check` that may
//! be long, at most five looks for an account.

use std::path::Path;

use sys::user::Ids;

use super::mend::{become_user, is_kept};
use super::rules::{At, RULES, Rule};
use super::walk::{Walk, is_link};
use crate::assign;
use crate::domains::read;
use crate::progress::Ticker;
use crate::scripts::quoted;

/// What a Maildir consists of.
const PARTS: [&str; 4] = ["Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"];

/// Looks at every account's home.
pub(super) fn look(walk: &mut Walk<'_>) {
    // Of one that cannot be read the compiled table's part tells.
    let text = read(&walk.home.path("users/assign")).unwrap_or_default();
    let (homes, mail) = (assign::homes(&text), walk.home.path("mail"));
    let progress = Ticker::of("looking at mailboxes", Some(homes.len()));
    for (home, uid, gid) in homes {
        progress.step();
        // In a private home nobody becomes anybody else.
        walk.people.user = match walk.people.private {
            true => walk.people.owner.clone(),
            false => Ids { uid, gid, groups: vec![gid] },
        };
        let home = Path::new(home);
        account(walk, home, home.starts_with(&mail));
    }
}

/// One account's home and Maildir; `ours` is one in `mail/`.
fn account(walk: &mut Walk<'_>, home: &Path, ours: bool) {
    let below = |rule: &Rule| match rule.at {
        At::Account(below) if ours => Some(below),
        At::Elsewhere(below) if !ours => Some(below),
        _ => None,
    };
    for (rule, below) in RULES.iter().filter_map(|rule| Some((rule, below(rule)?))) {
        let path = if below.is_empty() { home.to_path_buf() } else { home.join(below) };
        let mend = anew(walk, home, below, ours);
        if !walk.look(rule, &path, Some(mend)) && (below.is_empty() || below == "Maildir") {
            return;
        }
    }
}

/// The commands that make an empty one: what is in a user's own directory is made by that user, who
/// could have put a link there meanwhile.
fn anew(walk: &Walk<'_>, home: &Path, below: &str, ours: bool) -> String {
    if below.starts_with("Maildir") && is_link(&home.join("Maildir")) {
        return "put it back where Maildir leads to, if that is meant".to_owned();
    }
    let user = &walk.people.user;
    let (whose, before) = match walk.people.private {
        true => (String::new(), String::new()),
        false => (format!(" -o {} -g {}", user.uid, user.gid), become_user(user)),
    };
    if below.is_empty() && !walk.people.private && !is_kept(home, 0) {
        return format!("put it back, or make an empty one that is {}'s", user.uid);
    }
    let dir = |mode: u32| format!("install -d -m {mode:o}{whose} {}", quoted(home));
    let make = |parts: &[&str]| {
        let paths: Vec<String> = parts.iter().map(|part| quoted(&home.join(part))).collect();
        format!("{before}mkdir -m 700 {}", paths.join(" "))
    };
    let commands = match below {
        "" if ours => vec![dir(0o711), make(&PARTS)],
        "" => vec![dir(0o700)],
        "Maildir" => vec![make(&PARTS)],
        part => vec![make(&[part])],
    };
    format!("put it back, or make an empty one: {}", commands.join(" && "))
}
