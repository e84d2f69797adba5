//! An upgrade that was cut off, by kill -9 or with the machine: what its journal says of it, and what
//! to make of it. The journal lies with what is gone back to, in `.before.new`, so that either both
//! are there or none is.

use std::path::Path;

use store::home::Home;

use super::swap::{self, BEGUN, FRESH};
use crate::install::Source;
use crate::permissions::{about, replace};
use crate::scripts::quoted;
use crate::{Trouble, setup::BINARIES};

/// The journal's name.
pub(super) const JOURNAL: &str = ".journal";
/// Its most bytes.
const LONGEST: usize = 1 << 16;
/// The most bytes of a binary that are looked at.
const BINARY: usize = 1 << 30;

/// What tells one version of a binary from another: its length, and a sum of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum(usize, u32);

impl Sum {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.len(), base::cdb::hash(bytes))
    }

    /// Of what lies somewhere; none if nothing can be read there.
    fn at(path: &Path) -> Option<Self> {
        let file = sys::file::open_read(path).ok()?;
        Some(Self::of(&sys::fd::read_to_end(file, BINARY).ok()?))
    }
}

/// What will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Journal {
    /// Where the new binaries came from.
    pub(super) from: String,
    /// Each of them.
    binaries: Vec<(&'static str, Sum)>,
}

impl Journal {
    /// Of an upgrade to these binaries.
    pub(super) fn new(source: &Source) -> Result<Self, Trouble> {
        let sum = |name| Ok((name, Sum::of(&source.read(name)?)));
        let binaries = source.names().map(sum).collect::<Result<_, Trouble>>()?;
        Ok(Self { from: source.dir().to_string_lossy().replace(['\n', '\r'], "?"), binaries })
    }

    /// Written whole, or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Trouble> {
        replace(&dir.join(JOURNAL), 0o644, self.print().as_bytes())
    }

    /// Of a version nobody has.
    #[cfg(test)]
    pub(super) fn of_nothing() -> Self {
        Self { from: "/nowhere".into(), binaries: BINARIES.map(|name| (name, Sum(0, 0))).to_vec() }
    }

    fn print(&self) -> String {
        let lines =
            self.binaries.iter().map(|(name, Sum(len, sum))| format!("{name} {len} {sum:08x}\n"));
        format!("to {}\n{}", self.from, lines.collect::<String>())
    }

    /// None if it is not whole: then nothing is known of the new version.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('\n')?;
        let (first, rest) = text.split_once('\n')?;
        let binary = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let name = BINARIES.into_iter().find(|known| *known == name)?;
            let (len, sum) = (words.next()?.parse().ok()?, words.next()?);
            Some((name, Sum(len, u32::from_str_radix(sum, 16).ok()?)))
        };
        let binaries = rest.lines().map(binary).collect::<Option<Vec<_>>>()?;
        let whole = BINARIES.iter().all(|name| binaries.iter().any(|(known, _)| known == name));
        whole
            .then(|| Self { from: first.strip_prefix("to ").unwrap_or(first).to_owned(), binaries })
    }

    fn read(home: &Home) -> Option<Self> {
        let path = swap::below(home, BEGUN).join(JOURNAL);
        let text = sys::fd::read_to_end(sys::file::open_read(path).ok()?, LONGEST).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }
}

/// What can be done with what was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Put these in their places, and go on.
    Finish(Vec<&'static str>),
    /// The new version is not at hand as a whole: back to what was.
    Back,
}

/// Judges by what is in `bin/` and by what is on its way there.
fn judge(
    journal: &Journal,
    placed: impl Fn(&str) -> Option<Sum>,
    fresh: impl Fn(&str) -> Option<Sum>,
) -> Rest {
    let mut missing = Vec::new();
    for (name, sum) in &journal.binaries {
        if placed(name) == Some(*sum) {
            continue;
        }
        if fresh(name) != Some(*sum) {
            return Rest::Back;
        }
        missing.push(*name);
    }
    Rest::Finish(missing)
}

/// What is left of an upgrade.
#[derive(Debug)]
pub(super) struct Cut {
    /// Where it led, for people.
    pub(super) to: String,
    /// What can be done.
    pub(super) rest: Rest,
}

/// Looks whether one was cut off; asked by who has the lock.
pub(super) fn found(home: &Home) -> Option<Cut> {
    if !swap::is_begun(home) {
        return None;
    }
    let Some(journal) = Journal::read(home) else {
        return Some(Cut { to: "another version".to_owned(), rest: Rest::Back });
    };
    let at = |dir: &str| swap::below(home, dir);
    let (bin, fresh) = (home.path("bin"), at(FRESH));
    let rest = judge(&journal, |name| Sum::at(&bin.join(name)), |name| Sum::at(&fresh.join(name)));
    Some(Cut { to: journal.from, rest })
}

/// What is unfinished, and how it is mended; none while an upgrade is at work.
pub(crate) fn unfinished_upgrade(home: &Home) -> Option<String> {
    let begun = || swap::is_begun(home).then(|| Journal::read(home));
    let to = swap::at_rest(home, begun)?
        .map_or_else(String::new, |journal| format!(" to {}", journal.from));
    Some(format!(
        "{}: an upgrade{to} was cut off, programs of two versions may be at work; the next one \
         finishes it or goes back (mend: {} upgrade)",
        swap::below(home, BEGUN).display(),
        quoted(&home.path("bin/qmailctl"))
    ))
}

/// The journal of an upgrade that is done means nothing more.
pub(super) fn forget(dir: &Path) -> Result<(), Trouble> {
    match std::fs::remove_file(dir.join(JOURNAL)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => about(dir, removed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    const NEW: Sum = Sum(7, 0x8000_0001);
    const OLD: Sum = Sum(6, 2);

    fn journal() -> Journal {
        let binaries = BINARIES.map(|name| (name, NEW)).to_vec();
        Journal { from: "/srv/new build".into(), binaries }
    }

    #[test]
    fn a_journal_is_read_as_it_was_written_and_half_of_one_is_none() {
        let text = journal().print();
        assert_eq!(Journal::parse(&text), Some(journal()));
        for end in 0..text.len() {
            assert_eq!(Journal::parse(&text[..end]), None, "{end}");
        }
    }

    #[test]
    fn wherever_it_was_cut_off_it_is_finished_with_what_is_missing_or_taken_back() {
        // For each binary: the new one in its place, on its way, half of it on its way, or nowhere.
        let (places, ways) = ([Some(NEW), Some(OLD), None], [Some(NEW), Some(Sum(3, 3)), None]);
        let states = places.len() * ways.len();
        for case in 0..states.pow(4) {
            let state = |name: &str| {
                let at = BINARIES.iter().position(|known| *known == name).unwrap() as u32;
                let state = case / states.pow(at) % states;
                (places[state / ways.len()], ways[state % ways.len()])
            };
            let rest = judge(&journal(), |name| state(name).0, |name| state(name).1);
            let missing: Vec<_> =
                BINARIES.into_iter().filter(|name| state(name).0 != Some(NEW)).collect();
            let whole = missing.iter().all(|name| state(name).1 == Some(NEW));
            assert_eq!(rest, if whole { Rest::Finish(missing) } else { Rest::Back });
        }
    }

    #[test]
    fn one_under_way_is_not_unfinished_and_one_without_a_journal_goes_back() {
        let root = Yard::new("cut");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let home = Home::at(&root).unwrap();
        assert_eq!((unfinished_upgrade(&home), found(&home).is_none()), (None, true));
        let begun = swap::below(&home, BEGUN);
        std::fs::create_dir(&begun).unwrap();
        assert_eq!(found(&home).map(|cut| cut.rest), Some(Rest::Back));
        journal().write(&begun).unwrap();
        assert!(unfinished_upgrade(&home).is_some_and(|said| said.contains("/srv/new build")));
        let lock = swap::lock(&home).unwrap();
        assert_eq!(unfinished_upgrade(&home), None);
        drop(lock);
        assert!(unfinished_upgrade(&home).is_some());
    }
}
