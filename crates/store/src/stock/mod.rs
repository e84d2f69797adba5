//! The queue of stock qmail as it lies on a disk (qmail-move(7)), for moving from it and
//! back to it. Reading changes nothing there, not even a lock file's time.
//!
//! Root reads what other users may have put there. So no link but root's own is followed, and no file
//! is read that is not of the user whose directory it lies in.

mod letter;
mod mark;
mod paragraphs;
mod past;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use letter::{Found, Kind, Recipient, Times, channel, envelope};
pub use mark::{Sum, Summing};
pub use paragraphs::{Paragraph, paragraphs};
pub use past::{Entered, original};
use sys::at::{At, Opening};

/// Sub-directories of `mess`, `info`, `local` and `remote` unless somebody built it otherwise.
pub const SPLIT: u64 = 23;

/// Bytes of any file but a letter that are read at most.
const FILE: u64 = 64 << 20;

/// A directory of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The letters themselves.
    Mess,
    /// Envelopes of letters that are queued and not yet preprocessed.
    Todo,
    /// Senders of the preprocessed ones.
    Info,
    /// Their local recipients.
    Local,
    /// Their remote recipients.
    Remote,
    /// What is to be told of those that failed.
    Bounce,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Mess, Self::Todo, Self::Info, Self::Local, Self::Remote, Self::Bounce];

    /// Its directory's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mess => "mess",
            Self::Todo => "todo",
            Self::Info => "info",
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Bounce => "bounce",
        }
    }
}

/// What is wrong with one letter there: the text names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(pub String);

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A queue on disk: which files there are. However many sub-directories its parts are split into,
/// and whether `todo` is split too, is found out by looking.
#[derive(Debug)]
pub struct Stock {
    root: PathBuf,
    at: At,
    parts: BTreeMap<Part, BTreeMap<u64, PathBuf>>,
    /// Files that stand there twice.
    pub twice: Vec<Damage>,
}

/// How far a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its sender was never told that it is queued (S2, S3).
    Unaccepted,
    /// S4.
    Queued,
    /// S5.
    Preprocessed,
    /// There is an envelope and no letter.
    Lost,
}

impl Stock {
    /// Looks at the queue in `root`.
    ///
    /// # Errors
    /// It cannot be read, or there is no `mess` or `info` in it.
    pub fn open(root: &Path) -> Result<Self, String> {
        let unreadable = |dir: &Path, e: io::Error| {
            let text = sys::errno::text(&e);
            format!("unable to read {}: {text} (is it a queue?)", dir.display())
        };
        let at = At::open(root).map_err(|e| unreadable(&root.join(Part::Mess.name()), e))?;
        let (root, parts, twice) = (root.to_path_buf(), BTreeMap::new(), Vec::new());
        let mut stock = Self { root, at, parts, twice };
        for part in Part::ALL {
            let dir = stock.root.join(part.name());
            let mut files = BTreeMap::new();
            let opened = stock.at.deep(Path::new(part.name()));
            match opened.and_then(|at| stock.look(&at, &dir, true, &mut files)) {
                Err(e)
                    if e.kind() == ErrorKind::NotFound
                        && !matches!(part, Part::Mess | Part::Info) => {}
                Err(e) => return Err(unreadable(&dir, e)),
                Ok(()) => {}
            }
            stock.parts.insert(part, files);
        }
        Ok(stock)
    }

    /// Names that are numbers: files are letters', directories are looked into once.
    fn look(
        &mut self,
        at: &At,
        dir: &Path,
        split: bool,
        files: &mut BTreeMap<u64, PathBuf>,
    ) -> io::Result<()> {
        for name in at.names(Path::new(""))? {
            let Some(number) = number(name.as_encoded_bytes()) else { continue };
            let path = dir.join(&name);
            let within = if split { at.deep(Path::new(&name)) } else { Err(is_file()) };
            match within {
                Ok(within) => self.look(&within, &path, false, files)?,
                // A link that is not followed is a file that cannot be read.
                Err(e) if e.kind() == ErrorKind::NotADirectory || is_link(&e) => {
                    if let Some(other) = files.insert(number, path) {
                        let (there, here) = (other.display(), dir.join(&name));
                        self.twice.push(Damage(format!(
                            "{there}: stands there twice, see {}",
                            here.display()
                        )));
                    }
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Where a letter's file is, if it is.
    pub fn path(&self, part: Part, number: u64) -> Option<&Path> {
        self.parts.get(&part)?.get(&number).map(PathBuf::as_path)
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.parts.values().flat_map(|files| files.values().map(PathBuf::as_path))
    }

    /// Every number there is, with how far its letter is.
    pub fn letters(&self) -> Vec<(u64, State)> {
        let of = |part| self.parts.get(&part).into_iter().flat_map(|files| files.keys().copied());
        let all = of(Part::Mess).chain(of(Part::Todo)).chain(of(Part::Info));
        let all: std::collections::BTreeSet<u64> = all.collect();
        all.into_iter().map(|number| (number, self.state(number))).collect()
    }

    fn state(&self, number: u64) -> State {
        let has = |part| self.path(part, number).is_some();
        match (has(Part::Mess), has(Part::Todo), has(Part::Info)) {
            (false, _, _) => State::Lost,
            (true, true, _) => State::Queued,
            (true, false, true) => State::Preprocessed,
            (true, false, false) => State::Unaccepted,
        }
    }

    /// Opens a letter's file, never a link or anything that is no plain file.
    fn open_file(&self, part: Part, number: u64) -> Result<Option<(File, &Path)>, Damage> {
        let Some(path) = self.path(part, number) else { return Ok(None) };
        let damage = |why: &str| Damage(format!("{}: {why}", path.display()));
        let above = path.parent().and_then(|above| above.strip_prefix(&self.root).ok());
        let name = Path::new(path.file_name().unwrap_or_default());
        let opened = self.at.deep(above.unwrap_or(Path::new(""))).and_then(|above| {
            let file = above.file(name, Opening::Look).map_err(|e| match is_link(&e) {
                true => no_file(),
                false => e,
            })?;
            let file = File::from(file);
            let about = file.metadata()?;
            if !about.is_file() {
                return Err(no_file());
            }
            let owner = above.owner(Path::new("."))?;
            match owner == 0 || owner == about.uid() {
                true => Ok(file),
                false => Err(io::Error::other("does not belong to whom its directory does")),
            }
        });
        match opened {
            Ok(file) => Ok(Some((file, path))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) if e.raw_os_error().is_none() => Err(damage(&e.to_string())),
            Err(e) => Err(damage(sys::errno::text(&e))),
        }
    }

    /// A file's bytes and when it was last changed.
    fn read(
        &self,
        part: Part,
        number: u64,
    ) -> Result<Option<(Vec<u8>, base::time::Moment)>, Damage> {
        let Some((file, path)) = self.open_file(part, number)? else { return Ok(None) };
        let damage = |e: &io::Error| Damage(format!("{}: {}", path.display(), sys::errno::text(e)));
        let about = file.metadata().map_err(|e| damage(&e))?;
        let mut bytes = Vec::new();
        file.take(FILE + 1).read_to_end(&mut bytes).map_err(|e| damage(&e))?;
        if bytes.len() as u64 > FILE {
            return Err(Damage(format!("{}: is longer than {FILE} bytes", path.display())));
        }
        Ok(Some((bytes, sys::file::modified(&about))))
    }

    /// The letter, open, and where.
    ///
    /// # Errors
    /// [`Damage`]
    pub fn content(&self, number: u64) -> Result<OwnedFd, Damage> {
        let opened = self.open_file(Part::Mess, number)?;
        let lost = || Damage(format!("mess/{number}: there is no letter"));
        opened.map(|(file, _)| file.into()).ok_or_else(lost)
    }
}

fn no_file() -> io::Error {
    io::Error::other("is no plain file")
}

/// Of what is not looked into.
fn is_file() -> io::Error {
    ErrorKind::NotADirectory.into()
}

fn is_link(err: &io::Error) -> bool {
    sys::errno::is(err, sys::errno::ELOOP)
}

/// A name that stock would have given: decimal, no zero in front.
fn number(name: &[u8]) -> Option<u64> {
    let digits =
        name.iter().all(u8::is_ascii_digit) && (name.len() == 1 || !name.starts_with(b"0"));
    let text = std::str::from_utf8(name).ok().filter(|_| digits)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests;
