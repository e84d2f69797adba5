//! Which letters were ever let go after an import: `import/journal` in the home, a line for each, by
//! its mark; a line with `-` in front takes that back. Until it is let go a letter's mark is in the
//! queue. And which were ever let go after an export, by what they are known by in the other queue.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use base::wire::queue::Mark;
use store::home::Home;

use crate::Trouble;
use crate::permissions::{about, directory};

/// Bytes that are read at most: fifty million letters.
const MOST: u64 = 1 << 30;

/// The journal.
pub(super) struct Journal {
    path: PathBuf,
    marks: BTreeSet<Mark>,
    /// The last line was cut short.
    torn: bool,
}

impl Journal {
    /// Reads it, if it is there.
    pub(super) fn open(home: &Home) -> Result<Self, Trouble> {
        directory(&home.path("import"), 0o700, &home.owner_ids())?;
        let path = home.path("import/journal");
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => about(&path, file.take(MOST).read_to_end(&mut text))?,
            Err(e) if e.kind() == ErrorKind::NotFound => 0,
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let torn = text.last().is_some_and(|&last| last != b'\n');
        Ok(Self { path, marks: parse(&text), torn })
    }

    /// Was a letter with this mark ever let go?
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }

    /// Writes down letters that are about to be let go; when this returns it is on disk.
    pub(super) fn add(&mut self, marks: impl Iterator<Item = Mark>) -> Result<(), Trouble> {
        let mut lines = String::new();
        for mark in marks {
            if self.marks.insert(mark) {
                let _ = writeln!(lines, "{:016x}", mark.word());
            }
        }
        self.append(&lines)
    }

    /// Takes it back.
    pub(super) fn strike(&mut self, marks: impl Iterator<Item = Mark>) -> Result<(), Trouble> {
        let mut lines = String::new();
        for mark in marks {
            if self.marks.remove(&mark) {
                let _ = writeln!(lines, "-{:016x}", mark.word());
            }
        }
        self.append(&lines)
    }

    fn append(&mut self, lines: &str) -> Result<(), Trouble> {
        if lines.is_empty() {
            return Ok(());
        }
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        let mut file = about(&self.path, opened)?;
        let end = if std::mem::take(&mut self.torn) { "\n" } else { "" };
        about(&self.path, file.write_all(format!("{end}{lines}").as_bytes()))?;
        about(&self.path, file.sync_all())?;
        about(self.path.parent().unwrap_or(&self.path), sys::file::sync_name(&self.path))
    }
}

/// The marks that the lines leave. A line that was cut short says nothing: what it was to say did
/// not happen.
fn parse(text: &[u8]) -> BTreeSet<Mark> {
    let mut marks = BTreeSet::new();
    for line in text.split(|&c| c == b'\n') {
        let (taken_back, digits) = match line {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 16);
        let word = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(mark) = word.and_then(Mark::of) else { continue };
        if taken_back {
            marks.remove(&mark);
        } else {
            marks.insert(mark);
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_whole_and_can_be_taken_back() {
        let text = b"8000000000000001\n8000000000000002\n-8000000000000001\n800000000000003";
        let marks: Vec<_> = parse(text).into_iter().collect();
        assert_eq!(marks, [Mark::imported(2)]);
    }
}
