//! The binaries to be installed, open before anything else is done: also behind a `chroot` they are
//! at hand.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use crate::permissions::about;
use crate::setup::BINARIES;
use crate::{Trouble, binaries};

/// A binary's most bytes.
const LONGEST: u64 = 1 << 30;
/// Where the manual's pages lie beside the binaries.
const PAGES: &str = "man";
/// The manual's most pages, and a page's most bytes.
const MANY: usize = 1000;
const PAGE: u64 = 1 << 20;

/// Where they come from.
#[derive(Debug)]
pub(crate) struct Source {
    dir: PathBuf,
    binaries: Vec<(&'static str, File)>,
    /// The manual's pages: file name and text.
    pages: Vec<(String, Vec<u8>)>,
}

impl Source {
    /// Opens the four in `dir`, else beside this program; each must run here.
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self, Trouble> {
        let dir = match dir {
            Some(dir) => about(dir, std::path::absolute(dir))?,
            None => beside_this_program()?,
        };
        let mut binaries = Vec::new();
        for name in BINARIES {
            let path = dir.join(name);
            let file = about(&path, File::open(&path))?;
            runs(&path)?;
            binaries.push((name, file));
        }
        let pages = pages(&dir.join(PAGES))?;
        Ok(Self { dir, binaries, pages })
    }

    /// Where they lie.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The binaries' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.binaries.iter().map(|(name, _)| *name)
    }

    /// The manual's pages.
    pub(crate) fn pages(&self) -> &[(String, Vec<u8>)] {
        &self.pages
    }

    /// A binary's bytes.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, Trouble> {
        let found = self.binaries.iter().find(|(known, _)| *known == name);
        let mut file = found.map(|(_, file)| file).ok_or_else(|| format!("no binary {name}"))?;
        let path = self.dir.join(name);
        let mut bytes = Vec::new();
        about(&path, file.rewind())?;
        about(&path, file.take(LONGEST).read_to_end(&mut bytes))?;
        Ok(bytes)
    }

    /// The names of those that are not in this directory as they should be.
    pub(crate) fn stale(&self, bin: &Path) -> Result<Vec<&'static str>, Trouble> {
        let mut stale = Vec::new();
        for name in self.names() {
            if !self.is_at(name, &bin.join(name))? {
                stale.push(name);
            }
        }
        Ok(stale)
    }

    /// Whether the file at `path` has a binary's very bytes.
    fn is_at(&self, name: &str, path: &Path) -> Result<bool, Trouble> {
        match std::fs::read(path) {
            Ok(there) => Ok(there == self.read(name)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => about(path, Err(error)),
        }
    }
}

fn beside_this_program() -> Result<PathBuf, Trouble> {
    let me = std::env::current_exe().map_err(|e| format!("/proc/self/exe: {e}"))?;
    me.parent().map(Path::to_path_buf).ok_or_else(|| "say where the binaries are: --from".into())
}

/// A binary for another machine, or half of one, is found out here and not when mail depends on it.
fn runs(path: &Path) -> Result<(), Trouble> {
    let (status, said) = about(path, binaries::answer(path))?;
    match status.success() && !said.is_empty() {
        true => Ok(()),
        false => Err(format!("{} does not run here: {status}", path.display())),
    }
}

/// The pages in a directory; none if there is no such directory.
fn pages(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut pages = Vec::new();
    for entry in entries.take(MANY) {
        let path = about(dir, entry)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut text = Vec::new();
        let opened = about(&path, File::open(&path))?;
        about(&path, opened.take(PAGE).read_to_end(&mut text))?;
        pages.push((name, text));
    }
    pages.sort();
    Ok(pages)
}
