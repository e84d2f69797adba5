//! The steps of an installation, done one after the other; the first that fails ends it. What was
//! done stays: the next run goes on from there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use store::home::Home;
use sys::at::At;

use super::accounts;
use super::plan::{File, Link, Step, Wishes};
use super::source::Source;
use crate::permissions::{about, replace};
use crate::print::say;
use crate::setup::Setup;
use crate::{Trouble, upgrade};

/// Does every step, saying each before it is done.
pub(super) fn out(
    steps: &[Step],
    wishes: &Wishes,
    source: &Source,
    setup: Setup,
) -> Result<(), Trouble> {
    let account = wishes.home.join("account");
    let known = account.exists();
    let mut setup = Some(setup);
    for step in steps {
        step.tell()?;
        match step {
            Step::Run(words) => accounts::run(words)?,
            Step::Complete(_) => {
                if let Some(setup) = setup.take() {
                    setup.complete(&wishes.home)?;
                }
            }
            Step::Put(binary) => put(&wishes.home, source, binary)?,
            Step::Upgrade(_) => {
                let home = Home::at(&wishes.home).map_err(|e| e.to_string())?;
                upgrade::carry(&home, source)?;
            }
            Step::Write(file) => write(file)?,
            Step::Append(file) => append(file)?,
            Step::Keep(path, spare) => keep(path, spare)?,
            Step::Link(to) => link(to)?,
            Step::Relink(to) => relink(to)?,
            Step::Tell(_) => {}
        }
    }
    if !known && account.exists() {
        say!("the first account and its password: {}", account.display());
    }
    Ok(())
}

/// Puts a binary in its place, by a rename.
pub(crate) fn put(home: &Path, source: &Source, binary: &str) -> Result<(), Trouble> {
    let path = home.join("bin").join(binary);
    parents(&path)?;
    replace(&path, 0o755, &source.read(binary)?)
}

fn write(file: &File) -> Result<(), Trouble> {
    parents(&file.path)?;
    replace(&file.path, file.mode, &file.text)
}

fn append(file: &File) -> Result<(), Trouble> {
    let path = &file.path;
    let mut text = about(path, fs::read(path))?;
    let mode = about(path, fs::metadata(path))?.permissions().mode() & 0o7777;
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(&file.text);
    replace(path, mode, &text)
}

fn link(link: &Link) -> Result<(), Trouble> {
    parents(&link.at)?;
    about(&link.at, symlink(&link.to, &link.at))
}

/// Gives what stands somewhere another name; never one that something has.
fn keep(path: &Path, spare: &Path) -> Result<(), Trouble> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let [from, to] = [path, spare].map(|path| Path::new(path.file_name().unwrap_or_default()));
    about(spare, At::open(dir).and_then(|dir| dir.rename_new(from, to)))
}

/// Makes a link in the place of another, in one step.
fn relink(link: &Link) -> Result<(), Trouble> {
    let mut fresh = link.at.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let _ = fs::remove_file(fresh);
    about(&link.at, symlink(&link.to, fresh).and_then(|()| fs::rename(fresh, &link.at)))
}

/// Makes the directories above a path that are missing.
fn parents(path: &Path) -> Result<(), Trouble> {
    match path.parent() {
        Some(dir) => about(dir, fs::create_dir_all(dir)),
        None => Ok(()),
    }
}
