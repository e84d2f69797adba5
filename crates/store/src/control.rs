//! Control files: one setting a file, read whole, bounded, never guessed at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use base::{limits, number};
use sys::errno;

use crate::home::Home;

/// The directory of control files.
#[derive(Clone, Debug)]
pub struct Control {
    dir: PathBuf,
}

/// A control file is there and cannot be used.
#[derive(Debug)]
pub struct ControlError {
    path: PathBuf,
    trouble: Trouble,
}

/// What is wrong with it.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    /// Its permissions are right, and this process has fenced itself away from where it lies.
    OutOfReach,
    Fifo,
    TooLong,
    Nul(usize),
    CarriageReturn(usize),
    NotNumber,
    NoColon(usize),
}

/// A line `key:value` of a file, with its number from 1 up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which line it is.
    pub line: usize,
    /// What stands before the first colon, in lower case.
    pub key: Vec<u8>,
    /// What stands behind it.
    pub value: Vec<u8>,
}

impl ControlError {
    /// The file's name, such as `locals`.
    pub fn name(&self) -> &Path {
        self.path.file_name().map_or(&self.path, Path::new)
    }

    /// Whether it is there, and cannot be read for no other reason than that it came where this
    /// process keeps no way to: a directory was replaced, or a link leads elsewhere now. A process
    /// that starts anew can read it.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self.trouble, Trouble::OutOfReach)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.trouble {
            Trouble::Io(err) if err.kind() == io::ErrorKind::PermissionDenied => {
                let why = errno::text(err);
                // Passwords may stand there.
                if self.name() == "smtproutes" {
                    let mend = format!("chgrp qmail {path}; chmod g+r {path}");
                    return write!(f, "unable to read {path}: {why} (mend: {mend})");
                }
                write!(f, "unable to read {path}: {why} (mend: chmod a+r {path})")
            }
            Trouble::Io(err) => write!(f, "unable to read {path}: {}", errno::text(err)),
            Trouble::OutOfReach => write!(
                f,
                "unable to read {path}: the directory it lies in is another one than at my start \
                 (mend: restart this service)"
            ),
            Trouble::Fifo => write!(f, "{path} is a FIFO: put a plain file there"),
            Trouble::TooLong => {
                let most = limits::CONTROL_FILE;
                write!(f, "{path} is longer than {most} bytes: shorten it")
            }
            Trouble::Nul(line) => write!(f, "{path} line {line} holds a NUL byte: remove it"),
            Trouble::CarriageReturn(line) => {
                write!(f, "{path} line {line} ends in a CR: save the file with plain line ends")
            }
            Trouble::NotNumber => {
                write!(f, "{path} line 1 is not a number: write digits, or remove the file")
            }
            Trouble::NoColon(line) => {
                write!(f, "{path} line {line} has no colon: write NAME:VALUE, or remove the line")
            }
        }
    }
}

impl std::error::Error for ControlError {}

/// A map's keys, compared without regard to ASCII case; of equal keys the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl Map {
    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }

    /// Every pair, keys in lower case, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Makes a map of lines `key:value`; a line without a colon is left out.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(lines.into_iter().filter_map(pair).collect())
    }

    /// Whether no line had a colon.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Key (in lower case) and value of one line.
fn pair(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|&c| c == b':')?;
    let (key, value) = line.split_at_checked(colon)?;
    Some((key.to_ascii_lowercase(), value.get(1..)?.to_vec()))
}

/// A list's lines as a set, compared without regard to ASCII case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(BTreeSet<Vec<u8>>);

impl Set {
    /// Whether `line` is one of them.
    pub fn contains(&self, line: &[u8]) -> bool {
        self.0.contains(&line.to_ascii_lowercase())
    }

    /// Makes a set of lines.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(lines.into_iter().map(<[u8]>::to_ascii_lowercase).collect())
    }

    /// Whether it has no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every line, in lower case and in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

impl Control {
    /// The control files of `home`.
    pub fn new(home: &Home) -> Self {
        Self::at(home.path("control"))
    }

    /// The control files in `dir`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The path of the file `name`, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The first line of `name` without blanks at its end; `None` if there is no such file. An
    /// empty file is the empty line, not the default; `#` is no comment here.
    ///
    /// # Errors
    /// [`ControlError`] if it is there and cannot be read.
    pub fn line(&self, name: &str) -> Result<Option<Vec<u8>>, ControlError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        Ok(text.split(|&c| c == b'\n').next().map(|line| trim(line).to_vec()))
    }

    /// The first line of `name`, or of `me` if there is no `name`; `None` if there is neither (the
    /// caller then says `NAME` in its literal default).
    ///
    /// # Errors
    /// As [`Control::line`].
    pub fn line_or_me(&self, name: &str) -> Result<Option<Vec<u8>>, ControlError> {
        match self.line(name)? {
            Some(line) => Ok(Some(line)),
            None => self.line("me"),
        }
    }

    /// The decimal digits `name` begins with; `default` if it is empty or there is no such file.
    /// A number too big for 64 bits counts as the biggest one.
    ///
    /// # Errors
    /// As [`Control::line`]; or it begins with something else, which stock reads as if the file were
    /// not there: an administrator who wrote a limit is better told that there is none.
    pub fn int(&self, name: &str, default: u64) -> Result<u64, ControlError> {
        match self.line(name)? {
            None => Ok(default),
            Some(line) if line.is_empty() => Ok(default),
            Some(line) => number::leading(&line)
                .ok_or_else(|| ControlError { path: self.path(name), trouble: Trouble::NotNumber }),
        }
    }

    /// The lines of `name`, without blanks at their ends, empty lines and lines that begin with
    /// `#`; `None` if there is no such file.
    ///
    /// # Errors
    /// As [`Control::line`].
    pub fn list(&self, name: &str) -> Result<Option<Vec<Vec<u8>>>, ControlError> {
        let text = self.read(name)?;
        Ok(text.map(|text| lines(&text).map(<[u8]>::to_vec).collect()))
    }

    /// The lines of `name` as a set; `None` if there is no such file.
    ///
    /// # Errors
    /// As [`Control::line`].
    pub fn set(&self, name: &str) -> Result<Option<Set>, ControlError> {
        Ok(self.read(name)?.map(|text| Set::from_lines(lines(&text))))
    }

    /// The lines `key:value` of `name`; `None` if there is no such file.
    ///
    /// # Errors
    /// As [`Control::rows`].
    pub fn map(&self, name: &str) -> Result<Option<Map>, ControlError> {
        let rows = self.rows(name)?;
        Ok(rows.map(|rows| Map(rows.into_iter().map(|row| (row.key, row.value)).collect())))
    }

    /// The lines `key:value` of `name` in their order, for who has to name one; `None` if there is
    /// no such file.
    ///
    /// # Errors
    /// As [`Control::line`]; or a line has no colon, which stock passes over: an administrator who
    /// wrote a domain into `virtualdomains` is better told that it is not one.
    pub fn rows(&self, name: &str) -> Result<Option<Vec<Row>>, ControlError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let numbered = (1..).zip(text.split(|&c| c == b'\n').map(trim));
        let counted = numbered.filter(|(_, line)| counts(line));
        let rows = counted.map(|(line, text)| {
            let no_colon =
                || ControlError { path: self.path(name), trouble: Trouble::NoColon(line) };
            pair(text).map(|(key, value)| Row { line, key, value }).ok_or_else(no_colon)
        });
        rows.collect::<Result<_, _>>().map(Some)
    }

    /// The whole file; `None` if it, or the directory, is not there.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ControlError> {
        let path = self.path(name);
        match read_whole(&path) {
            Ok(text) => Ok(Some(text)),
            Err(Trouble::Io(err)) if is_missing(&err) => Ok(None),
            Err(Trouble::Io(err)) if sys::sandbox::is_out_of_reach(&path, &err) => {
                Err(ControlError { path, trouble: Trouble::OutOfReach })
            }
            Err(trouble) => Err(ControlError { path, trouble }),
        }
    }
}

fn is_missing(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_whole(path: &Path) -> Result<Vec<u8>, Trouble> {
    let most = limits::CONTROL_FILE;
    // Never waits for who would write to a FIFO; stock takes one for an empty file.
    let file = sys::file::open_read(path).map_err(Trouble::Io)?;
    if file.metadata().map_err(Trouble::Io)?.file_type().is_fifo() {
        return Err(Trouble::Fifo);
    }
    let mut text = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut text).map_err(Trouble::Io)?;
    if text.len() > most {
        return Err(Trouble::TooLong);
    }
    match text.split(|&c| c == b'\n').enumerate().find_map(|(n, line)| spoilt(n + 1, line)) {
        Some(trouble) => Err(trouble),
        None => Ok(text),
    }
}

/// What makes a line unusable: no setting holds a NUL, and a CR at the end comes from an editor of
/// another system; taken literally it makes a domain nobody has. Blanks behind the CR do not hide
/// it: they are taken away, and then it ends the line.
fn spoilt(number: usize, line: &[u8]) -> Option<Trouble> {
    match trim(line) {
        [.., b'\r'] => Some(Trouble::CarriageReturn(number)),
        _ => line.contains(&0).then_some(Trouble::Nul(number)),
    }
}

/// The lines of a list file that count.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&c| c == b'\n').map(trim).filter(|line| counts(line))
}

/// Whether a line is neither empty nor a comment.
fn counts(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b"#")
}

/// Without spaces, tabs and LFs at the end.
fn trim(line: &[u8]) -> &[u8] {
    let keep = line.iter().rposition(|c| !b" \t\n".contains(c)).map_or(0, |at| at + 1);
    line.get(..keep).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::{Kept, Yard};

    fn control(files: &[(&str, &[u8])]) -> Kept<Control> {
        let dir = Yard::new("control");
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let control = Control::at(&*dir);
        dir.keep(control)
    }

    #[test]
    fn a_file_with_passwords_is_not_to_be_opened_to_everybody() {
        let said = |name: &str| {
            let trouble = Trouble::Io(io::ErrorKind::PermissionDenied.into());
            ControlError { path: name.into(), trouble }.to_string()
        };
        assert!(said("c/locals").ends_with("(mend: chmod a+r c/locals)"));
        let mend = "(mend: chgrp qmail c/smtproutes; chmod g+r c/smtproutes)";
        assert!(said("c/smtproutes").ends_with(mend));
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let c = control(&[]);
        sys::file::mkfifo(c.path("pauses"), 0o644).unwrap();
        let why = c.map("pauses").unwrap_err().to_string();
        assert!(why.ends_with("/pauses is a FIFO: put a plain file there"), "{why}");
        std::os::unix::fs::symlink("/dev/null", c.path("locals")).unwrap();
        assert_eq!(c.list("locals").unwrap(), Some(Vec::new()));
    }

    #[test]
    fn a_line_loses_blanks_at_its_end_and_an_empty_file_is_an_empty_line() {
        let c = control(&[
            ("a", b" #x \t \nsecond\n"),
            ("b", b""),
            ("c", b"x\r\n"),
            ("d", b"x\r\t\t\n"),
            ("e", b"x\n\r \n"),
            ("f", b"a\rb\n"),
            ("me", b"m\n"),
        ]);
        assert_eq!(c.line("a").unwrap().unwrap(), b" #x");
        assert_eq!(c.line_or_me("b").unwrap().unwrap(), b"");
        let err = c.line("c").unwrap_err().to_string();
        assert!(
            err.ends_with("c line 1 ends in a CR: save the file with plain line ends"),
            "{err}"
        );
        for name in ["d", "e"] {
            let err = c.line(name).unwrap_err().to_string();
            assert!(err.contains(" ends in a CR: "), "{err}");
            assert!(c.list(name).is_err() && c.map(name).is_err());
        }
        assert_eq!(c.line("f").unwrap().unwrap(), b"a\rb");
        assert_eq!(c.line_or_me("none").unwrap().unwrap(), b"m");
        assert_eq!(Control::at("/nonexistent/x").line("me").unwrap(), None);
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_in_part() {
        let c = control(&[("a", b"x\n"), ("b", b"x\n")]);
        let grow = |name: &str, len: usize| {
            let file = std::fs::File::options().write(true).open(c.path(name)).unwrap();
            file.set_len(len as u64).unwrap();
        };
        grow("a", limits::CONTROL_FILE + 1);
        let err = c.list("a").unwrap_err().to_string();
        assert!(err.ends_with("a is longer than 16777216 bytes: shorten it"), "{err}");
        grow("b", limits::CONTROL_FILE);
        let err = c.list("b").unwrap_err().to_string();
        assert!(err.contains("holds a NUL byte"), "{err}");
    }

    #[test]
    fn numbers_are_leading_digits() {
        let c = control(&[("a", b"12x\n"), ("b", b"x\n"), ("c", b"99999999999999999999999\n")]);
        assert_eq!(c.int("a", 5).unwrap(), 12);
        let err = c.int("b", 5).unwrap_err().to_string();
        assert!(err.contains("b line 1 is not a number"), "{err}");
        assert_eq!(c.int("none", 6).unwrap(), 6);
        assert_eq!(c.int("c", 5).unwrap(), u64::MAX);
    }

    #[test]
    fn lists_skip_comments_and_maps_keep_the_last_of_equal_keys() {
        let c = control(&[
            ("l", b"# no\n\na \n b\nC:1\nc:2\nd"),
            ("m", b"# no\nC:1\nc:2\n"),
            ("n", b"ok\nb\0d\n"),
        ]);
        let want: [&[u8]; 5] = [b"a", b" b", b"C:1", b"c:2", b"d"];
        assert_eq!(c.list("l").unwrap().unwrap(), want);
        let err = c.map("l").unwrap_err().to_string();
        assert!(
            err.ends_with("l line 3 has no colon: write NAME:VALUE, or remove the line"),
            "{err}"
        );
        let map = c.map("m").unwrap().unwrap();
        assert_eq!((map.get(b"C"), map.get(b"a")), (Some(&b"2"[..]), None));
        let rows = c.rows("m").unwrap().unwrap();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 3]);
        assert!(c.set("l").unwrap().unwrap().contains(b"A"));
        let err = c.list("n").unwrap_err().to_string();
        assert!(err.ends_with("n line 2 holds a NUL byte: remove it"), "{err}");
    }
}
