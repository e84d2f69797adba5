//! A delivery into a Maildir, in steps, so that many can share the waits for the disk between them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::disk::{Access, Disk, remove};

use super::{Name, Source, pieces};

/// What stands between a file's name and the attempt's number while it is in `tmp/`.
const ATTEMPT: &str = ".P";

/// A delivery did not happen; nothing of it can be seen.
#[derive(Debug)]
pub enum DeliverError {
    /// The letter cannot be read.
    Letter(io::Error),
    /// The Maildir cannot be written.
    Maildir(io::Error),
}

impl fmt::Display for DeliverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(err) => write!(f, "unable to read the letter: {err}"),
            Self::Maildir(err) => write!(f, "unable to write the maildir: {err}"),
        }
    }
}

impl std::error::Error for DeliverError {}

impl From<io::Error> for DeliverError {
    fn from(err: io::Error) -> Self {
        Self::Maildir(err)
    }
}

/// One attempt's file: where it is written, and where it is seen. The steps are [`stage`]; a sync
/// of the bytes; [`show`]; a sync of the names. Until the last of them is over the letter is not
/// delivered; if one fails, [`withdraw`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// In `tmp/`.
    tmp: PathBuf,
    /// In `new/`.
    new: PathBuf,
}

impl Places {
    /// Those of the letter `name`. No other attempt that may still be under way has the same
    /// number (a process has its id), so none can show what another is still writing.
    pub fn of(name: &OsStr, attempt: u32) -> Self {
        let mut staged = name.to_owned();
        staged.push(format!("{ATTEMPT}{attempt}"));
        Self { tmp: Path::new("tmp").join(staged), new: Path::new("new").join(name) }
    }

    /// Where it is to be seen: its name in `new/`.
    pub fn file(&self) -> &Path {
        &self.new
    }

    /// Opens the staged file again.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open<D: Disk>(&self, disk: &D) -> io::Result<D::File> {
        disk.open(&self.tmp, Access::Write)
    }
}

/// Writes `head` and the letter where nobody sees it, and syncs nothing. An error leaves nothing.
///
/// # Errors
/// [`DeliverError`].
pub fn stage<D: Disk, S: Source + ?Sized>(
    disk: &D,
    places: &Places,
    head: &[u8],
    letter: &S,
) -> Result<D::File, DeliverError> {
    let staged = write(disk, &places.tmp, head, letter);
    if staged.is_err() {
        let _leftover = disk.unlink(&places.tmp);
    }
    staged
}

fn write<D: Disk, S: Source + ?Sized>(
    disk: &D,
    tmp: &Path,
    head: &[u8],
    letter: &S,
) -> Result<D::File, DeliverError> {
    let file = match disk.create(tmp) {
        // Left by a process that had our number and is no more.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            remove(disk, tmp)?;
            disk.create(tmp)?
        }
        created => created?,
    };
    match letter.whole() {
        // One write is cheaper than two, and letters in memory are small.
        Some(letter) => disk.write_at(&file, &[head, letter].concat(), 0)?,
        None => copy(disk, &file, head, letter)?,
    }
    Ok(file)
}

fn copy<D: Disk, S: Source + ?Sized>(
    disk: &D,
    file: &D::File,
    head: &[u8],
    letter: &S,
) -> Result<(), DeliverError> {
    disk.write_at(file, head, 0)?;
    let mut at = head.len() as u64;
    pieces(letter, |piece| {
        disk.write_at(file, piece, at)?;
        at = at.saturating_add(piece.len() as u64);
        Ok(())
    })
}

/// Lets readers see a staged file; its bytes must be durable by now.
///
/// # Errors
/// What the disk says; then it is not seen.
pub fn show<D: Disk>(disk: &D, places: &Places) -> io::Result<()> {
    match disk.rename_new(&places.tmp, &places.new) {
        // Our own earlier delivery: nobody else makes this name.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => disk.unlink(&places.tmp),
        shown => shown,
    }
}

/// Takes the file back, seen or not: whether it would last cannot be known.
pub fn withdraw<D: Disk>(disk: &D, places: &Places) {
    for place in [&places.tmp, &places.new] {
        let _gone = disk.unlink(place);
    }
}

/// Makes a staged or shown file durable by itself. `staged` is its file if it is not shown yet.
///
/// # Errors
/// What the disk says; then it is withdrawn.
pub fn settle_alone<D: Disk>(
    disk: &D,
    places: &Places,
    staged: Option<&D::File>,
) -> io::Result<()> {
    let settled = staged
        .map_or(Ok(()), |file| disk.sync(file).and_then(|()| show(disk, places)))
        .and_then(|()| sync_name(disk, &places.new));
    if settled.is_err() {
        withdraw(disk, places);
    }
    settled
}

/// Makes a name in `new/` durable, or, if a reader has already moved it on, in `cur/`.
fn sync_name<D: Disk>(disk: &D, new: &Path) -> io::Result<()> {
    disk.sync_dir(Path::new("new"))?;
    match disk.open(new, Access::Read) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => disk.sync_dir(Path::new("cur")),
        _ => Ok(()),
    }
}

/// Delivers `head` followed by the letter under `name` into the Maildir that `disk` is. When it
/// returns, the letter is on disk.
///
/// With `perhaps` an earlier attempt may have got through: then its file is looked for in `new/`
/// and `cur/` first. (A file that its reader has already removed is delivered again.)
///
/// # Errors
/// [`DeliverError`].
pub fn deliver<D: Disk, S: Source + ?Sized>(
    disk: &D,
    name: &OsStr,
    perhaps: bool,
    head: &[u8],
    letter: &S,
) -> Result<(), DeliverError> {
    if perhaps && Earlier::list(disk)?.holds(disk, name)? {
        return Ok(());
    }
    let places = Places::of(name, std::process::id());
    let file = stage(disk, &places, head, letter)?;
    Ok(settle_alone(disk, &places, Some(&file))?)
}

/// What there was in a Maildir before this process delivered into it: listed once for all the
/// deliveries that an earlier process may have made.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// The stems in `new/` and `cur/`.
    stems: BTreeSet<Vec<u8>>,
    /// The names in `tmp/`.
    staged: BTreeSet<OsString>,
}

impl Earlier {
    /// Lists it: `tmp/` first, then `new/`, then `cur/`, as a file moves from one to the next and
    /// never back.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list<D: Disk>(disk: &D) -> io::Result<Self> {
        let staged = list(disk, "tmp")?.into_iter().collect();
        let mut stems = BTreeSet::new();
        for dir in ["new", "cur"] {
            let names = list(disk, dir)?;
            stems.extend(names.iter().map(|name| Name::parse(name.as_bytes()).stem.to_vec()));
        }
        Ok(Self { stems, staged })
    }

    /// Whether the letter `name` was there; if so its name is made durable. If not, what an
    /// earlier attempt has staged of it is removed, so that nobody can show it any more; if
    /// somebody just has, the letter is there after all.
    ///
    /// # Errors
    /// What the disk says.
    pub fn holds<D: Disk>(&self, disk: &D, name: &OsStr) -> io::Result<bool> {
        if self.is_seen(name) {
            return settled(disk).map(|()| true);
        }
        let mut prefix = name.to_owned();
        prefix.push(ATTEMPT);
        let from = self.staged.range(prefix.clone()..);
        for staged in from.take_while(|staged| staged.as_bytes().starts_with(prefix.as_bytes())) {
            match disk.unlink(&Path::new("tmp").join(staged)) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    if Self::list(disk)?.is_seen(name) {
                        return settled(disk).map(|()| true);
                    }
                }
                removed => removed?,
            }
        }
        Ok(false)
    }

    fn is_seen(&self, name: &OsStr) -> bool {
        self.stems.contains(Name::parse(name.as_bytes()).stem)
    }
}

/// Makes the names readers see durable: both directories, as a letter may be on its way from one to
/// the other.
fn settled<D: Disk>(disk: &D) -> io::Result<()> {
    disk.sync_dir(Path::new("new"))?;
    disk.sync_dir(Path::new("cur"))
}

/// The names in a directory that may be missing.
fn list<D: Disk>(disk: &D, dir: &str) -> io::Result<Vec<OsString>> {
    match disk.list(Path::new(dir)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}
