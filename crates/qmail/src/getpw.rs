//! find the system user a local part belongs to
//!
//! *Runs as* qmailp · *hears* nobody · *opens* `/etc/passwd`, `users/roles`; looks at users' homes ·
//! *speaks to* nobody

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use store::home::Home;
use store::users::getpw::{answer, print};
use sys::{fd, log};

pub(crate) fn main(args: &[OsString]) -> i32 {
    let Some(local) = args.get(1) else {
        log::say(format_args!("usage: qmail-getpw local"));
        return 100;
    };
    let home = match Home::find() {
        Ok(home) => home,
        Err(err) => {
            log::say(format_args!("fatal: {err}"));
            return 111;
        }
    };
    match answer(&home, local.as_bytes()) {
        Ok(account) => fd::write_all(fd::stdout(), &print(&account)).map_or(111, |()| 0),
        Err(err) => {
            log::say(format_args!("fatal: {err}"));
            i32::from(err.exit_code())
        }
    }
}
