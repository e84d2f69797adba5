//! The files beside `users/assign` that say which of the system's users get mail, and under which
//! names.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use base::limits;
use store::control::{Control, ControlError, Map, Set};
use store::home::Home;

/// One of the files cannot be used.
#[derive(Debug)]
pub(super) enum ListError {
    /// A file in the form of control files.
    Control(ControlError),
    /// This one cannot be read.
    Io(PathBuf, io::Error),
    /// This one is longer than a file may be.
    TooLong(PathBuf),
    /// A line of `users/subusers`.
    Line(PathBuf, usize),
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(err) => err.fmt(f),
            Self::Io(path, err) => write!(f, "{}: {}", path.display(), sys::errno::text(err)),
            Self::TooLong(path) => {
                let most = limits::CONTROL_FILE;
                write!(f, "{} is longer than {most} bytes: shorten it", path.display())
            }
            Self::Line(path, line) => {
                write!(f, "{} line {line} is not SUBUSER:USER:EXTENSION:", path.display())
            }
        }
    }
}

impl From<ControlError> for ListError {
    fn from(err: ControlError) -> Self {
        Self::Control(err)
    }
}

/// A line of `users/subusers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubUser {
    /// The local part.
    pub(super) name: Vec<u8>,
    /// Whose it is.
    pub(super) user: Vec<u8>,
    /// Which of that user's extensions it is.
    pub(super) ext: Vec<u8>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Lists {
    include: Option<Set>,
    exclude: Set,
    mailnames: Map,
    /// `users/subusers`.
    pub(super) subusers: Vec<SubUser>,
    /// `users/append`, as it stands there.
    pub(super) append: Vec<u8>,
}

impl Lists {
    /// Reads them.
    pub(super) fn read(home: &Home) -> Result<Self, ListError> {
        let files = Control::at(home.path("users"));
        let path = home.path("users/subusers");
        let text = text(&path)?;
        Ok(Self {
            include: files.set("include")?,
            exclude: files.set("exclude")?.unwrap_or_default(),
            mailnames: files.map("mailnames")?.unwrap_or_default(),
            subusers: subusers(&text).map_err(|line| ListError::Line(path, line))?,
            append: self::text(&home.path("users/append"))?,
        })
    }

    /// Whether this user gets mail.
    pub(super) fn takes(&self, user: &[u8]) -> bool {
        let included = self.include.as_ref().is_none_or(|include| include.contains(user));
        included && !self.exclude.contains(user)
    }

    /// The names under which the user gets mail.
    pub(super) fn names<'a>(&'a self, user: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let names = self.mailnames.get(user).unwrap_or(user);
        names.split(|&c| c == b':').filter(|name| !name.is_empty())
    }
}

/// The whole file; nothing if it is not there.
fn text(path: &PathBuf) -> Result<Vec<u8>, ListError> {
    let mut text = Vec::new();
    let read = match File::open(path) {
        Ok(file) => file.take(limits::CONTROL_FILE as u64 + 1).read_to_end(&mut text),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(text),
        Err(err) => Err(err),
    };
    read.map_err(|err| ListError::Io(path.clone(), err))?;
    if text.len() > limits::CONTROL_FILE {
        return Err(ListError::TooLong(path.clone()));
    }
    Ok(text)
}

/// The lines of `users/subusers`; the number of the first bad one. Stock passes over such a line,
/// and the mail of its subuser goes to somebody else or back.
fn subusers(text: &[u8]) -> Result<Vec<SubUser>, usize> {
    let lines = (1..).zip(text.split(|&c| c == b'\n').map(<[u8]>::trim_ascii_end));
    let counted = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
    counted.map(|(number, line)| subuser(line).ok_or(number)).collect()
}

fn subuser(line: &[u8]) -> Option<SubUser> {
    let mut fields = line.split(|&c| c == b':');
    let mut next = || fields.next().filter(|field| !field.contains(&0)).map(<[u8]>::to_vec);
    let (name, user, ext) = (next()?, next()?, next()?);
    // The third ends in a colon too.
    next()?;
    (!name.is_empty()).then_some(SubUser { name, user, ext })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subuser_has_three_fields_each_with_its_colon() {
        let text = b"# ours\n\nlist:joe:l: \nx:ann::more\n";
        let found = subusers(text).unwrap();
        let list = SubUser { name: b"list".into(), user: b"joe".into(), ext: b"l".into() };
        assert_eq!(found.first(), Some(&list));
        assert_eq!(found.get(1).map(|sub| &sub.ext[..]), Some(&b""[..]));
        assert_eq!(subusers(b"a:b:c:\nlist:joe:l\n"), Err(2));
        assert_eq!(subusers(b":joe:l:\n"), Err(1));
    }

    #[test]
    fn who_gets_mail_is_included_if_there_is_a_list_and_not_excluded() {
        let set = |line: &'static [u8]| Set::from_lines([line]);
        let lists = |include| Lists {
            include,
            exclude: set(b"Bin"),
            mailnames: Map::from_lines([&b"joe:j:joseph::"[..]]),
            subusers: Vec::new(),
            append: Vec::new(),
        };
        assert!(lists(None).takes(b"joe") && !lists(None).takes(b"bin"));
        assert!(lists(Some(set(b"ann"))).takes(b"ann") && !lists(Some(set(b"ann"))).takes(b"joe"));
        assert!(lists(None).names(b"joe").eq([&b"j"[..], b"joseph"]));
        assert!(lists(None).names(b"ann").eq([&b"ann"[..]]));
    }
}
