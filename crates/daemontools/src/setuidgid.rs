//! setuidgid: run a program as another account. envuidgid: run it with that account's numbers in
//! `$UID` and `$GID`.
//!
//! *Runs as* whoever calls it, root as a rule · *hears* nobody · *opens* `/etc/passwd` ·
//! *speaks to* nobody: it becomes the program.
//!
//! Besides a name, `UID:GID` in digits is an account: a private installation has no line in
//! `/etc/passwd` for each of its parts.

use crate::message::Voice;
use crate::run::{Environment, run};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use sys::user::{self, Ids};

/// `setuidgid account child`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let voice = Voice("setuidgid");
    let [_, account, child @ ..] = args else { return voice.usage("setuidgid account child") };
    if child.is_empty() {
        return voice.usage("setuidgid account child");
    }
    let (uid, gid) = match find(voice, account) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match user::drop_to(&Ids { uid, gid, groups: vec![gid] }) {
        Ok(()) => run(voice, child, None),
        // Who is not root fails at the first step, whatever gid it has.
        Err(error) if user::euid() != 0 || user::egid() != gid => {
            voice.fatal(&[&"unable to setgid"], Some(&error))
        }
        Err(error) => voice.fatal(&[&"unable to setuid"], Some(&error)),
    }
}

/// `envuidgid account child`.
pub(crate) fn envuidgid(args: &[OsString]) -> i32 {
    let voice = Voice("envuidgid");
    let [_, account, child @ ..] = args else { return voice.usage("envuidgid account child") };
    if child.is_empty() {
        return voice.usage("envuidgid account child");
    }
    let (uid, gid) = match find(voice, account) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let mut env = Environment::ours();
    env.set("GID".as_ref(), gid.to_string().as_ref());
    env.set("UID".as_ref(), uid.to_string().as_ref());
    run(voice, child, Some(&env))
}

/// The ids of an account, or the exit code after saying what is wrong.
fn find(voice: Voice, account: &OsStr) -> Result<(u32, u32), i32> {
    match user::by_name(account.as_bytes()) {
        Ok(Some(found)) => Ok((found.uid, found.gid)),
        Ok(None) => numbers(account.as_bytes())
            .ok_or_else(|| voice.fatal(&[&"unknown account ", &account], None)),
        Err(error) => Err(voice.fatal(&[&"unable to read /etc/passwd"], Some(&error))),
    }
}

/// Reads `UID:GID`. The number -1 is no account: the kernel takes it for "leave as it is".
fn numbers(account: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(account).ok()?.split_once(':')?;
    Some((number(uid)?, number(gid)?))
}

fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&id| plain && id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_are_an_account_and_anything_else_is_not() {
        assert_eq!(numbers(b"1000:100"), Some((1000, 100)));
        for wrong in ["1000", "1000:", ":5", "+1:2", "a:b", "4294967295:1", "1:2:3", "-1:0"] {
            assert_eq!(numbers(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
