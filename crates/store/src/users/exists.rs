//! Is there a mailbox? Asked at RCPT, before a letter is taken that could only be bounced.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base::address::split;

use super::dotqmail::{candidates, is_unsettled};
use super::routing::{Route, Routing, resolve};
use super::{Account, Directory};
use crate::home::Home;

/// Whether deliveries to an address can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exists {
    /// There is a mailbox, or a `.qmail` file that takes it.
    Yes,
    /// A delivery would fail with "no mailbox here by that name".
    No,
    /// It cannot be told here and now (a closed home, another host's address, accounts that only a
    /// site's own qmail-getpw knows): take the letter.
    Unknown,
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
            Ok(None) | Err(_) => Exists::Unknown,
        },
    }
}

/// Whether the account takes its extension: without one always (default delivery), else by a
/// `.qmail` file.
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
    Exists::No
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Map, Set};
    use crate::users::{assign, tests::home};

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
}
