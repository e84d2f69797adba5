//! What must be so in an installation that is in order, as data: each row a place, and what is asked
//! of whatever stands there. Judged by [`super::judge`], the places found by [`super::walk`].

use super::Type;

/// Where a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// A path below the home.
    Home(&'static str),
    /// Every name in a directory below the home that begins so.
    Each(&'static str, &'static str),
    /// A path below each service that is set up; empty: the service's own directory.
    Service(&'static str),
    /// The rules for SMTP clients, and what they are compiled to.
    Clients,
    /// A path below the home of each account of `users/assign` in `mail/`; empty: that home.
    Account(&'static str),
    /// The same of each account whose home is elsewhere, as somebody has arranged it.
    Elsewhere(&'static str),
}

/// Who must own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The home's owner; root may, too.
    Home,
    /// The home's owner and nobody else.
    HomeAlone,
    /// Whom its letters are delivered as.
    User,
    /// The same, or root, who does not let them change it.
    UserOrRoot,
    /// It does not matter.
    Any,
}

/// Who must be able to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// Every program: in a system home each role is somebody else.
    Everybody,
    /// The home's owner.
    Owner,
    /// Whom its letters are delivered as.
    Account,
    /// The alias user.
    Alias,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) at: At,
    pub(super) kind: Type,
    pub(super) owner: Owner,
    /// Who needs which of r (4), w (2) and x (1).
    pub(super) needs: (User, u32),
    /// Mode bits that must not be set.
    pub(super) shut: u32,
    /// It need not be there.
    pub(super) optional: bool,
    /// What comes of it if it is not there, or cannot be used.
    pub(super) so: &'static str,
    /// What comes of it if others than should can use it.
    pub(super) danger: &'static str,
}

/// Others than the owner may write it.
pub(super) const WRITE: u32 = 0o022;
/// Everybody may write it: what qmail-local does not deliver to. A group may.
pub(super) const WORLD: u32 = 0o002;
/// Anything for anybody but the owner.
pub(super) const SECRET: u32 = 0o077;
/// Who starts it becomes somebody else.
pub(super) const SETID: u32 = 0o6000;

const FILE: Rule = Rule {
    at: At::Home(""),
    kind: Type::File,
    owner: Owner::Home,
    needs: (User::Owner, 0),
    shut: WRITE,
    optional: true,
    so: "",
    danger: "",
};
const DIRECTORY: Rule = Rule { kind: Type::Directory, optional: false, ..FILE };
/// One of the four; that it is there at all is seen by running it.
const PROGRAM: Rule = Rule { needs: (User::Everybody, 5), shut: WRITE | SETID, ..FILE };
/// A script that is run as the home's owner.
const SCRIPT: Rule = Rule {
    needs: (User::Owner, 5),
    optional: false,
    danger: "who writes it decides what is run",
    ..FILE
};
const PASSWORDS: Rule = Rule {
    owner: Owner::HomeAlone,
    needs: (User::Owner, 4),
    shut: SECRET,
    danger: "passwords can be guessed with it",
    ..FILE
};
const LETTERS: Rule = Rule {
    kind: Type::Directory,
    owner: Owner::User,
    needs: (User::Account, 7),
    shut: WORLD,
    optional: false,
    so: PUT_OFF,
    danger: PUT_OFF,
    ..FILE
};
const PUT_OFF: &str = "letters or logins are put off";

/// All of it. Of two rows for one file the first counts.
pub(super) const RULES: &[Rule] = &[
    Rule { at: At::Home("bin/daemontools"), ..PROGRAM },
    Rule { at: At::Home("bin/qmail"), ..PROGRAM },
    Rule { at: At::Home("bin/qmail-admin"), ..PROGRAM },
    Rule { at: At::Home("bin/qmail-net"), ..PROGRAM },
    Rule { at: At::Each("bin", ""), ..FILE },
    Rule { at: At::Home("rc"), needs: (User::Owner, 5), ..FILE },
    Rule { at: At::Home("account"), danger: "a password is in it", ..PASSWORDS },
    Rule { at: At::Home("users/passwords"), ..PASSWORDS },
    Rule { at: At::Home("users/passwords.cdb"), ..PASSWORDS },
    Rule {
        at: At::Home("users/lock"),
        needs: (User::Owner, 6),
        danger: "who opens it can make qmailctl wait",
        ..PASSWORDS
    },
    Rule { at: At::Home("users/roles"), needs: (User::Everybody, 4), ..FILE },
    Rule { at: At::Each("users", ""), ..FILE },
    Rule { at: At::Each("control", ""), ..FILE },
    Rule {
        at: At::Each("alias", ".qmail"),
        owner: Owner::Any,
        needs: (User::Alias, 4),
        shut: WORLD,
        so: "its letters are put off",
        danger: "its letters are put off",
        ..FILE
    },
    Rule { at: At::Service(""), needs: (User::Owner, 5), ..DIRECTORY },
    Rule { at: At::Service("run"), so: "the service cannot start", ..SCRIPT },
    Rule { at: At::Service("log"), needs: (User::Owner, 5), ..DIRECTORY },
    Rule { at: At::Service("log/run"), so: "the log is not written", ..SCRIPT },
    Rule {
        at: At::Clients,
        needs: (User::Everybody, 4),
        so: "nobody is served",
        danger: "it says who may relay",
        ..FILE
    },
    Rule { at: At::Each("mail", ""), needs: (User::Everybody, 1), ..DIRECTORY },
    Rule { at: At::Account(""), ..LETTERS },
    Rule { at: At::Account("Maildir"), ..LETTERS },
    Rule { at: At::Account("Maildir/tmp"), ..LETTERS },
    Rule { at: At::Account("Maildir/new"), ..LETTERS },
    Rule { at: At::Account("Maildir/cur"), ..LETTERS },
    Rule { at: At::Elsewhere(""), owner: Owner::UserOrRoot, needs: (User::Account, 1), ..LETTERS },
    Rule { at: At::Elsewhere("Maildir"), optional: true, ..LETTERS },
    Rule { at: At::Elsewhere("Maildir/tmp"), optional: true, ..LETTERS },
    Rule { at: At::Elsewhere("Maildir/new"), optional: true, ..LETTERS },
    Rule { at: At::Elsewhere("Maildir/cur"), optional: true, ..LETTERS },
];
