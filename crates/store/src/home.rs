//! Where this mail system lives, and as whom its programs run.
//!
//! A home owned by root is a *system* home: each role has a uid of its own. A home owned by anybody
//! else is *private*: everything runs under that one uid and nobody switches.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sys::errno;
use sys::user::Ids;

/// Where the home is if nothing says otherwise.
pub const DEFAULT: &str = "/var/qmail";

/// Bytes of `users/roles` that are read at most.
const ROLES_FILE: u64 = 64 << 10;

/// One mail system's directory: `control/`, `users/`, `queue/`, `bin/`, … lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    uid: u32,
    gid: u32,
}

/// The home, or its list of roles, cannot be used; the text says which file and how to mend it.
#[derive(Debug)]
pub enum HomeError {
    /// The directory cannot be looked at.
    Home(PathBuf, io::Error),
    /// `users/roles`, `/etc/passwd` or `/etc/group` cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A line of `users/roles` is not `name:uid:gid`.
    Line(PathBuf, usize),
    /// Nobody says which uid (or gid) this role has.
    Missing(PathBuf, &'static str),
}

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(path, err) => write!(
                f,
                "unable to use the home {}: {} (set QMAILHOME to the right directory)",
                path.display(),
                errno::text(err)
            ),
            Self::Unreadable(path, err) => {
                write!(f, "unable to read {}: {}", path.display(), errno::text(err))
            }
            Self::Line(path, line) => write!(
                f,
                "{} line {line} is not name:uid:gid with numbers: correct it",
                path.display()
            ),
            Self::Missing(path, name) => write!(
                f,
                "no uid or gid for {name}: add a line {name}:uid:gid to {} or make the account",
                path.display()
            ),
        }
    }
}

impl std::error::Error for HomeError {}

impl Home {
    /// The home this process belongs to: `$QMAILHOME`; else the directory above this program's
    /// `bin/` if it has a `control/`; else [`DEFAULT`].
    ///
    /// # Errors
    /// [`HomeError::Home`] if that directory cannot be looked at.
    pub fn find() -> Result<Self, HomeError> {
        Self::at(choose(std::env::var_os("QMAILHOME"), std::env::current_exe().ok().as_deref()))
    }

    /// The home at `root`.
    ///
    /// # Errors
    /// [`HomeError::Home`] if it cannot be looked at.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let root = root.into();
        match std::fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => Ok(Self { uid: meta.uid(), gid: meta.gid(), root }),
            Ok(_) => Err(HomeError::Home(root, io::ErrorKind::NotADirectory.into())),
            Err(err) => Err(HomeError::Home(root, err)),
        }
    }

    /// The path of `below`, a path relative to the home.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// The home's own path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The uid that owns the home.
    pub fn owner(&self) -> u32 {
        self.uid
    }

    /// The owner's uid and gid.
    pub fn owner_ids(&self) -> Ids {
        ids(self.uid, self.gid)
    }

    /// Whether everything runs under the owner's uid (the owner is not root).
    pub fn is_private(&self) -> bool {
        self.uid != 0
    }

    /// The program of this name that a site has put into `bin/`; `None` if it is ours there, one with
    /// `bin/qmail`, or if this home has no programs.
    ///
    /// # Errors
    /// It is not there, or cannot be looked at.
    pub fn replacement(&self, program: &str) -> io::Result<Option<PathBuf>> {
        let bin = self.path("bin");
        let ours = match std::fs::metadata(bin.join("qmail")) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            found => found.ok(),
        };
        let program = bin.join(program);
        match std::fs::metadata(&program) {
            Ok(meta) if ours.as_ref().is_some_and(|ours| sys::file::is_same(ours, &meta)) => {
                Ok(None)
            }
            Ok(_) => Ok(Some(program)),
            Err(err) if err.kind() == io::ErrorKind::NotFound && ours.is_none() => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// As whom each role runs.
    ///
    /// # Errors
    /// [`HomeError`] if a system home's roles are not all known.
    pub fn roles(&self) -> Result<Roles, HomeError> {
        if self.is_private() { Ok(Roles::all(&self.owner_ids())) } else { Roles::read(self) }
    }
}

/// [`Home::find`]'s choice, apart from the machine.
fn choose(variable: Option<OsString>, program: Option<&Path>) -> PathBuf {
    if let Some(home) = variable.filter(|home| !home.is_empty()) {
        return home.into();
    }
    let beside = program.and_then(|program| {
        let bin = program.parent().filter(|dir| dir.ends_with("bin"))?;
        bin.parent().filter(|home| home.join("control").is_dir())
    });
    beside.map_or_else(|| DEFAULT.into(), Path::to_path_buf)
}

/// Ids whose only group is `gid`, as stock programs run.
fn ids(uid: u32, gid: u32) -> Ids {
    Ids { uid, gid, groups: vec![gid] }
}

/// A role's uid and gid, if the source knows it.
type Found = Result<Option<(u32, u32)>, HomeError>;

/// The users and groups of the mail system (stock `conf-users`, `conf-groups`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Receives what no account claims.
    pub alias: Ids,
    /// Hears the network.
    pub qmaild: Ids,
    /// Writes logs.
    pub qmaill: Ids,
    /// Looks up users.
    pub qmailp: Ids,
    /// Owns the queue.
    pub qmailq: Ids,
    /// Speaks to other hosts.
    pub qmailr: Ids,
    /// Schedules deliveries.
    pub qmails: Ids,
    /// gid of group `qmail`.
    pub qmail: u32,
    /// gid of group `nofiles`.
    pub nofiles: u32,
}

impl Roles {
    /// Every role is `ids` (a private home).
    pub fn all(ids: &Ids) -> Self {
        let one = || ids.clone();
        Self {
            alias: one(),
            qmaild: one(),
            qmaill: one(),
            qmailp: one(),
            qmailq: one(),
            qmailr: one(),
            qmails: one(),
            qmail: ids.gid,
            nofiles: ids.gid,
        }
    }

    /// From `users/roles` if it is there, else from the system's accounts.
    fn read(home: &Home) -> Result<Self, HomeError> {
        let path = home.path("users/roles");
        let listed = match read_bounded(&path) {
            Ok(text) => Some(parse(&path, &text)?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(HomeError::Unreadable(path, err)),
        };
        Self::from_source(&path, &|name| match &listed {
            Some(lines) => Ok(lines.iter().find(|l| l.0 == name).map(|l| (l.1, l.2))),
            None => account(name),
        })
    }

    /// Asks `source` for every role's uid and gid.
    fn from_source(path: &Path, source: &dyn Fn(&str) -> Found) -> Result<Self, HomeError> {
        let role = |name: &'static str| {
            let found = source(name)?.filter(|found| found.0 != 0);
            let (uid, gid) = found.ok_or_else(|| HomeError::Missing(path.into(), name))?;
            Ok(ids(uid, gid))
        };
        let (alias, qmailq) = (role("alias")?, role("qmailq")?);
        Ok(Self {
            qmail: qmailq.gid,
            nofiles: alias.gid,
            qmaild: role("qmaild")?,
            qmaill: role("qmaill")?,
            qmailp: role("qmailp")?,
            qmailr: role("qmailr")?,
            qmails: role("qmails")?,
            alias,
            qmailq,
        })
    }
}

/// The uid and gid of a system account.
fn account(name: &str) -> Found {
    let found = sys::user::by_name(name.as_bytes())
        .map_err(|err| HomeError::Unreadable("/etc/passwd".into(), err))?;
    Ok(found.map(|passwd| (passwd.uid, passwd.gid)))
}

/// The lines `name:uid:gid` of `users/roles`; empty lines and `#` comments are skipped.
fn parse(path: &Path, text: &[u8]) -> Result<Vec<(String, u32, u32)>, HomeError> {
    let mut roles = Vec::new();
    for (n, line) in text.split(|&c| c == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line.trim_ascii());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split(':');
        let fields = (fields.next(), number(fields.next()), number(fields.next()), fields.next());
        let (Some(name), Some(uid), Some(gid), None) = fields else {
            return Err(HomeError::Line(path.into(), n.saturating_add(1)));
        };
        roles.push((name.to_owned(), uid, gid));
    }
    Ok(roles)
}

fn number(field: Option<&str>) -> Option<u32> {
    field?.parse().ok()
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(ROLES_FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// The absolute path's bytes, for messages and records that want bytes.
pub fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn the_variable_wins_and_an_empty_one_does_not_count() {
        assert_eq!(
            choose(Some("/srv/q".into()), Some(Path::new("/x/bin/qmail"))),
            Path::new("/srv/q")
        );
        assert_eq!(choose(Some("".into()), None), Path::new(DEFAULT));
    }

    #[test]
    fn a_program_in_a_homes_bin_finds_that_home() {
        let dir = Yard::new("home-test");
        std::fs::create_dir_all(dir.join("control")).unwrap();
        assert_eq!(choose(None, Some(&dir.join("bin/qmail"))), &*dir);
        assert_eq!(choose(None, Some(&dir.join("sbin/qmail"))), Path::new(DEFAULT));
        let home = Home::at(&dir).unwrap();
        assert_eq!(home.owner(), std::fs::metadata(&dir).unwrap().uid());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(Home::at(&dir).is_err());
    }

    #[test]
    fn roles_are_read_and_a_bad_line_is_named() {
        let path = Path::new("/q/users/roles");
        let text = b"# ours\nalias:47790:42108\nqmailq:5:6\n";
        let lines = parse(path, text).unwrap();
        assert_eq!(lines, [("alias".into(), 47790, 42108), ("qmailq".into(), 5, 6)]);
        let err = parse(path, b"alias:1:2\nqmaild:x:2\n").unwrap_err();
        assert!(err.to_string().starts_with("/q/users/roles line 2 "), "{err}");
    }

    #[test]
    fn a_role_may_be_neither_absent_nor_root() {
        let path = Path::new("/q/users/roles");
        let all = Roles::from_source(path, &|_| Ok(Some((7, 8)))).unwrap();
        assert_eq!((all.qmails.uid, all.nofiles), (7, 8));
        for got in [None, Some((0, 0))] {
            let err = Roles::from_source(path, &|_| Ok(got)).unwrap_err();
            assert!(err.to_string().contains("alias:uid:gid"), "{err}");
        }
    }
}
