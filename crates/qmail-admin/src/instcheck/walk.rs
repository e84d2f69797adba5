//! The places that the rules are held against. Directories and accounts may be many: each is looked
//! at, with a line of progress where that takes longer than a second.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use store::home::{Home, Roles};

use super::judge::{Finding, People, judge, then};
use super::rules::{At, RULES, Rule};
use super::{accounts, command, services};
use crate::places::Places;
use crate::progress::Ticker;
use crate::scripts::quoted;

/// Findings of one row that are told at most; the rest are counted.
const OFTEN: usize = 20;

/// What was found up to now.
pub(super) struct Walk<'a> {
    pub(super) home: &'a Home,
    pub(super) places: &'a Places,
    pub(super) people: People,
    /// Files that a row was held against: the first counts, of each user whose letters are delivered,
    /// as one may lead to another's. By device, inode and uid.
    seen: HashSet<(u64, u64, u32)>,
    /// Of these something is said already.
    said: BTreeSet<PathBuf>,
    found: Vec<Finding>,
    /// How many findings each kind of place has, with the last one's directory.
    often: BTreeMap<String, (usize, PathBuf)>,
}

/// What the rules say of the home, and nothing of paths of which something was `said`.
pub(super) fn findings(
    home: &Home,
    roles: &Roles,
    places: &Places,
    said: &[Finding],
) -> Vec<Finding> {
    let mut walk = Walk::new(home, roles, places);
    walk.said = said.iter().map(|finding| finding.path.clone()).collect();
    for rule in RULES {
        match rule.at {
            At::Home(below) => {
                walk.look(rule, &home.path(below), None);
            }
            At::Each(dir, begin) => walk.each(rule, &home.path(dir), begin),
            At::Service(_) | At::Clients | At::Account(_) | At::Elsewhere(_) => {}
        }
    }
    services::look(&mut walk);
    accounts::look(&mut walk);
    walk.ended()
}

impl<'a> Walk<'a> {
    /// Nothing is looked at yet.
    pub(super) fn new(home: &'a Home, roles: &Roles, places: &'a Places) -> Self {
        let (owner, alias) = (home.owner_ids(), roles.alias.clone());
        let people = People { user: owner.clone(), owner, alias, private: home.is_private() };
        let (seen, said, found) = (HashSet::new(), BTreeSet::new(), Vec::new());
        Self { home, places, people, seen, said, found, often: BTreeMap::new() }
    }
}

impl Walk<'_> {
    /// Tells of something, unless there is much of the kind.
    pub(super) fn tell(&mut self, at: At, finding: Finding) {
        let (times, last) = self.often.entry(format!("{at:?}")).or_default();
        *times = times.saturating_add(1);
        if *times <= OFTEN {
            self.found.push(finding);
        } else {
            finding.path.parent().unwrap_or(&finding.path).clone_into(last);
        }
    }

    /// All of it, and what was only counted.
    pub(super) fn ended(mut self) -> Vec<Finding> {
        for (times, last) in self.often.into_values() {
            if let Some(more) = times.checked_sub(OFTEN).filter(|more| *more > 0) {
                let mend = "mend those above the same way, and look again";
                self.found.push(Finding::new(&last, &format!("and elsewhere: {more} more"), mend));
            }
        }
        self.found
    }

    /// Holds a rule against a path; what mends it if it is `missing`, which is told unless that may
    /// be. Whether it makes sense to look below it.
    pub(super) fn look(&mut self, rule: &Rule, path: &Path, missing: Option<String>) -> bool {
        let about = match fs::metadata(path) {
            Ok(about) => about,
            Err(e) => {
                let mend = missing.filter(|_| !rule.optional);
                let told = match (e.kind(), mend) {
                    (ErrorKind::NotFound | ErrorKind::NotADirectory, None) => None,
                    (ErrorKind::NotFound | ErrorKind::NotADirectory, Some(mend)) => {
                        let what = format!("{}{}", gone(path), then(rule.so));
                        Some(Finding::new(path, &what, mend))
                    }
                    // Of what closes the way to it has been told.
                    _ if self.found.iter().any(|above| path.starts_with(&above.path)) => None,
                    _ => Some(unseen(path, &e)),
                };
                if let Some(finding) = told {
                    self.tell(rule.at, finding);
                }
                return false;
            }
        };
        self.hold(rule, path, &about)
    }

    /// Holds a rule against what stands there. Whether it makes sense to look below it.
    fn hold(&mut self, rule: &Rule, path: &Path, about: &Metadata) -> bool {
        let first = self.seen.insert((about.dev(), about.ino(), self.people.user.uid));
        if !first || self.said.contains(path) {
            return true;
        }
        for finding in judge(rule, path, about, &self.people) {
            self.tell(rule.at, finding);
        }
        rule.kind.is(about)
    }

    /// Every name in a directory that begins so. What is of another kind is somebody's own.
    fn each(&mut self, rule: &Rule, dir: &Path, begin: &str) {
        // Of a directory that is not there, or not one, setup's part has told.
        let Ok(names) = fs::read_dir(dir) else { return };
        let names = names.flatten().map(|entry| entry.file_name());
        // Which of many are told does not change from one look to the next.
        let names: BTreeSet<OsString> =
            names.filter(|name| name.as_encoded_bytes().starts_with(begin.as_bytes())).collect();
        let progress = Ticker::of(&format!("looking at {}", dir.display()), Some(names.len()));
        for name in names {
            progress.step();
            let path = dir.join(name);
            match fs::metadata(&path) {
                Ok(about) if rule.kind.is(&about) => {
                    self.hold(rule, &path, &about);
                }
                Err(_) if is_link(&path) && !begin.is_empty() => {
                    let finding = Finding::new(&path, &gone(&path), rm(&path));
                    self.tell(rule.at, finding);
                }
                _ => {}
            }
        }
    }

    /// The words that run qmailctl of this home.
    pub(super) fn qmailctl(&self, words: &str) -> String {
        command(self.home, &format!("qmailctl {words}"))
    }
}

/// What cannot even be looked at.
fn unseen(path: &Path, why: &std::io::Error) -> Finding {
    let what = format!("cannot be looked at: {}", sys::errno::text(why));
    Finding::new(path, &what, "open the directories above it")
}

/// Said of a path where nothing is.
pub(super) fn gone(path: &Path) -> String {
    match fs::read_link(path) {
        Ok(to) => format!("is a link to {}, where nothing is", quoted(&to)),
        Err(_) => "does not exist".to_owned(),
    }
}

pub(super) fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink())
}

/// The command that removes it.
pub(super) fn rm(path: &Path) -> String {
    format!("rm {}", quoted(path))
}
