//! From a name and a secret to a mailbox: what qmail-pspawn and checkpassword have in common.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use base::address::split;
use base::wire::login::Login;
use store::control::Control;
use store::home::Home;
use store::passwords;
use store::users::{self, Account, Route, Routing, resolve};
use sys::user;

/// Why somebody does not get in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Name or secret is wrong.
    Refused,
    /// It cannot be told, or the mailbox cannot be opened; for the log.
    Trouble(String),
}

impl Denied {
    /// The exit code of the checkpassword interface (checkpassword(8)).
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Refused => 1,
            Self::Trouble(_) => 111,
        }
    }
}

/// Trouble, from any error.
pub(crate) fn trouble(err: impl std::fmt::Display) -> Denied {
    Denied::Trouble(err.to_string())
}

/// The mailbox of a login whose secret fits. Nobody gets in as root.
pub(crate) fn authenticate(home: &Home, login: &Login<'_>) -> Result<Account, Denied> {
    let routing = Routing::load(&Control::new(home)).map_err(trouble)?;
    let name = passwords::canonical(login.name, &routing.envnoathost);
    if !passwords::check(home, &name, login.secret).map_err(trouble)? {
        return Err(Denied::Refused);
    }
    let shown = || String::from_utf8_lossy(&name).into_owned();
    let Route::Local(address) = resolve(&routing, &name) else {
        let mend = "has a password, but its domain is not in control/locals or virtualdomains";
        return Err(Denied::Trouble(format!("{} {mend}", shown())));
    };
    let account = users::lookup(home, split(&address).0).map_err(trouble)?;
    if account.uid == 0 {
        return Err(Denied::Trouble(format!("{} is root's: no logins as root", shown())));
    }
    if !account.dash.is_empty() || !account.ext.is_empty() {
        let mend = "has a password, but no mailbox of its own in users/assign";
        return Err(Denied::Trouble(format!("{} {mend}", shown())));
    }
    Ok(account)
}

/// Becomes the account, in its home directory.
pub(crate) fn become_account(account: &Account) -> Result<(), Denied> {
    let shown = String::from_utf8_lossy(&account.user).into_owned();
    user::drop_to(&account.ids()).map_err(|err| {
        Denied::Trouble(format!("unable to become {shown}: {}", sys::errno::text(&err)))
    })?;
    let home = OsStr::from_bytes(&account.home);
    std::env::set_current_dir(home).map_err(|err: io::Error| {
        Denied::Trouble(format!(
            "unable to switch to {}: {}",
            home.display(),
            sys::errno::text(&err)
        ))
    })
}

/// The variables a program started for the account finds.
pub(crate) fn variables(account: &Account) -> Vec<(OsString, OsString)> {
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    vec![
        ("USER".into(), text(&account.user)),
        ("LOGNAME".into(), text(&account.user)),
        ("HOME".into(), text(&account.home)),
        ("SHELL".into(), "/bin/sh".into()),
    ]
}
