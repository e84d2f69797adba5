//! The mailbox on disk: what is in it when the session begins, and what the session leaves.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::limits;
use base::time::Moment;
use proto::pop3::maildrop::Letter;
use store::disk::kernel::Kernel;
use store::maildir::{self, DeliverError, Leave, Name, settle};

use super::name;

/// How long a file may lie in `tmp` unread before it is litter (36 hours).
const LITTER: Duration = Duration::from_secs(129_600);

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No such directory, or not ours.
    NoMaildir,
    /// `new` or `cur` cannot be read to the end: part of a mailbox is not a mailbox.
    Unreadable,
}

/// Which directory a letter is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    New,
    Cur,
}

impl Place {
    const fn dir(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
        }
    }
}

/// One letter of the list.
#[derive(Debug)]
struct Entry {
    /// When it came: seconds and microseconds.
    time: (u64, u64),
    name: OsString,
    place: Place,
    size: u64,
    /// Another file has the same stem: it is not renamed, lest it replace that one.
    twin: bool,
}

/// A Maildir and its letters as they were when the session began.
#[derive(Debug)]
pub(super) struct Maildir {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Maildir {
    /// The Maildir at `path`, not yet read.
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        let there = fs::metadata(path.join("cur")).is_ok_and(|meta| meta.is_dir());
        let maildir = Self { path: path.to_owned(), entries: Vec::new() };
        if there { Ok(maildir) } else { Err(Trouble::NoMaildir) }
    }

    /// Removes what deliveries that died have left in `tmp`.
    pub(super) fn sweep(&self, now: Moment) {
        let now = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(now.micros()));
        let (Some(now), Ok(files)) = (now, fs::read_dir(self.path.join("tmp"))) else { return };
        for file in files.take(limits::MAILDROP).flatten() {
            let read = file.metadata().and_then(|meta| meta.accessed());
            let age = read.ok().and_then(|read| now.duration_since(read).ok());
            if age.is_some_and(|age| age > LITTER) && !is_hidden(&file.file_name()) {
                let _next_time = fs::remove_file(file.path());
            }
        }
    }

    /// Reads the list, oldest letter first.
    pub(super) fn scan(mut self) -> Result<Self, Trouble> {
        for place in [Place::New, Place::Cur] {
            self.read(place).map_err(|_| Trouble::Unreadable)?;
        }
        self.entries.sort_by(|a, b| (a.time, &a.name, a.place).cmp(&(b.time, &b.name, b.place)));
        Ok(self)
    }

    fn read(&mut self, place: Place) -> io::Result<()> {
        for file in fs::read_dir(self.path.join(place.dir()))? {
            let file = file?;
            let name = file.file_name();
            // The directory itself says what is a file: no letter of ours is looked at.
            if is_hidden(&name) || !file.file_type()?.is_file() {
                continue;
            }
            if self.entries.len() >= limits::MAILDROP {
                break;
            }
            let time = name::time(name.as_bytes()).unwrap_or_else(|| changed(&file));
            let size = match Name::parse(name.as_bytes()).wire {
                Some(wire) => wire,
                None => measure(&file.path()).unwrap_or(0),
            };
            self.entries.push(Entry { time, name, place, size, twin: false });
        }
        Ok(())
    }

    /// The letters as the client shall see them. Ids are made unique here: of two files with one
    /// stem the later is known by a hash of its place and name.
    pub(super) fn letters(&mut self) -> Vec<Letter> {
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut letters = Vec::with_capacity(self.entries.len());
        let mut twins = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let stem = Name::parse(entry.name.as_bytes()).stem;
            let mut uid = name::uid(stem);
            if let Some(&other) = seen.get(&uid) {
                twins.extend([index, other]);
                let path = [entry.place.dir().as_bytes(), b"/", entry.name.as_bytes()].concat();
                uid = name::hash(&path);
            }
            seen.insert(uid.clone(), index);
            letters.push(Letter { size: entry.size, uid });
        }
        for index in twins {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.twin = true;
            }
        }
        letters
    }

    /// Opens one letter of the list.
    pub(super) fn letter(&self, index: usize) -> io::Result<File> {
        let entry = self.entries.get(index).ok_or(ErrorKind::NotFound)?;
        File::open(self.at(entry))
    }

    fn at(&self, entry: &Entry) -> PathBuf {
        self.path.join(entry.place.dir()).join(&entry.name)
    }

    /// Deletes what is marked and moves the rest of `new` to `cur`; then makes it last. True if
    /// every marked letter is gone for good.
    pub(super) fn update(&self, is_deleted: impl Fn(usize) -> bool) -> bool {
        let leaves = self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let delete = is_deleted(index);
            let moves = entry.place == Place::New && !entry.twin;
            let file = || Path::new(entry.place.dir()).join(&entry.name);
            (delete || moves).then(|| Leave { file: file(), delete })
        });
        let leaves: Vec<Leave> = leaves.collect();
        leaves.is_empty() || Kernel::at(&self.path).is_ok_and(|disk| settle(&disk, &leaves))
    }
}

/// Whether a name begins with a dot: not a letter.
fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// When a file was last changed, in seconds and microseconds.
fn changed(file: &fs::DirEntry) -> (u64, u64) {
    let since = file.metadata().and_then(|meta| meta.modified()).ok();
    let since = since.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or((0, 0), |since| (since.as_secs(), u64::from(since.subsec_micros())))
}

/// A letter's length on the wire, by reading it.
fn measure(path: &Path) -> Result<u64, DeliverError> {
    let file = File::open(path).map_err(DeliverError::Letter)?;
    Ok(maildir::measure(b"", &file)?.wire())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Maildir of these files, removed afterwards.
    struct Mailbox(PathBuf);

    impl Mailbox {
        fn with(test: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("pop3d-{test}-{}", std::process::id()));
            for dir in ["new", "cur", "tmp"] {
                fs::create_dir_all(path.join(dir)).unwrap();
            }
            for (name, text) in files {
                fs::write(path.join(name), text).unwrap();
            }
            Self(path)
        }

        fn open(&self) -> Maildir {
            Maildir::open(&self.0).unwrap().scan().unwrap()
        }

        fn list(&self, dir: &str) -> Vec<String> {
            let names = fs::read_dir(self.0.join(dir)).unwrap();
            let mut names: Vec<_> =
                names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Mailbox {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn letters_are_numbered_by_the_time_in_their_names() {
        let mail = Mailbox::with(
            "order",
            &[
                ("cur/30.M1Q1R0.h,S=2,W=99:2,S", "x\n"),
                ("new/20.M7Q1R0.h,S=2,W=98", "x\n"),
                ("new/20.M6Q2R0.h,S=2,W=97", "x\n"),
                ("cur/10.1.vm:2,", "ab\n.\n"),
                ("cur/.hidden", "x"),
            ],
        );
        fs::create_dir(mail.0.join("new/5.dir")).unwrap();
        let letters = mail.open().letters();
        let ids: Vec<_> = letters.iter().map(|l| str::from_utf8(&l.uid).unwrap()).collect();
        assert_eq!(ids, ["10.1.vm", "20.M6Q2R0.h", "20.M7Q1R0.h", "30.M1Q1R0.h"]);
        assert!(letters.iter().map(|l| l.size).eq([7, 97, 98, 99]));
    }

    #[test]
    fn an_update_deletes_and_moves_and_nothing_else() {
        let mail = Mailbox::with(
            "update",
            &[("new/1.a", "x"), ("new/2.b", "x"), ("cur/3.c:2,RS", "x"), ("cur/4.d:2,", "x")],
        );
        let maildir = mail.open();
        fs::write(mail.0.join("new/9.later"), "x").unwrap();
        fs::remove_file(mail.0.join("cur/4.d:2,")).unwrap();
        assert!(maildir.update(|index| index == 0 || index == 3));
        assert_eq!(mail.list("new"), ["9.later"]);
        assert_eq!(mail.list("cur"), ["2.b:2,", "3.c:2,RS"]);
    }

    #[test]
    fn a_letter_that_stays_is_not_called_deleted() {
        let mail = Mailbox::with("stays", &[("cur/1.a:2,", "x")]);
        let maildir = mail.open();
        fs::remove_file(mail.0.join("cur/1.a:2,")).unwrap();
        fs::create_dir(mail.0.join("cur/1.a:2,")).unwrap();
        assert!(!maildir.update(|_| true));
    }

    #[test]
    fn ids_stay_and_twins_are_told_apart_and_never_replace_each_other() {
        let mail =
            Mailbox::with("twins", &[("new/1.a", "new"), ("cur/1.a:2,", "cur"), ("new/2.b", "")]);
        let mut maildir = mail.open();
        let before = maildir.letters();
        assert_ne!(before[0].uid, before[1].uid);
        assert!(maildir.update(|_| false));
        assert_eq!(mail.list("new"), ["1.a"]);
        assert_eq!(mail.list("cur"), ["1.a:2,", "2.b:2,"]);
        assert_eq!(mail.open().letters()[2].uid, before[2].uid);
        assert_eq!(fs::read(mail.0.join("cur/1.a:2,")).unwrap(), b"cur");
    }

    #[test]
    fn litter_is_swept_after_thirty_six_hours() {
        let mail = Mailbox::with("litter", &[("tmp/1.x", "x"), ("tmp/.keep", "x")]);
        let later = |hours: u64| sys::clock::now().plus_secs(hours * 3_600);
        let maildir = mail.open();
        maildir.sweep(later(35));
        assert_eq!(mail.list("tmp").len(), 2);
        maildir.sweep(later(37));
        assert_eq!(mail.list("tmp"), [".keep"]);
    }

    #[test]
    fn what_is_no_maildir_is_said_to_be_none() {
        assert_eq!(Maildir::open(Path::new("/nonexistent")).unwrap_err(), Trouble::NoMaildir);
        let mail = Mailbox::with("half", &[]);
        fs::remove_dir(mail.0.join("new")).unwrap();
        assert_eq!(Maildir::open(&mail.0).unwrap().scan().unwrap_err(), Trouble::Unreadable);
    }
}
