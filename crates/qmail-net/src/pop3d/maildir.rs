//! The mailbox on disk: what is in it when the session begins, and what the session leaves.
//!
//! A letter costs 32 bytes and its name here; nothing of it is looked at but the name, until the
//! client asks.

mod twins;

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base::limits;
use base::time::Moment;
use proto::pop3::maildrop::Letters;
use store::disk::kernel::Kernel;
use store::maildir::{Leave, settle_telling};
use sys::dir::{Dir, Entry, How};

use self::twins::Twin;
use super::{name, sizes};

/// How long a file may lie in `tmp` unread before it is litter (36 hours).
const LITTER: Duration = Duration::from_secs(129_600);
/// Letters that are moved to `cur` at a time: so many paths are held at once.
const MOVES: usize = 4_096;

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

/// Both directories held open: a letter is opened without going all the way to it.
#[derive(Debug)]
pub(super) struct Places {
    new: Dir,
    cur: Dir,
}

impl Places {
    const fn of(&self, place: Place) -> &Dir {
        match place {
            Place::New => &self.new,
            Place::Cur => &self.cur,
        }
    }
}

/// One letter of the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    /// When it came: seconds and microseconds.
    secs: u64,
    micros: u32,
    /// Where in the list of names its own begins, and how long that is, and what stays the same of
    /// it, and what tells it from all others.
    begins: u32,
    length: u16,
    stem: u16,
    id: u16,
    place: Place,
    twin: Twin,
    pub(super) inode: u64,
}

/// A Maildir and its letters as they were when the session began.
#[derive(Debug)]
pub(super) struct Maildir {
    path: PathBuf,
    letters: Vec<Letter>,
    /// Every name behind the other.
    names: Vec<u8>,
    sizes: OnceLock<Vec<u64>>,
}

impl Maildir {
    /// The Maildir at `path`, not yet read.
    pub(super) fn at(path: &Path) -> Self {
        let (path, sizes) = (path.to_owned(), OnceLock::new());
        Self { path, letters: Vec::new(), names: Vec::new(), sizes }
    }

    /// Removes what deliveries that died have left in `tmp`.
    pub(super) fn sweep(&self, now: Moment) {
        let now = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(now.micros()));
        let tmp = self.path.join("tmp");
        let names = Dir::open(&tmp).and_then(|dir| dir.names(limits::MAILDROP));
        let (Some(now), Ok(names)) = (now, names) else { return };
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
            let file = tmp.join(name);
            let read = fs::symlink_metadata(&file).and_then(|meta| meta.accessed());
            let age = read.ok().and_then(|read| now.duration_since(read).ok());
            if age.is_some_and(|age| age > LITTER) {
                let _next_time = fs::remove_file(file);
            }
        }
    }

    /// Reads the list, oldest letter first.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn scan(mut self) -> Result<Self, Trouble> {
        let tell = |place: Place, err: &io::Error| {
            complain("read", &self.path.join(place.dir()), err);
        };
        let dir = |place: Place| {
            Dir::open(self.path.join(place.dir())).inspect_err(|err| tell(place, err))
        };
        let cur = dir(Place::Cur).map_err(|_| Trouble::NoMaildir)?;
        let new = dir(Place::New).map_err(|_| Trouble::Unreadable)?;
        for (place, dir) in [(Place::New, new), (Place::Cur, cur)] {
            let read = dir.entries(|entry| self.take(place, entry));
            read.map_err(|err| {
                complain("read", &self.path.join(place.dir()), &err);
                Trouble::Unreadable
            })?;
        }
        let mut letters = std::mem::take(&mut self.letters);
        letters.sort_unstable_by(|a, b| self.order(a, b));
        self.letters = letters;
        self.find_twins();
        Ok(self)
    }

    /// Notes one file; false if there are enough.
    fn take(&mut self, place: Place, entry: Entry<'_>) -> bool {
        let Entry { name, inode, plain } = entry;
        if self.letters.len() >= limits::MAILDROP {
            return false;
        }
        let path = || self.path.join(place.dir()).join(OsStr::from_bytes(name));
        // The directory itself says what is a file, if it can: no letter of ours is looked at.
        let is_file =
            || plain.unwrap_or_else(|| path().symlink_metadata().is_ok_and(|m| m.is_file()));
        if name.starts_with(b".") || !is_file() {
            return true;
        }
        let parts = name::parse(name);
        let (secs, micros) = parts.time.unwrap_or_else(|| changed(&path()));
        let micros = u32::try_from(micros).unwrap_or(u32::MAX);
        let (begins, length) = (u32::try_from(self.names.len()), u16::try_from(name.len()));
        // No file system has a longer name, and no mailbox so many.
        let (Ok(begins), Ok(length)) = (begins, length) else { return false };
        let short = |part| u16::try_from(part).unwrap_or(length);
        let (stem, id) = (short(parts.stem), short(parts.id));
        self.names.extend_from_slice(name);
        let twin = Twin::None;
        self.letters.push(Letter { secs, micros, begins, length, stem, id, place, twin, inode });
        true
    }

    /// By time, then by id, so that twins stand together, then by the rest.
    fn order(&self, a: &Letter, b: &Letter) -> Ordering {
        (a.secs, a.micros).cmp(&(b.secs, b.micros)).then_with(|| {
            let key = |letter| (self.id(letter), self.name(letter));
            key(a).cmp(&key(b)).then(a.place.cmp(&b.place))
        })
    }

    /// All letters, in their order.
    pub(super) fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// The file's name.
    fn name(&self, letter: &Letter) -> &[u8] {
        let begins = letter.begins as usize;
        self.names.get(begins..begins.saturating_add(letter.length.into())).unwrap_or_default()
    }

    /// What stays the same of it while flags change.
    pub(super) fn stem(&self, letter: &Letter) -> &[u8] {
        self.name(letter).get(..letter.stem.into()).unwrap_or_default()
    }

    /// What tells it from all others.
    fn id(&self, letter: &Letter) -> &[u8] {
        self.name(letter).get(..letter.id.into()).unwrap_or_default()
    }

    /// What stands in the stem behind the id: of our own names the sizes.
    pub(super) fn sizes(&self, letter: &Letter) -> &[u8] {
        self.stem(letter).get(letter.id.into()..).unwrap_or_default()
    }

    /// The Maildir itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens one letter of the list.
    ///
    /// # Errors
    /// It is not there any more, or cannot be read.
    pub(super) fn open(&self, index: usize) -> io::Result<File> {
        let letter = self.letters.get(index).ok_or(ErrorKind::NotFound)?;
        File::open(self.path.join(self.file(letter)))
    }

    /// Where a letter of the list is.
    pub(super) fn path_of(&self, index: usize) -> PathBuf {
        self.letters
            .get(index)
            .map_or_else(PathBuf::new, |letter| self.path.join(self.file(letter)))
    }

    /// Holds the letters' directories open, for [`Maildir::glance`].
    ///
    /// # Errors
    /// They cannot be opened.
    pub(super) fn places(&self) -> io::Result<Places> {
        let dir = |place: Place| Dir::open(self.path.join(place.dir()));
        Ok(Places { new: dir(Place::New)?, cur: dir(Place::Cur)? })
    }

    /// Opens one letter of the list to look at it, which is not yet reading it: its access time
    /// stays (what is not ours knows no such courtesy).
    ///
    /// # Errors
    /// It is not there any more, or cannot be read.
    pub(super) fn glance(&self, places: &Places, index: usize) -> io::Result<File> {
        let letter = self.letters.get(index).ok_or(ErrorKind::NotFound)?;
        let (dir, name) = (places.of(letter.place), OsStr::from_bytes(self.name(letter)));
        match dir.file(name, How::Glance) {
            Err(err) if err.kind() == ErrorKind::PermissionDenied => dir.file(name, How::Read),
            file => file,
        }
    }

    /// `new/NAME` or `cur/NAME`.
    fn file(&self, letter: &Letter) -> PathBuf {
        Path::new(letter.place.dir()).join(OsStr::from_bytes(self.name(letter)))
    }

    /// Deletes what is marked and moves the rest of `new` to `cur`; then makes it last. True if
    /// every marked letter is gone for good.
    pub(super) fn update(&self, is_deleted: impl Fn(usize) -> bool) -> bool {
        let mut disk = None;
        let mut settle = |leaves: &[Leave]| {
            if disk.is_none() {
                let opened = Kernel::at(&self.path);
                disk = opened.inspect_err(|err| complain("open", &self.path, err)).ok();
            }
            let tell = |file: &Path, err: &_| complain("settle", &self.path.join(file), err);
            disk.as_ref().is_some_and(|disk| settle_telling(disk, leaves, tell))
        };
        let (mut moves, mut deletions) = (Vec::new(), Vec::new());
        for (index, letter) in self.letters.iter().enumerate() {
            let delete = is_deleted(index);
            let moved = letter.place == Place::New && letter.twin == Twin::None;
            if delete {
                deletions.push(Leave { file: self.file(letter), delete });
            } else if moved {
                if moves.len() >= MOVES {
                    // The last moves go with the deletions, whose syncs are for all of them.
                    settle(&moves);
                    moves.clear();
                }
                moves.push(Leave { file: self.file(letter), delete });
            }
        }
        moves.extend(deletions);
        moves.is_empty() || settle(&moves)
    }
}

impl Letters for &Maildir {
    fn count(&self) -> usize {
        self.letters.len()
    }

    fn size(&self, index: usize) -> u64 {
        let sizes = self.sizes.get_or_init(|| sizes::of(self));
        sizes.get(index).copied().unwrap_or(0)
    }

    /// Ids are made unique here: of files with one id the later ones are known by a hash of their
    /// place and name.
    fn put_uid(&self, index: usize, out: &mut Vec<u8>) {
        let Some(letter) = self.letters.get(index) else { return };
        match letter.twin {
            Twin::Later => out.extend(name::hash(self.file(letter).as_os_str().as_bytes())),
            Twin::None | Twin::First => name::put_uid(self.id(letter), out),
        }
    }
}

/// Tells the log what of a user's Maildir (whose name is from the home) could not be used.
pub(super) fn complain(doing: &str, file: &Path, err: &io::Error) {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let (file, why) = (Path::new(&home).join(file), sys::errno::text(err));
    sys::log::say(format_args!("unable to {doing} {}: {why}", file.display()));
}

/// When the file was last changed, in seconds and microseconds.
fn changed(path: &Path) -> (u64, u64) {
    let since = path.metadata().and_then(|meta| meta.modified()).ok();
    let since = since.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or((0, 0), |since| (since.as_secs(), u64::from(since.subsec_micros())))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use yard::Yard;

    /// A Maildir of these files, removed afterwards.
    pub(in super::super) struct Mailbox(pub(in super::super) Yard);

    impl Mailbox {
        pub(in super::super) fn with(test: &str, files: &[(&str, &str)]) -> Self {
            let path = Yard::new(&format!("pop3d-{test}"));
            for dir in ["new", "cur", "tmp"] {
                fs::create_dir_all(path.join(dir)).unwrap();
            }
            for (name, text) in files {
                fs::write(path.join(name), text).unwrap();
            }
            Self(path)
        }

        pub(in super::super) fn open(&self) -> Maildir {
            Maildir::at(&self.0).scan().unwrap()
        }

        pub(in super::super) fn list(&self, dir: &str) -> Vec<String> {
            let names = fs::read_dir(self.0.join(dir)).unwrap();
            let mut names: Vec<_> =
                names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    /// The ids in the order of the list.
    fn ids(maildir: &Maildir) -> Vec<String> {
        let id = |index| {
            let mut id = Vec::new();
            maildir.put_uid(index, &mut id);
            String::from_utf8(id).unwrap()
        };
        (0..maildir.count()).map(id).collect()
    }

    #[test]
    fn a_move_that_was_cut_short_between_its_two_names_is_finished() {
        let files = [("new/1.a.h", "x"), ("new/2.b.h", "y"), ("cur/2.b.h:2,", "other")];
        let mailbox = Mailbox::with("halves", &files);
        fs::hard_link(mailbox.0.join("new/1.a.h"), mailbox.0.join("cur/1.a.h:2,")).unwrap();
        let maildir = mailbox.open();
        assert_eq!(maildir.letters().len(), 3);
        assert_eq!(mailbox.list("new"), ["2.b.h"]);
        assert_eq!(mailbox.list("cur"), ["1.a.h:2,", "2.b.h:2,"]);
        let twins = maildir.letters().iter().filter(|l| l.twin != Twin::None).count();
        assert_eq!(twins, 2);
    }

    #[test]
    fn twins_are_found_wherever_they_stand() {
        let files = [
            ("cur/1.a:2,", ""),
            ("new/1.a", ""),
            ("cur/1.a-b", ""),
            ("cur/1.a:2,S", ""),
            ("new/odd", ""),
            ("cur/odd:2,", ""),
            ("new/odder", ""),
        ];
        let mail = Mailbox::with("many-twins", &files);
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        File::open(mail.0.join("new/odd")).unwrap().set_modified(long_ago).unwrap();
        let maildir = mail.open();
        let ids = ids(&maildir);
        let once: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(once.len(), files.len(), "{ids:?}");
        for id in ["1.a", "1.a-b", "odd", "odder"] {
            assert!(ids.iter().any(|other| other == id), "{ids:?}");
        }
        assert!(maildir.update(|_| false));
        assert_eq!(mail.list("new"), ["1.a", "odd"]);
    }

    #[test]
    fn a_thousand_letters_cost_their_names_and_little_more() {
        assert!(size_of::<Letter>() <= 32);
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
        let maildir = mail.open();
        assert_eq!(ids(&maildir), ["10.1.vm", "20.M6Q2R0.h", "20.M7Q1R0.h", "30.M1Q1R0.h"]);
        assert!((0..4).map(|index| (&&maildir).size(index)).eq([7, 97, 98, 99]));
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
        let maildir = mail.open();
        let before = ids(&maildir);
        assert_ne!(before[0], before[1]);
        assert!(maildir.update(|_| false));
        assert_eq!(mail.list("new"), ["1.a"]);
        assert_eq!(mail.list("cur"), ["1.a:2,", "2.b:2,"]);
        assert_eq!(ids(&mail.open())[2], before[2]);
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
        let nowhere = Maildir::at(Path::new("/nonexistent"));
        assert_eq!(nowhere.scan().unwrap_err(), Trouble::NoMaildir);
        let mail = Mailbox::with("half", &[]);
        fs::remove_dir(mail.0.join("new")).unwrap();
        assert_eq!(Maildir::at(&mail.0).scan().unwrap_err(), Trouble::Unreadable);
    }
}
