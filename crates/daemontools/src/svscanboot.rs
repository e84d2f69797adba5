//! svscanboot: start svscan, with its log where `ps` shows it.
//!
//! *Runs as* root, from `/etc/inittab`, a boot script or as process 1 · *hears* nobody · *opens* the
//! directory of services · *speaks to* supervises that another supervise's program left there.
//!
//! It becomes svscan: whoever started it signals and waits for the one that counts.

use crate::message::{TEMPORARY, Voice};
use crate::run;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::dir::Dir;
use sys::signal::{self, Signal};
use sys::spawn::{self, Fork};

const VOICE: Voice = Voice("svscanboot");
/// Where services find programs (as in stock).
const PATH: &str =
    "/command:/usr/local/bin:/usr/local/sbin:/bin:/sbin:/usr/bin:/usr/sbin:/usr/X11R6/bin";
/// Where services are, the first of these that is there.
const SERVICE: [&str; 2] = ["/service", "/etc/service"];
/// Characters of the log that `ps` shows.
const DOTS: usize = 400;
/// Names looked at for supervises of others.
const NAMES: usize = 100_000;

/// `svscanboot [dir]`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let dir = args.get(1).map_or_else(usual, PathBuf::from);
    let path = path(std::env::current_exe().ok().as_deref().and_then(Path::parent));
    if let Err(error) = silence() {
        return VOICE.fatal(&[&"unable to open /dev/null"], Some(&error));
    }
    signal::ignore(Signal::Pipe);
    retire(&dir);
    let env = [(OsString::from("PATH"), path)];
    match show(&env) {
        Ok(()) => {}
        // Without it everything is as before but for the title.
        Err(error) => VOICE.warning(&[&"unable to run readproctitle"], Some(&error)),
    }
    signal::default(Signal::Pipe);
    let argv = ["svscan".into(), dir.into_os_string()];
    let error = run::become_ours(&argv, Some(&env));
    VOICE.warning(&[&"unable to run svscan"], Some(&error));
    TEMPORARY
}

/// The directory of services.
fn usual() -> PathBuf {
    let found = SERVICE.iter().find(|dir| Path::new(dir).is_dir());
    PathBuf::from(found.unwrap_or(&SERVICE[0]))
}

/// The usual path, and behind it the directory of our own programs, so that `multilog` and
/// `setuidgid` in run scripts are found wherever we are installed.
fn path(ours: Option<&Path>) -> OsString {
    let mut path = OsString::from(PATH);
    if let Some(ours) = ours.filter(|ours| !PATH.split(':').any(|dir| Path::new(dir) == *ours)) {
        path.push(":");
        path.push(ours);
    }
    path
}

/// Descriptors 0, 1 and 2 are `/dev/null` from now on.
fn silence() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    (0..=2).try_for_each(|fd| sys::fd::place(&null, fd))
}

/// Ends supervises of another daemontools that an earlier svscan left (`svc -dx * */log`): their
/// pipes went with it. Ours are taken over as they are by the svscan that follows.
fn retire(dir: &Path) {
    let names = Dir::open(dir).and_then(|dir| dir.names(NAMES)).unwrap_or_default();
    for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
        let service = dir.join(name);
        for dir in [service.join("log"), service] {
            if !dir.join("supervise/state").exists()
                && let Ok(control) = sys::file::open_write(dir.join("supervise/control"))
            {
                // What cannot be written to is left as it is.
                let _ = sys::fd::write(&control, b"dx");
            }
        }
    }
}

/// Leads descriptors 1 and 2 to a readproctitle.
fn show(env: &[(OsString, OsString)]) -> io::Result<()> {
    let (read, write) = sys::fd::pipe()?;
    if spawn::fork()? == Fork::Child {
        let argv =
            ["readproctitle".into(), "service".into(), "errors:".into(), ".".repeat(DOTS).into()];
        if sys::fd::place(read.as_fd(), 0).is_ok() {
            signal::default(Signal::Pipe);
            let _ = run::become_ours(&argv, Some(env));
        }
        spawn::exit(TEMPORARY);
    }
    (1..=2).try_for_each(|fd| sys::fd::place(write.as_fd(), fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_usual_one_and_ours_is_behind_it_unless_it_is_there() {
        assert_eq!(path(None), PATH);
        assert_eq!(path(Some(Path::new("/usr/bin"))), PATH);
        let ours = path(Some(Path::new("/var/qmail/bin")));
        assert_eq!(ours.to_str().and_then(|all| all.strip_prefix(PATH)), Some(":/var/qmail/bin"));
    }
}
