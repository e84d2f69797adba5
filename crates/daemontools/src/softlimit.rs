//! softlimit: run a program under resource limits.
//!
//! *Runs as* whoever calls it · *hears* nobody · *opens* the program, to see what it needs ·
//! *speaks to* nobody: it becomes the program. Only soft limits are changed, and never above the hard ones.

use crate::message::Voice;
use crate::room;
use crate::run::become_it;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use sys::getopt::Opt;
use sys::rlimit::{self, Resource};

const VOICE: Voice = Voice("softlimit");
const USAGE: &str = "softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] \
     [-l lockbytes] [-m membytes] [-o openfiles] [-p processes] [-r residentbytes] \
     [-s stackbytes] [-t cpusecs] child";

/// `softlimit [options] child`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let (options, child) = match VOICE.getopt(args, "a:c:d:f:l:m:o:p:r:s:t:", USAGE) {
        Ok(found) => found,
        Err(code) => return code,
    };
    // Looked at before there is no memory left for it.
    let looked = child.first().and_then(|child| Some((child, room::look(child)?)));
    for option in &options {
        if let Err(code) = apply(option) {
            return code;
        }
    }
    if child.is_empty() {
        return VOICE.usage(USAGE);
    }
    if let Some((name, need)) = looked {
        room::make(VOICE, name, need);
    }
    become_it(VOICE, child, None)
}

/// What one letter limits.
fn resources(letter: u8) -> &'static [Resource] {
    match letter {
        b'a' => &[Resource::As],
        b'c' => &[Resource::Core],
        b'd' => &[Resource::Data],
        b'f' => &[Resource::Fsize],
        b'l' => &[Resource::Memlock],
        b'm' => &[Resource::Data, Resource::Stack, Resource::Memlock, Resource::As],
        b'o' => &[Resource::Nofile],
        b'p' => &[Resource::Nproc],
        b'r' => &[Resource::Rss],
        b's' => &[Resource::Stack],
        b't' => &[Resource::Cpu],
        _ => &[],
    }
}

fn apply(option: &Opt) -> Result<(), i32> {
    for &what in resources(option.letter) {
        let (_, hard) =
            rlimit::get(what).map_err(|e| VOICE.fatal(&[&"getrlimit failed"], Some(&e)))?;
        let wanted = amount(&option.value, hard).ok_or_else(|| VOICE.usage(USAGE))?;
        rlimit::set(what, wanted.min(hard), hard)
            .map_err(|e| VOICE.fatal(&[&"setrlimit failed"], Some(&e)))?;
    }
    Ok(())
}

/// Reads digits, modulo 2^64 as the original does, or `=` for the hard limit.
fn amount(value: &OsStr, hard: u64) -> Option<u64> {
    if value == "=" {
        return Some(hard);
    }
    value.as_bytes().iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(sum.wrapping_mul(10).wrapping_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_digits_or_the_hard_limit() {
        assert_eq!(amount(OsStr::new("3000000"), 9), Some(3_000_000));
        assert_eq!(amount(OsStr::new("="), 9), Some(9));
        assert_eq!(amount(OsStr::new(""), 9), Some(0));
        assert_eq!(amount(OsStr::new("12k"), 9), None);
        assert_eq!(amount(OsStr::new("18446744073709551617"), 9), Some(1));
    }
}
