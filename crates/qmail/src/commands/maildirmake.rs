//! make a Maildir
//!
//! *Runs as* whoever calls it · *hears* its command line · *opens* the directory it makes ·
//! *speaks to* nobody

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{Stop, end, words};

const USAGE: &str = "maildirmake: usage: maildirmake name";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("maildirmake", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    // Other maildirmakes have options: nobody means a Maildir of that name, but may say `./-f`.
    let name = args.first().filter(|name| !name.as_bytes().starts_with(b"-"));
    let name = name.ok_or(Stop::Usage(USAGE))?;
    let _ = sys::file::umask(0o077);
    make(Path::new(name))?;
    for sub in ["tmp", "new", "cur"] {
        make(&Path::new(name).join(sub))?;
    }
    // Mail may come at once, and must find it after a power cut.
    sys::file::sync_dir(name).map_err(|err| unable("sync ", name, &err))?;
    // Nor without its own name. Where mail is spooled, its owner may write and not read.
    let _unreadable = sys::file::sync_name(name);
    Ok(0)
}

fn make(dir: &Path) -> Result<(), Stop> {
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(|err| unable("mkdir ", dir.as_os_str(), &err))
}

fn unable(doing: &str, dir: &OsStr, err: &std::io::Error) -> Stop {
    Stop::unable([doing.as_bytes(), dir.as_bytes()].concat(), err)
}
