//! Is there a mailbox? Asked at RCPT, before a letter is taken that could only be bounced.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::address::split;

use super::dotqmail::{candidates, is_unsettled};
use super::routing::{Route, Routing, resolve};
use super::{Account, Directory, LookupError};
use crate::home::Home;

/// Whether deliveries to an address can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exists {
    /// There is a mailbox, or a `.qmail` file that takes it.
    Yes,
    /// A delivery would fail with "no mailbox here by that name".
    No,
    /// It cannot be told here and now (a home that is closed, away or being edited, another host's
    /// address, accounts that only a site's own qmail-getpw knows): take the letter.
    Unknown,
    /// Of nobody can it be told: `users/cdb` cannot be read or is damaged. A delivery would be put
    /// off, and so is the letter.
    Unsure,
}

/// Whether `address` has a mailbox here; `routing` says what it becomes. An address with an empty
/// local part has none, not even with a catch-all: qmail-lspawn throws a letter to it away, and who
/// sends from elsewhere does not mean that.
pub fn mailbox_exists(home: &Home, routing: &Routing, address: &[u8]) -> Exists {
    mailbox_exists_in(&mut Directory::new(home), routing, address)
}

/// [`mailbox_exists`] with the users kept in memory.
pub fn mailbox_exists_in(users: &mut Directory, routing: &Routing, address: &[u8]) -> Exists {
    let Route::Local(address) = resolve(routing, address) else { return Exists::Unknown };
    match split(&address).0 {
        b"" => Exists::No,
        local => match users.known(local) {
            Ok(Some(account)) => takes(&account),
            Err(LookupError::Cdb(..)) => Exists::Unsure,
            Ok(None) | Err(_) => Exists::Unknown,
        },
    }
}

/// Whether the account takes its extension: without one always (default delivery), else by a
/// `.qmail` file. What is not in a home that a delivery would not enter now may be there later.
pub fn takes(account: &Account) -> Exists {
    let home = Path::new(OsStr::from_bytes(&account.home));
    if account.dash.is_empty() {
        return Exists::Yes;
    }
    for candidate in candidates(&account.dash, &account.ext) {
        match std::fs::metadata(home.join(OsStr::from_bytes(&candidate.name))) {
            Ok(meta) if meta.is_file() => return Exists::Yes,
            Err(err) if is_unsettled(&err) => return Exists::Unknown,
            Ok(_) | Err(_) => {}
        }
    }
    if is_open(home) { Exists::No } else { Exists::Unknown }
}

/// Whether qmail-local would enter this home: it puts everything off where there is none, where
/// others may write, and where its user is editing (the sticky bit).
fn is_open(home: &Path) -> bool {
    std::fs::metadata(home).is_ok_and(|home| home.is_dir() && home.mode() & 0o1002 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Map, Set};
    use crate::users::{assign, tests::home};
    use base::cdb;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_mailbox_is_an_account_or_a_qmail_file_that_takes_it() {
        let home = home("exists");
        let joe = home.path("joe");
        std::fs::create_dir_all(&joe).unwrap();
        let text = format!(
            "=joe:joe:1:1:{0}:::\n+joe-:joe:1:1:{0}:-::\n+v-:joe:1:1:{0}:-:v-:\n.\n",
            joe.display()
        );
        std::fs::write(home.path("users/cdb"), assign::compile(text.as_bytes()).unwrap()).unwrap();
        std::fs::write(joe.join(".qmail-list-default"), "").unwrap();
        std::fs::write(home.path("alias/.qmail-post:master"), "").unwrap();
        let routing = Routing {
            locals: Set::from_lines([&b"loc"[..]]),
            virtualdomains: Map::from_lines([&b"virt:v"[..]]),
            envnoathost: b"loc".to_vec(),
            ..Routing::default()
        };
        let ask = |address: &[u8]| mailbox_exists(&home, &routing, address);
        for yes in [&b"joe"[..], b"JOE@loc", b"joe-list-x@loc", b"Post.Master@loc"] {
            assert_eq!(ask(yes), Exists::Yes);
        }
        for no in [&b"joe-x@loc"[..], b"nobody@loc", b"x@virt", b"@loc", b""] {
            assert_eq!(ask(no), Exists::No);
        }
        std::fs::write(home.path("alias/.qmail-default"), "").unwrap();
        assert_eq!((ask(b"nobody@loc"), ask(b"@loc")), (Exists::Yes, Exists::No));
        assert_eq!(ask(b"x@elsewhere"), Exists::Unknown);
        std::fs::write(joe.join(".qmail-v-default"), "").unwrap();
        assert_eq!(ask(b"x@virt"), Exists::Yes);
    }

    #[test]
    fn nobody_is_missing_from_a_home_that_a_delivery_would_not_enter_now() {
        let home = home("exists-away");
        let joe = home.path("joe");
        std::fs::create_dir_all(&joe).unwrap();
        let text = format!("+joe-:joe:1:1:{}:-::\n.\n", joe.display());
        std::fs::write(home.path("users/cdb"), assign::compile(text.as_bytes()).unwrap()).unwrap();
        let locals = Set::from_lines([&b"loc"[..]]);
        let routing = Routing { locals, ..Routing::default() };
        let ask =
            || [&b"joe-x@loc"[..], b"sales@loc"].map(|who| mailbox_exists(&home, &routing, who));
        assert_eq!(ask(), [Exists::No; 2]);
        for mode in [0o1755, 0o757] {
            std::fs::set_permissions(&joe, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(ask(), [Exists::Unknown, Exists::No], "{mode:o}");
        }
        std::fs::rename(&joe, home.path("joe.away")).unwrap();
        std::fs::rename(home.path("alias"), home.path("alias.away")).unwrap();
        assert_eq!(ask(), [Exists::Unknown; 2]);
        std::fs::write(&joe, "").unwrap();
        assert_eq!(ask(), [Exists::Unknown; 2]);
    }

    #[test]
    fn with_a_broken_table_of_users_nobody_can_be_judged() {
        let home = home("exists-cdb");
        let locals = Set::from_lines([&b"loc"[..]]);
        let routing = Routing { locals, ..Routing::default() };
        let ask = |who: &[u8]| mailbox_exists(&home, &routing, who);
        for broken in [&b""[..], b"garbage", &[0; 2_048], &cdb::Writer::new().finish()] {
            std::fs::write(home.path("users/cdb"), broken).unwrap();
            assert_eq!(ask(b"joe@loc"), Exists::Unsure);
            assert_eq!((ask(b"x@elsewhere"), ask(b"@loc")), (Exists::Unknown, Exists::No));
        }
    }
}
