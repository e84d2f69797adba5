//! tell a user at his terminals that a letter has come
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* `utmp` and the terminals it
//! names · *speaks to* the user

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use base::limits;
use sys::{fd, file, user};

use super::screen::{glance, plain};
use super::utmp::terminals;
use super::variable;

/// Where logins are noted; where there is no such file nobody is told.
const UTMP: &str = "/var/run/utmp";
/// The longest such file that is read.
const LONGEST: usize = 4 << 20;
/// Characters of subject and body.
const TEXT: usize = 74;

/// The program. It never stands in a letter's way.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    let _nobody_told = tell();
    0
}

fn tell() -> Option<()> {
    let [user, sender, local] = ["USER", "SENDER", "LOCAL"].map(variable);
    let (user, sender, local) = (user?, sender?, local?);
    let logins = file::open_read(UTMP).and_then(|utmp| fd::read_to_end(&utmp, LONGEST)).ok()?;
    let letter = glance(|buf| fd::read(fd::stdin(), buf)).ok()?;
    let notice = notice(&local, &sender, &letter.text);
    for line in terminals(&logins, &user) {
        let terminal = file::open_write(Path::new("/dev").join(line));
        if let Some(terminal) = terminal.ok().filter(wants_notices) {
            // Half of it, if the terminal is stopped.
            let _ = fd::write_all(&terminal, &notice);
        }
    }
    Some(())
}

/// Whether its owner, who is us, has said `biff y`.
fn wants_notices(terminal: &File) -> bool {
    terminal.metadata().is_ok_and(|it| {
        let open = it.permissions().mode() & 0o100 != 0;
        open && it.file_type().is_char_device() && it.uid() == user::uid()
    })
}

/// What the terminal gets.
fn notice(local: &[u8], sender: &[u8], text: &[u8]) -> Vec<u8> {
    let [local, sender] = [local, sender].map(|address| plain(address, limits::ADDRESS));
    let text = plain(text, TEXT);
    format!("\r\n\x07*** TO <{local}> FROM <{sender}>\r\n    {text}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_two_lines_and_no_orders_for_the_terminal() {
        let text = format!("hi\nthere\x1b[2J{}", "x".repeat(100));
        let got = notice(b"joe-list", b"a\x1b@b", text.as_bytes());
        let want = "\r\n\x07*** TO <joe-list> FROM <a/@b>\r\n    hi/there/[2J";
        assert_eq!(got, format!("{want}{}\r\n", "x".repeat(74 - 12)).into_bytes());
    }

    #[test]
    fn only_a_terminal_of_ours_is_written_to() {
        assert!(!wants_notices(&File::open("/dev/null").unwrap()));
        assert!(!wants_notices(&File::open("/proc/self/exe").unwrap()));
    }
}
