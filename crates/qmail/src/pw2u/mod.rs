//! make a users/assign of a list of the system's users
//!
//! *Runs as* whoever calls it · *hears* `/etc/passwd` or another list like it on descriptor 0 ·
//! *opens* `users/include`, `exclude`, `mailnames`, `subusers`, `append`; looks at users' homes ·
//! *speaks to* nobody

mod lists;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use store::home::Home;

use lists::{ListError, Lists, SubUser};
use options::{Homes, Options};

/// The longest line of the list of users that is read, in bytes.
const LINE: usize = 64 << 10;
/// The user whose mail is everybody else's.
const ALIAS: &[u8] = b"alias";

pub(crate) fn main(args: &[OsString]) -> i32 {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(misuse) => {
            misuse.complain(args);
            return 100;
        }
    };
    let input = BufReader::new(io::stdin().lock());
    match convert(options, input, BufWriter::new(io::stdout().lock())) {
        Ok(()) => 0,
        Err(why) => {
            let text = [b"qmail-pw2u: fatal: ", &why.text()[..], b"\n"].concat();
            sys::log::put(sys::fd::stderr(), &text);
            111
        }
    }
}

/// Why there is no `users/assign`: stock's words, and what else is known.
#[derive(Debug)]
enum Fatal {
    Home(String),
    Lists(ListError),
    NoAlias,
    /// A subuser's user gets no mail.
    NoUser(Vec<u8>),
    /// A home directory that is not there, or cannot be looked at.
    NoHome(Vec<u8>),
    Read(String),
    Write(io::Error),
}

impl Fatal {
    fn text(&self) -> Vec<u8> {
        let said = |text: fmt::Arguments<'_>| text.to_string().into_bytes();
        match self {
            Self::Home(why) => said(format_args!("unable to chdir: {why}")),
            Self::Lists(why) => said(format_args!("unable to read controls: {why}")),
            Self::NoAlias => said(format_args!("unable to find alias user")),
            Self::NoUser(user) => [&b"unable to find "[..], user, b" user for subuser"].concat(),
            Self::NoHome(home) => [&b"unable to stat "[..], home].concat(),
            Self::Read(why) => said(format_args!("unable to read input: {why}")),
            Self::Write(err) => {
                said(format_args!("unable to write output: {}", sys::errno::text(err)))
            }
        }
    }
}

impl From<io::Error> for Fatal {
    fn from(err: io::Error) -> Self {
        Self::Write(err)
    }
}

/// Reads the users and writes the assignments.
fn convert(options: Options, input: impl BufRead, out: impl Write) -> Result<(), Fatal> {
    let home = Home::find().map_err(|err| Fatal::Home(err.to_string()))?;
    let lists = Lists::read(&home).map_err(Fatal::Lists)?;
    let wanted = lists.subusers.iter().map(|sub| sub.user.to_ascii_lowercase()).collect();
    let mut table =
        Table { options, lists: &lists, wanted, users: BTreeMap::new(), alias: false, out };
    table.users(input)?;
    if !table.alias {
        return Err(Fatal::NoAlias);
    }
    lists.subusers.iter().try_for_each(|sub| table.subuser(sub))?;
    table.out.write_all(&lists.append)?;
    // A last line without its end would take the dot with it.
    let open = lists.append.last().is_some_and(|&last| last != b'\n');
    table.out.write_all(if open { b"\n.\n" } else { b".\n" })?;
    Ok(table.out.flush()?)
}

/// The assignments on their way.
struct Table<'a, W> {
    options: Options,
    lists: &'a Lists,
    /// The users that subusers belong to, in lower case.
    wanted: BTreeSet<Vec<u8>>,
    /// Those of them that were met: what their lines have in common.
    users: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The alias user was met.
    alias: bool,
    out: W,
}

/// What of a line of `/etc/passwd` counts.
#[derive(Debug, PartialEq, Eq)]
struct User<'a> {
    name: &'a [u8],
    uid: &'a [u8],
    gid: &'a [u8],
    home: &'a [u8],
}

impl<'a> User<'a> {
    /// `name:password:uid:gid:gecos:home:shell`; `None` for a line that is anything else.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&c| c == b':').take_while(|_| !line.contains(&0));
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        let home = fields.nth(1)?;
        fields.next()?;
        Some(Self { name, uid, gid, home })
    }

    /// The number the uid begins with; 0 if it begins with none.
    fn number(&self) -> u64 {
        base::number::leading(self.uid).unwrap_or(0)
    }
}

impl<W: Write> Table<'_, W> {
    fn users(&mut self, mut input: impl BufRead) -> Result<(), Fatal> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = input.by_ref().take(LINE as u64 + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|err| Fatal::Read(sys::errno::text(&err).into()))?;
            if read > LINE {
                return Err(Fatal::Read(format!("line {number} is longer than {LINE} bytes")));
            }
            if read == 0 {
                break;
            }
            if let Some(user) = User::parse(line.strip_suffix(b"\n").unwrap_or(&line)) {
                self.user(&user)?;
            }
        }
        Ok(())
    }

    /// The lines of a user who gets mail.
    fn user(&mut self, user: &User<'_>) -> Result<(), Fatal> {
        let &User { name, uid, gid, home } = user;
        let hidden = !self.options.capitals && name.iter().any(u8::is_ascii_uppercase);
        if user.number() == 0 || hidden || !self.lists.takes(name) || !self.lives(user)? {
            return Ok(());
        }
        let common = [b":", name, b":", uid, b":", gid, b":", home, b":"].concat();
        let key = name.to_ascii_lowercase();
        if self.wanted.contains(&key) {
            self.users.insert(key, common.clone());
        }
        if name == ALIAS {
            self.alias = true;
            self.put(&[b"+", &common, self.options.dash.as_bytes(), b"::\n"])?;
        }
        let lists = self.lists;
        for mailname in lists.names(name) {
            self.put(&[b"=", mailname, &common, b"::\n"])?;
            if let Some(separator) = self.options.separator {
                let dash = self.options.dash.as_bytes();
                self.put(&[b"+", mailname, &[separator], &common, dash, b"::\n"])?;
            }
        }
        Ok(())
    }

    /// Whether a user's home is as it has to be.
    fn lives(&self, user: &User<'_>) -> Result<bool, Fatal> {
        if self.options.homes == Homes::Unchecked {
            return Ok(true);
        }
        match std::fs::metadata(OsStr::from_bytes(user.home)) {
            Ok(meta) => Ok(u64::from(meta.uid()) == user.number()),
            Err(err)
                if err.kind() == io::ErrorKind::NotFound && self.options.homes == Homes::Owned =>
            {
                Ok(false)
            }
            Err(_) => Err(Fatal::NoHome(user.home.to_vec())),
        }
    }

    fn subuser(&mut self, sub: &SubUser) -> Result<(), Fatal> {
        let SubUser { name, user, ext } = sub;
        let common = self.users.get(&user.to_ascii_lowercase()).cloned();
        let common = common.ok_or_else(|| Fatal::NoUser(user.clone()))?;
        let dash = [self.options.dash.as_bytes(), b":"].concat();
        self.put(&[b"=", name, &common, &dash, ext, b":\n"])?;
        if let Some(separator) = self.options.separator {
            self.put(&[b"+", name, &[separator], &common, &dash, ext, &[separator], b":\n"])?;
        }
        Ok(())
    }

    fn put(&mut self, pieces: &[&[u8]]) -> Result<(), Fatal> {
        Ok(self.out.write_all(&pieces.concat())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_line_with_seven_fields() {
        let user = User::parse(b"joe:x:1000:100:Joe, Esq.:/home/joe:/bin/sh").unwrap();
        assert_eq!((user.number(), user.gid, user.home), (1000, &b"100"[..], &b"/home/joe"[..]));
        for line in [&b"joe:x:1000:100:Joe:/home/joe"[..], b"joe\0:x:1:1:::", b"", b"joe"] {
            assert_eq!(User::parse(line), None);
        }
        assert_eq!(User::parse(b"+:::::::").map(|user| user.number()), Some(0));
    }
}
