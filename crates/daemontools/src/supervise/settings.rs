//! The files by which an administrator says more about a service than `run` and `down` can: each
//! holds one number.

use crate::message::Voice;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::Duration;
use sys::file;

/// Milliseconds a service gets between the TERM of `d` and KILL; no file or 0: as long as it likes.
const TIMEOUT_KILL: &str = "timeout-kill";
/// Milliseconds `./finish` gets; 0: as long as it likes.
const TIMEOUT_FINISH: &str = "timeout-finish";
/// What it gets if there is no such file.
const FINISH: Duration = Duration::from_secs(5);
/// The descriptor on which the service says, with a newline, that it can be used.
const NOTIFICATION_FD: &str = "notification-fd";
/// The descriptors that may be: not those that have a meaning already.
const DESCRIPTORS: std::ops::RangeInclusive<u32> = 3..=1023;
/// Bytes read of such a file.
const LONGEST: usize = 32;

/// What is wrong with a file.
type Wrong = &'static str;

/// Who reads these files, and remembers which of them it has complained about.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    voice: Voice,
    dir: &'a OsStr,
    told: BTreeSet<&'static str>,
}

impl<'a> Settings<'a> {
    /// Nothing has been told yet.
    pub(super) fn new(voice: Voice, dir: &'a OsStr) -> Self {
        Settings { voice, dir, told: BTreeSet::new() }
    }

    /// How long the service may take to go down.
    pub(super) fn kill_after(&mut self) -> Option<Duration> {
        self.said(TIMEOUT_KILL, milliseconds(read(TIMEOUT_KILL))).flatten()
    }

    /// How long `./finish` may take.
    pub(super) fn finish_within(&mut self) -> Option<Duration> {
        self.said(TIMEOUT_FINISH, milliseconds(read(TIMEOUT_FINISH))).unwrap_or(Some(FINISH))
    }

    /// Where the service will say that it is ready.
    pub(super) fn notification(&mut self) -> Option<i32> {
        self.said(NOTIFICATION_FD, descriptor(read(NOTIFICATION_FD)))
    }

    /// What a file says; if that is nothing of use, a warning that names it, once.
    fn said<T>(&mut self, name: &'static str, found: Result<Option<T>, Wrong>) -> Option<T> {
        match found {
            Ok(found) => {
                self.told.remove(name);
                found
            }
            Err(wrong) => {
                if self.told.insert(name) {
                    let words = "; going on without it";
                    self.voice.warning(&[&self.dir, &"/", &name, &": ", &wrong, &words], None);
                }
                None
            }
        }
    }
}

/// `None`: there is no such file; else its text.
fn read(name: &str) -> Result<Option<String>, Wrong> {
    let bytes = match file::open_read(name) {
        Ok(file) => sys::fd::read_to_end(file, LONGEST).map_err(|_| "cannot be read")?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err("cannot be opened"),
    };
    String::from_utf8(bytes).map(Some).map_err(|_| "is not a number")
}

fn number(text: Result<Option<String>, Wrong>, wrong: Wrong) -> Result<Option<u32>, Wrong> {
    let Some(text) = text? else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| wrong)
}

/// A number of milliseconds; the inner `None`, written 0, is no limit.
fn milliseconds(text: Result<Option<String>, Wrong>) -> Result<Option<Option<Duration>>, Wrong> {
    let found = number(text, "is not a number of milliseconds")?;
    Ok(found.map(|ms| (ms > 0).then(|| Duration::from_millis(ms.into()))))
}

fn descriptor(text: Result<Option<String>, Wrong>) -> Result<Option<i32>, Wrong> {
    let wrong = "is not the number of a descriptor from 3 to 1023";
    match number(text, wrong)? {
        Some(fd) if DESCRIPTORS.contains(&fd) => i32::try_from(fd).map(Some).map_err(|_| wrong),
        Some(_) => Err(wrong),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Result<Option<String>, Wrong> {
        Ok(Some(text.into()))
    }

    #[test]
    fn a_limit_is_a_number_of_milliseconds_and_none_is_0() {
        assert_eq!(milliseconds(text("1500\n")), Ok(Some(Some(Duration::from_millis(1500)))));
        assert_eq!(milliseconds(text("0")), Ok(Some(None)));
        assert_eq!(milliseconds(Ok(None)), Ok(None));
        for bad in ["", "5s", "-1", "4294967296"] {
            assert_eq!(milliseconds(text(bad)), Err("is not a number of milliseconds"), "{bad}");
        }
        assert_eq!(milliseconds(Err("cannot be read")), Err("cannot be read"));
    }

    #[test]
    fn a_descriptor_is_none_that_has_a_meaning_already() {
        assert_eq!(descriptor(text("3\n")), Ok(Some(3)));
        assert_eq!(descriptor(Ok(None)), Ok(None));
        for bad in ["0", "1", "2", "1024", "three"] {
            assert!(descriptor(text(bad)).is_err(), "{bad}");
        }
    }
}
