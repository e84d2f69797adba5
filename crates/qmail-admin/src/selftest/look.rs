//! A look at a cut disk: first as it is, then after the programs have recovered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::workload::{Event, Services, To, What, account, letter, rest};
use crate::Trouble;

/// The Maildirs letters and bounces are delivered to.
const MAILDIRS: [&str; 3] = ["inbox", "second", "sender"];

/// How long a letter that is nowhere is looked for.
const MISSING: Duration = Duration::from_secs(60);

/// What a look showed.
#[derive(Default)]
pub(crate) struct Seen {
    /// Acknowledged letters that are nowhere.
    pub lost: u32,
    /// Visible files that are not whole.
    pub torn: u32,
    /// Letters that are in a Maildir more than once.
    pub doubled: u32,
    /// Acknowledged letters that are whole, but whose names the repair of a file system without a
    /// journal has lost: they are in its `lost+found`.
    pub unnamed: u32,
    /// Letters whose deletion was acknowledged, and that are still there.
    pub risen: u32,
    /// Letters fetched and deleted before the queue could note their delivery for good: delivered
    /// again. That is allowed.
    pub again: u32,
    /// The queue did not come to rest.
    pub stuck: bool,
    /// The first of these, in words.
    pub example: String,
}

impl Seen {
    /// Whether every promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.torn + self.doubled + self.risen == 0 && !self.stuck
    }

    /// Adds what another look showed.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.torn += other.torn;
        self.unnamed += other.unnamed;
        self.doubled += other.doubled;
        self.risen += other.risen;
        self.again += other.again;
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.example.is_empty() {
            self.example = text();
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, torn, doubled, risen, again, unnamed, .. } = self;
        write!(f, "{lost} lost, {torn} torn, {doubled} doubled, {risen} back after deletion, ")?;
        write!(f, "{again} delivered again after deletion, {unnamed} in lost+found")
    }
}

/// A letter that must be somewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In this Maildir, exactly once.
    Maildir(&'static str, u32),
    /// In the queue.
    Queue(u32),
}

/// What was promised before `at`: how many places must hold a letter, and which.
pub(crate) fn due(events: &[Event], at: u64) -> (usize, Due) {
    let mut due = Due::default();
    for event in events.iter().filter(|event| event.at <= at) {
        match event.what {
            What::Accepted(n, to) => due.places.extend(match to {
                To::Inbox => vec![Place::Maildir("inbox", n)],
                To::Both => vec![Place::Maildir("inbox", n), Place::Maildir("second", n)],
                To::Broken => vec![Place::Maildir("sender", n)],
                To::Later => vec![Place::Queue(n)],
            }),
            What::Asked(n) => due.asked.extend([n]),
            What::Deleted(n) => due.deleted.extend([n]),
        }
    }
    // What the client asked to delete may be gone: only of the Maildir it read.
    let asked = &due.asked;
    due.places.retain(|place| !matches!(place, Place::Maildir("inbox", n) if asked.contains(n)));
    (due.places.len(), due)
}

/// What was promised.
#[derive(Default)]
pub(crate) struct Due {
    places: Vec<Place>,
    asked: BTreeSet<u32>,
    deleted: BTreeSet<u32>,
}

/// Looks at the home: no torn file may be visible; and when the programs have been started anew
/// and have come to rest, every letter promised before `at` is where it was to be, once.
pub(crate) fn look(home: &Path, events: &[Event], at: u64) -> Result<Seen, Trouble> {
    let mut seen = Seen::default();
    let (_, due) = due(events, at);
    let before = maildirs(home, &due, &mut seen);
    let services = Services::start(home)?;
    let until = Instant::now() + MISSING;
    let (listed, found) = loop {
        let listed = rest(home);
        let mut now = Seen::default();
        let found = maildirs(home, &due, &mut now);
        // A bounce may not be listed yet when what it is about is not any more.
        let is_there = |place: &Place| match place {
            Place::Queue(_) => true,
            Place::Maildir(..) => found.contains_key(place),
        };
        if due.places.iter().all(is_there) || Instant::now() > until {
            seen.add(&now);
            seen.say(|| now.example);
            break (listed, found);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    drop(services);
    if listed.is_none() {
        seen.stuck = true;
        seen.say(|| "the queue does not come to rest".into());
    }
    let listed = listed.unwrap_or_default();
    let mut unnamed = BTreeSet::new();
    unnamed_in(&home.join("../lost+found"), &mut unnamed);
    for place in due.places {
        let there = match place {
            Place::Queue(n) => listed.contains(&format!("<{n}@example.net>")),
            Place::Maildir(..) => found.contains_key(&place),
        };
        match place {
            _ if there => {}
            Place::Maildir(_, n) if unnamed.contains(&n) => seen.unnamed += 1,
            _ => {
                seen.lost += 1;
                seen.say(|| format!("lost: {}", named(place)));
            }
        }
    }
    for (place, _) in found.iter().filter(|(_, count)| **count > 1) {
        seen.doubled += 1;
        seen.say(|| format!("doubled: {}", named(*place)));
    }
    for place in due.deleted.iter().map(|&n| Place::Maildir("inbox", n)) {
        if before.contains_key(&place) {
            seen.risen += 1;
            seen.say(|| format!("back after its deletion: {}", named(place)));
        } else if found.contains_key(&place) {
            seen.again += 1;
        }
    }
    Ok(seen)
}

/// The numbers of the whole letters below a directory.
fn unnamed_in(dir: &Path, found: &mut BTreeSet<u32>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unnamed_in(&entry.path(), found);
        } else if let Ok(text) = std::fs::read(entry.path()) {
            let text = String::from_utf8_lossy(&text);
            found.extend(number(&text).filter(|&n| text.contains(&letter(n))));
        }
    }
}

/// How often each whole letter is in which Maildir.
fn maildirs(home: &Path, due: &Due, seen: &mut Seen) -> BTreeMap<Place, u32> {
    let mut found = BTreeMap::new();
    for name in MAILDIRS {
        for n in maildir(home, name, due, seen) {
            *found.entry(Place::Maildir(name, n)).or_insert(0) += 1;
        }
    }
    found
}

fn named(place: Place) -> String {
    match place {
        Place::Maildir(name, n) => format!("letter {n} in the Maildir of {name}"),
        Place::Queue(n) => format!("letter {n} in the queue"),
    }
}

/// The numbers of the whole letters in an account's `new` and `cur`; torn ones are counted. One
/// that was about to be deleted may be anything while it goes.
fn maildir(home: &Path, name: &str, due: &Due, seen: &mut Seen) -> Vec<u32> {
    let (mut whole, mut files) = (Vec::new(), BTreeSet::new());
    for part in ["new", "cur"] {
        let dir = account(home, name).join("Maildir").join(part);
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            // One file with a name in each is one letter, its move to cur cut short: the next
            // POP3 session finishes it.
            if !files.insert(entry.metadata().map_or(0, |m| m.ino())) {
                continue;
            }
            let file = entry.file_name().to_string_lossy().into_owned();
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            match judge(name, &file, &text) {
                Some(n) => whole.push(n),
                None if number(&text).is_some_and(|n| due.asked.contains(&n)) => {}
                None => {
                    seen.torn += 1;
                    seen.say(|| format!("torn: {part}/{file}, {} bytes", text.len()));
                }
            }
        }
    }
    whole
}

/// The number of a letter that is whole: as long as its name says, with all of its text.
fn judge(account: &str, file: &str, text: &str) -> Option<u32> {
    let size = file.split(',').find_map(|part| part.strip_prefix("S=")?.parse::<usize>().ok());
    let n = number(text)?;
    let sent = letter(n);
    let has_all = if account == "sender" { text.contains(&sent) } else { text.ends_with(&sent) };
    (has_all && size.is_none_or(|size| size == text.len())).then_some(n)
}

/// The number in a letter's own subject, which is its last.
fn number(text: &str) -> Option<u32> {
    text.lines().filter_map(|line| line.strip_prefix("Subject: ")?.parse().ok()).next_back()
}
