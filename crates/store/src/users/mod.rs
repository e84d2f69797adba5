//! From an address to a mailbox: the one way, for the RCPT check, for deliveries and for logins.
//!
//! [`routing`] says whether an address is ours and what its local part becomes, [`lookup`] whose
//! that local part is (`users/cdb`, then what `qmail-getpw` answers: the system's own users, then
//! `alias`), [`dotqmail`] which `.qmail` file rules it.

pub mod assign;
pub mod dotqmail;
pub mod exists;
pub mod getpw;
pub mod routing;

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::errno;

pub use exists::{Exists, mailbox_exists};
pub use routing::{Domains, Route, Routing, resolve};

use crate::home::Home;

/// Whose mailbox it is, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name of the user.
    pub user: Vec<u8>,
    /// As whom deliveries are made.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The directory with the `.qmail` files; absolute.
    pub home: Vec<u8>,
    /// What stands between `.qmail` and the extension: empty, or `-`.
    pub dash: Vec<u8>,
    /// The extension, in the case it was written in.
    pub ext: Vec<u8>,
}

impl Account {
    /// The account's ids; its one group is `gid`.
    pub fn ids(&self) -> sys::user::Ids {
        sys::user::Ids { uid: self.uid, gid: self.gid, groups: vec![self.gid] }
    }
}

/// An account could not be looked up now. Each has stock `qmail-lspawn`'s exit code.
#[derive(Debug)]
pub enum LookupError {
    /// `users/cdb` cannot be read or is damaged.
    Cdb(PathBuf, io::Error),
    /// A user's home cannot be looked at now.
    Home(Vec<u8>, io::Error),
    /// There is no alias user.
    NoAlias(String),
    /// `/etc/passwd` cannot be read.
    Passwd(io::Error),
    /// `bin/qmail-getpw` cannot be run.
    Run(PathBuf, io::Error),
    /// A site's own `bin/qmail-getpw` gave no answer: the exit code that tells, and why.
    Program(PathBuf, u8, String),
}

impl LookupError {
    /// The exit code between stock `qmail-getpw` and `qmail-lspawn`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Home(..) => 115,
            Self::NoAlias(_) => 116,
            Self::Cdb(..) => 117,
            Self::Passwd(_) => 118,
            Self::Run(..) => 121,
            Self::Program(_, code, _) => *code,
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cdb(path, err) => {
                let damaged = err.kind() == io::ErrorKind::InvalidData;
                let why = if damaged { "it is damaged" } else { errno::text(err) };
                let mend = "run qmail-newu; every program must be able to read it";
                write!(f, "unable to use {}: {why} (mend: {mend})", path.display())
            }
            Self::Home(home, err) => {
                let home = String::from_utf8_lossy(home);
                write!(f, "unable to stat {home}: {}", errno::text(err))
            }
            Self::NoAlias(why) => write!(f, "unable to find alias user: {why}"),
            Self::Passwd(err) => write!(f, "unable to read /etc/passwd: {}", errno::text(err)),
            Self::Run(path, err) => {
                let (path, err) = (path.display(), errno::text(err));
                write!(f, "unable to run {path}: {err} (mend: run qmailctl setup)")
            }
            Self::Program(path, _, why) => write!(f, "{} {why}", path.display()),
        }
    }
}

impl std::error::Error for LookupError {}

/// Whose the local part is. Never nobody: what no account claims is the alias user's.
///
/// # Errors
/// [`LookupError`]: it cannot be told now.
pub fn lookup(home: &Home, local: &[u8]) -> Result<Account, LookupError> {
    Directory::new(home).lookup(local)
}

/// [`lookup`] with `users/cdb` kept in memory for as long as the file stays the same.
#[derive(Debug)]
pub struct Directory {
    home: Home,
    cdb: Option<(Stamp, Vec<u8>)>,
    /// Until this moment of [`sys::clock::monotonic`] what is in memory is not compared.
    believed: Duration,
    /// How long a look at the file is good for.
    good_for: Duration,
    /// The last trouble that [`Directory::refresh`] had.
    told: Option<String>,
}

/// What changes when a file is replaced: device, inode, length, mtime in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    /// The stamp of an open or named file.
    pub fn of(meta: &std::fs::Metadata) -> Self {
        Self(meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())
    }
}

impl Directory {
    /// The users of `home`; nothing is read yet.
    pub fn new(home: &Home) -> Self {
        let (believed, good_for) = (Duration::ZERO, Duration::ZERO);
        Self { home: home.clone(), cdb: None, believed, good_for, told: None }
    }

    /// The home whose users they are.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Takes what is in memory for what the file says until this moment of
    /// [`sys::clock::monotonic`]: for who has just looked, or is told of changes.
    pub fn believe_until(&mut self, moment: Duration) {
        self.believed = moment;
    }

    /// From now on a look at the file is good for so long: for who asks at every recipient.
    pub fn look_every(&mut self, period: Duration) {
        self.good_for = period;
    }

    /// As the function [`lookup`].
    ///
    /// # Errors
    /// [`LookupError`]: it cannot be told now.
    pub fn lookup(&mut self, local: &[u8]) -> Result<Account, LookupError> {
        self.lookup_from(local).map(|(account, _)| account)
    }

    /// The same, and whether it is `users/assign` that gives the account.
    ///
    /// # Errors
    /// [`LookupError`]: it cannot be told now.
    pub fn lookup_from(&mut self, local: &[u8]) -> Result<(Account, bool), LookupError> {
        match self.assigned(local)? {
            Some(account) => Ok((account, true)),
            None => getpw::ask(&self.home, local).map(|account| (account, false)),
        }
    }

    /// The same for who may run no program; `None` if a site's own `bin/qmail-getpw` would have to be
    /// asked.
    ///
    /// # Errors
    /// [`LookupError`]: it cannot be told now.
    pub fn known(&mut self, local: &[u8]) -> Result<Option<Account>, LookupError> {
        match self.assigned(local)? {
            Some(account) => Ok(Some(account)),
            None => getpw::known(&self.home, local),
        }
    }

    /// The account `users/assign` gives the local part; `None` if it gives none.
    ///
    /// # Errors
    /// [`LookupError::Cdb`].
    pub fn assigned(&mut self, local: &[u8]) -> Result<Option<Account>, LookupError> {
        let path = self.home.path("users/cdb");
        let wrong = |err| LookupError::Cdb(path.clone(), err);
        self.reread(&path).map_err(wrong)?;
        let Some((_, cdb)) = &self.cdb else { return Ok(None) };
        assign::find(cdb, local)
            .map_err(|err| wrong(io::Error::new(io::ErrorKind::InvalidData, err.to_string())))
    }

    /// Reads `users/cdb` now if it is another file than before, so that children forked later find
    /// it in memory. What there is to say if it cannot be, and was not said before; such trouble is
    /// also told by [`Directory::lookup`].
    pub fn refresh(&mut self) -> Option<String> {
        let path = self.home.path("users/cdb");
        let trouble = self.reread(&path).err();
        let trouble = trouble.map(|err| LookupError::Cdb(path, err).to_string());
        let news = trouble.clone().filter(|_| trouble != self.told);
        self.told = trouble;
        news
    }

    /// Reads the file again if it is another one than before.
    fn reread(&mut self, path: &Path) -> io::Result<()> {
        let now = sys::clock::monotonic();
        if self.cdb.is_some() && now < self.believed {
            return Ok(());
        }
        let mut file = match std::fs::File::open(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                self.cdb = None;
                return Ok(());
            }
            opened => opened?,
        };
        let stamp = Stamp::of(&file.metadata()?);
        if self.cdb.as_ref().is_none_or(|(known, _)| *known != stamp) {
            let mut cdb = Vec::new();
            file.read_to_end(&mut cdb)?;
            // As whole as one look can tell: nobody's entry is asked for as anybody's would be.
            assign::find(&cdb, b"")
                .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err.to_string()))?;
            self.cdb = Some((stamp, cdb));
        }
        self.believed = self.believed.max(now.saturating_add(self.good_for));
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::home::bytes;
    use yard::{Kept, Yard};

    /// A private home of its own for a test.
    pub(crate) fn home(tag: &str) -> Kept<Home> {
        let dir = Yard::new(&format!("users-{tag}"));
        for below in ["control", "users", "alias"] {
            std::fs::create_dir_all(dir.join(below)).unwrap();
        }
        // A system home needs its roles; a private one ignores them.
        let roles: String = ["alias", "qmaild", "qmaill", "qmailp", "qmailq", "qmailr", "qmails"]
            .iter()
            .map(|name| format!("{name}:47790:42108\n"))
            .collect();
        std::fs::write(dir.join("users/roles"), roles).unwrap();
        let home = Home::at(&dir).unwrap();
        dir.keep(home)
    }

    #[test]
    fn what_nobody_claims_is_the_alias_users() {
        let home = home("alias");
        let account = lookup(&home, b"No-Such.User").unwrap();
        assert_eq!((&account.user[..], &account.dash[..]), (&b"alias"[..], &b"-"[..]));
        assert_eq!(account.ext, b"No-Such.User");
        assert_eq!(account.home, bytes(&home.path("alias")));
    }

    #[test]
    fn root_never_gets_mail_directly() {
        assert_eq!(lookup(&home("root"), b"root-x").unwrap().user, b"alias");
    }

    #[test]
    fn a_replaced_file_is_read_again_and_a_damaged_one_is_an_error() {
        let home = home("cdb");
        let mut users = Directory::new(&home);
        let put = |text: &[u8]| {
            let cdb = assign::compile(text).unwrap();
            std::fs::write(home.path("users/cdb.tmp"), cdb).unwrap();
            std::fs::rename(home.path("users/cdb.tmp"), home.path("users/cdb")).unwrap();
        };
        put(b"=joe:joe:5:6:/j:::\n.\n");
        assert_eq!(users.lookup(b"JOE").unwrap().uid, 5);
        put(b"=joe:joe:7:6:/joe:::\n.\n");
        assert_eq!(users.lookup(b"joe").unwrap().uid, 7);
        assert_eq!(users.refresh(), None);
        std::fs::write(home.path("users/cdb"), b"").unwrap();
        assert_eq!(users.lookup(b"joe").unwrap_err().exit_code(), 117);
        assert!(users.refresh().is_some_and(|said| said.contains("users/cdb")));
        assert_eq!(users.refresh(), None);
        put(b"=joe:joe:7:6:/joe:::\n.\n");
        assert_eq!((users.refresh(), users.lookup(b"joe").unwrap().uid), (None, 7));
        std::fs::write(home.path("users/cdb"), b"").unwrap();
        assert!(users.refresh().is_some());
    }
}
