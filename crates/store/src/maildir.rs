//! Maildir: a letter is a file, its state is its name, and nothing needs a lock.
//!
//! A delivery writes a file in `tmp/`, syncs it, renames it to `new/NAME` and syncs that name; many
//! deliveries may share the two syncs. The name is made from the letter's number in the queue, so a
//! delivery repeated after a crash finds its own file: no loss and no duplicate. A file is shown
//! only when its bytes are synced: what can be seen is whole.

mod deliver;

pub use deliver::{DeliverError, Earlier, Places, deliver, settle_alone, show, stage, withdraw};

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base::crlf::Length;
use base::time::Moment;

use crate::disk::{Disk, remove};

/// Bytes of the host's name that go into a file name.
const HOST: usize = 64;
/// Bytes read and written at a time.
const PIECE: usize = 64 << 10;

/// A Maildir file name, taken apart. Every part may be missing but the stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// What stays the same while flags change: everything before the first colon.
    pub stem: &'a [u8],
    /// `S=`: the file's size in bytes.
    pub size: Option<u64>,
    /// `W=`: its size as POP3 sends it, every line ended by CRLF.
    pub wire: Option<u64>,
    /// The flags after `:2,`; empty if there are none.
    pub flags: &'a [u8],
}

impl<'a> Name<'a> {
    /// Takes a name apart; never fails, since anybody may have made the name.
    pub fn parse(name: &'a [u8]) -> Self {
        let colon = name.iter().position(|&c| c == b':').unwrap_or(name.len());
        let (stem, info) = name.split_at_checked(colon).unwrap_or((name, b""));
        let field = |key: &[u8]| {
            let mut fields = stem.split(|&c| c == b',').skip(1);
            let digits = fields.find_map(|field| field.strip_prefix(key))?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        };
        let flags = info.strip_prefix(b":2,").unwrap_or_default();
        Self { stem, size: field(b"S="), wire: field(b"W="), flags }
    }

    /// Whether a flag (`S`een, `R`eplied, `T`rashed, …) is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags.contains(&flag)
    }
}

/// What tells one delivery from every other on this host, however often it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When the letter was queued.
    pub birth: Moment,
    /// Its number in the queue.
    pub letter: u64,
    /// Which of its recipients.
    pub index: u32,
    /// Which Maildir instruction of the recipient's `.qmail`, from 0.
    pub instruction: u32,
}

impl Mark {
    /// The part of the name before the host.
    fn unique(&self) -> String {
        let Self { birth, letter, index, instruction } = self;
        let (secs, micros) = (birth.secs(), birth.subsec_micros());
        match instruction {
            0 => format!("{secs}.M{micros}Q{letter}R{index}"),
            n => format!("{secs}.M{micros}Q{letter}R{index}I{n}"),
        }
    }
}

/// The unique part of a delivery that qmail-send knows nothing of: time and process.
pub fn unqueued(now: Moment, pid: u32, instruction: u32) -> String {
    format!("{}.M{}P{pid}I{instruction}", now.secs(), now.subsec_micros())
}

/// A letter's size as a file and on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    file: u64,
    wire: Length,
}

impl Sizes {
    /// Counts further bytes.
    fn add(&mut self, bytes: &[u8]) {
        self.file = self.file.saturating_add(bytes.len() as u64);
        self.wire.feed(bytes);
    }

    /// Bytes in the file.
    pub const fn file(&self) -> u64 {
        self.file
    }

    /// Bytes that POP3 sends of it.
    pub fn wire(&self) -> u64 {
        self.wire.total()
    }
}

/// The file name of a delivery.
pub fn name(mark: &Mark, host: &[u8], sizes: &Sizes) -> OsString {
    named(&mark.unique(), host, sizes)
}

/// A file name from its unique part: `unique.host,S=…,W=…`. A slash or colon in the host's name is
/// written in octal, as the Maildir specification asks.
pub fn named(unique: &str, host: &[u8], sizes: &Sizes) -> OsString {
    let mut name = unique.as_bytes().to_vec();
    name.push(b'.');
    for &c in host.iter().take(HOST) {
        match c {
            b'/' => name.extend_from_slice(b"\\057"),
            b':' => name.extend_from_slice(b"\\072"),
            b',' => name.extend_from_slice(b"\\054"),
            0 => {}
            c => name.push(c),
        }
    }
    name.extend_from_slice(format!(",S={},W={}", sizes.file(), sizes.wire()).as_bytes());
    OsString::from_vec(name)
}

/// Where a letter's bytes come from: `read(buf, at)` as [`Disk::read_at`].
pub trait Source {
    /// Reads at an offset until `buf` is full or the letter ends.
    ///
    /// # Errors
    /// What the letter's disk says.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// All of it, if it is in memory.
    fn whole(&self) -> Option<&[u8]> {
        None
    }
}

impl Source for [u8] {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl Source for std::fs::File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = at.saturating_add(done as u64);
            match std::os::unix::fs::FileExt::read_at(self, rest, at) {
                Ok(0) => break,
                Ok(n) => done = done.saturating_add(n),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(done)
    }
}

/// Shows a letter's bytes to `each`, piece by piece.
fn pieces<S: Source + ?Sized>(
    letter: &S,
    mut each: impl FnMut(&[u8]) -> Result<(), DeliverError>,
) -> Result<(), DeliverError> {
    if let Some(whole) = letter.whole() {
        return if whole.is_empty() { Ok(()) } else { each(whole) };
    }
    let (mut buf, mut at) = (vec![0; PIECE], 0_u64);
    loop {
        let n = letter.read_at(&mut buf, at).map_err(DeliverError::Letter)?;
        let piece = buf.get(..n).unwrap_or_default();
        if piece.is_empty() {
            return Ok(());
        }
        each(piece)?;
        at = at.saturating_add(n as u64);
    }
}

/// The sizes of `head` followed by the letter.
///
/// # Errors
/// [`DeliverError::Letter`].
pub fn measure<S: Source + ?Sized>(head: &[u8], letter: &S) -> Result<Sizes, DeliverError> {
    let mut sizes = Sizes::default();
    sizes.add(head);
    pieces(letter, |piece| {
        sizes.add(piece);
        Ok(())
    })?;
    Ok(sizes)
}

/// What a reader leaves behind when it says QUIT: one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Where it is, such as `new/NAME`, relative to the Maildir.
    pub file: PathBuf,
    /// Remove it; otherwise it moves from `new/` to `cur/`.
    pub delete: bool,
}

/// Moves what was seen from `new/` to `cur/`, then removes what was deleted, then makes the
/// removals last. A power cut may bring a deleted letter back, but takes none that was not deleted.
///
/// True if every deleted letter is gone for good. One that is not in its place any more is looked
/// for in `cur/` by its stem, since another reader may have moved it there or changed its flags; if
/// it is not there either, that reader has removed it. (One that will not move stays where it is.)
pub fn settle<D: Disk>(disk: &D, leaves: &[Leave]) -> bool {
    settle_telling(disk, leaves, |_, _| ())
}

/// [`settle`] that tells of every error, and of the file or directory it was met at.
pub fn settle_telling<D: Disk>(
    disk: &D,
    leaves: &[Leave],
    mut tell: impl FnMut(&Path, &io::Error),
) -> bool {
    let cur = Path::new("cur");
    let seen = leaves.iter().filter(|leave| !leave.delete).map(|leave| leave.file.as_path());
    // It moves next time.
    let _stays = see(disk, seen).inspect_err(|err| tell(cur, err));
    let (mut gone, mut moved) = (true, BTreeSet::new());
    for leave in leaves.iter().filter(|leave| leave.delete) {
        match disk.unlink(&leave.file) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => moved.extend(stem(&leave.file)),
            removed => gone &= removed.inspect_err(|err| tell(&leave.file, err)).is_ok(),
        }
    }
    if !moved.is_empty() {
        gone &= remove_moved(disk, &moved).inspect_err(|err| tell(cur, err)).is_ok();
    }
    for dir in [cur, Path::new("new")] {
        let deletes = |leave: &Leave| leave.delete && leave.file.starts_with(dir);
        if leaves.iter().any(deletes) || dir == cur && !moved.is_empty() {
            gone &= disk.sync_dir(dir).inspect_err(|err| tell(dir, err)).is_ok();
        }
    }
    gone
}

/// The stem of a file's name.
fn stem(file: &Path) -> Option<&[u8]> {
    file.file_name().map(|name| Name::parse(name.as_bytes()).stem)
}

/// Removes the files of `cur/` that have one of these stems.
fn remove_moved<D: Disk>(disk: &D, stems: &BTreeSet<&[u8]>) -> io::Result<()> {
    let dir = Path::new("cur");
    for name in disk.list(dir)? {
        if stems.contains(Name::parse(name.as_bytes()).stem) {
            disk.unlink(&dir.join(name))?;
        }
    }
    Ok(())
}

/// Moves files of `new/` to `cur/`; what is elsewhere stays.
///
/// Not by renaming: a file system without a journal may keep only half of a rename, the wrong one,
/// and the letter would be gone. Each gets its second name, these are made to last, and then the
/// first ones go. A power cut may leave a letter with both: the next session takes the first away.
fn see<'l, D: Disk>(disk: &D, files: impl Iterator<Item = &'l Path>) -> io::Result<()> {
    let mut moved = Vec::new();
    for file in files {
        let Ok(name) = file.strip_prefix("new") else { continue };
        let mut to = Path::new("cur").join(name).into_os_string();
        if !to.as_bytes().contains(&b':') {
            to.push(":2,");
        }
        // Gone, or another session is just doing this.
        if disk.link(file, Path::new(&to)).is_ok() {
            moved.push(file);
        }
    }
    if !moved.is_empty() {
        disk.sync_dir(Path::new("cur"))?;
    }
    moved.into_iter().try_for_each(|file| remove(disk, file))
}

/// Makes a Maildir's three directories where they are missing.
///
/// # Errors
/// What the disk says.
pub fn make<D: Disk>(disk: &D) -> io::Result<()> {
    for dir in ["tmp", "new", "cur"] {
        crate::disk::ensure_dir(disk, Path::new(dir))?;
    }
    disk.sync_dir(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Access;
    use crate::disk::sim::Sim;
    use std::ffi::OsStr;

    const MARK: Mark =
        Mark { birth: Moment::from_micros(12_000_034), letter: 7, index: 1, instruction: 0 };

    fn text(disk: &Sim, file: &str) -> Vec<u8> {
        let file = disk.open(Path::new(file), Access::Read).unwrap();
        let len = usize::try_from(disk.len(&file).unwrap()).unwrap();
        crate::disk::read_exact(disk, &file, 0, len).unwrap()
    }

    #[test]
    fn names_are_taken_apart_and_strange_ones_survive() {
        let n = Name::parse(b"1.M2Q3R0.h,S=10,W=12:2,RS");
        assert_eq!((n.stem, n.size, n.wire), (&b"1.M2Q3R0.h,S=10,W=12"[..], Some(10), Some(12)));
        assert!(n.has(b'S') && n.has(b'R') && !n.has(b'T'));
        let n = Name::parse(b"S=5,S=x,W=99999999999999999999:1,S");
        assert_eq!((n.size, n.wire, n.flags), (None, None, &b""[..]));
        assert_eq!(Name::parse(b"").stem, b"");
    }

    #[test]
    fn a_name_says_which_delivery_it_is_and_how_big() {
        let sizes = measure(b"R: x\n", &b"a\r\nb\n"[..]).unwrap();
        assert_eq!((sizes.file(), sizes.wire()), (10, 12));
        assert_eq!(name(&MARK, b"h/o:t", &sizes), "12.M34Q7R1.h\\057o\\072t,S=10,W=12");
        let third = Mark { instruction: 2, ..MARK };
        assert_eq!(name(&third, b"h", &sizes), "12.M34Q7R1I2.h,S=10,W=12");
    }

    #[test]
    fn strange_letters_are_counted_as_they_are_sent() {
        let letters: [(&[u8], &[u8], u64, u64); 8] = [
            (b"", b"", 0, 0),
            (b"", b"no end", 6, 8),
            (b"R: x\n", b"", 5, 6),
            (b"R: x\n", b"a\rb\n", 9, 11),
            // The CR in the head and the LF in the letter are one line end.
            (b"R: x\r", b"\nb\r", 8, 9),
            (b"", b"\r\r\r\n", 4, 2),
            (b"", b"\r\r\r", 3, 2),
            (b"", b".\r.\n.\n", 6, 8),
        ];
        for (head, letter, file, wire) in letters {
            let sizes = measure(head, letter).unwrap();
            assert_eq!((sizes.file(), sizes.wire()), (file, wire), "{head:?} {letter:?}");
        }
        // A CR at the end of one piece and the LF at the start of the next.
        let long = [vec![b'x'; PIECE - 1], b"\r\n".to_vec()].concat();
        assert_eq!(measure(b"", &long[..]).unwrap().wire(), PIECE as u64 + 1);
    }

    #[test]
    fn a_delivery_is_whole_in_new_and_a_repeated_one_is_the_same() {
        let disk = Sim::new();
        make(&disk).unwrap();
        let name = OsStr::new("a,S=1");
        for perhaps in [false, false, true] {
            deliver(&disk, name, perhaps, b"head\n", &b"body\n"[..]).unwrap();
            assert_eq!(disk.list(Path::new("new")).unwrap(), [name]);
            assert_eq!(text(&disk, "new/a,S=1"), b"head\nbody\n");
            assert!(disk.list(Path::new("tmp")).unwrap().is_empty());
        }
        assert!(settle(&disk, &[Leave { file: "new/a,S=1".into(), delete: false }]));
        assert_eq!(disk.list(Path::new("cur")).unwrap(), ["a,S=1:2,"]);
        deliver(&disk, name, true, b"head\n", &b"body\n"[..]).unwrap();
        assert!(disk.list(Path::new("new")).unwrap().is_empty());
        assert!(settle(&disk, &[Leave { file: "cur/a,S=1:2,".into(), delete: true }]));
        assert!(disk.list(Path::new("cur")).unwrap().is_empty());
    }

    #[test]
    fn a_deleted_letter_that_another_reader_has_moved_is_removed_where_it_is() {
        let disk = Sim::new();
        make(&disk).unwrap();
        for name in ["cur/a,S=1:2,S", "cur/b:2,RS", "cur/ab:2,S", "cur/a:2,"] {
            disk.create(Path::new(name)).unwrap();
        }
        let delete = |file: &str| Leave { file: file.into(), delete: true };
        assert!(settle(&disk, &[delete("new/a,S=1"), delete("cur/b:2,"), delete("new/gone")]));
        let mut left = disk.list(Path::new("cur")).unwrap();
        left.sort_unstable();
        assert_eq!(left, ["a:2,", "ab:2,S"]);
    }
}
