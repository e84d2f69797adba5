//! The files of `DIR/supervise`: lock, FIFOs, status. All paths are relative: we work in DIR.

use super::told::Told;
use crate::message::Voice;
use base::service::Facts;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sys::file;

/// A file that is replaced by renaming a new one.
struct Kept {
    name: &'static str,
    new: &'static str,
    /// What it is called behind its directory's name.
    short: &'static str,
}

/// The 18 bytes that everybody reads.
const STATUS: Kept =
    Kept { name: "supervise/status", new: "supervise/status.new", short: "status" };
/// What they have no room for.
const STATE: Kept = Kept { name: "supervise/state", new: "supervise/state.new", short: "state" };
/// The channel on which the service says that it is ready.
const READY: &str = "supervise/ready";

/// What is open while supervise lives. All of it closes on exec.
#[derive(Debug)]
pub(super) struct Files {
    /// Held locked. A forked child shares the lock until it execs, and records itself before: so
    /// whoever gets the lock finds every service that runs in the record (`heir`).
    pub(super) lock: File,
    /// Commands come here.
    pub(super) control: File,
    /// Kept so that reading `control` never meets an end.
    _control_writer: File,
    /// Kept so that `svok` can open the other end.
    ok: Option<File>,
    /// Kept so that our service is no broken pipe while nobody else reads what it says.
    _reader: Option<File>,
}

/// The pipe that svscan made between a service and its log.
const PIPE: &str = "supervise/pipe";

impl Files {
    /// Takes the lock and opens the command FIFO; the exit code, after a message, if it cannot be.
    pub(super) fn open(voice: Voice, dir: &OsStr) -> Result<Files, i32> {
        let fatal = |verb: &str, name: &str, e: io::Error| {
            voice.fatal(&[&"unable to ", &verb, &" ", &dir, &"/supervise/", &name], Some(&e))
        };
        make_directory()
            .map_err(|e| voice.fatal(&[&"unable to readlink ./supervise"], Some(&e)))?;
        let lock = file::open_append("supervise/lock").map_err(|e| fatal("acquire", "lock", e))?;
        sys::lock::try_exclusive(&lock).map_err(|e| fatal("acquire", "lock", e))?;
        // A FIFO left by an earlier supervise serves as well; any other trouble shows at opening.
        let _ = file::mkfifo("supervise/control", 0o600);
        let control =
            file::open_read("supervise/control").map_err(|e| fatal("read", "control", e))?;
        let writer =
            file::open_write("supervise/control").map_err(|e| fatal("write", "control", e))?;
        if !is_fifo(&control) {
            // We would read its end again and again.
            return Err(fatal("read", "control", ErrorKind::InvalidInput.into()));
        }
        Ok(Files { lock, control, _control_writer: writer, ok: None, _reader: reader() })
    }

    /// Opens `ok`: from now on svok says yes, so the status must be written before.
    pub(super) fn say_ok(&mut self, voice: Voice, dir: &OsStr) -> Result<(), i32> {
        let _ = file::mkfifo("supervise/ok", 0o600);
        let ok = file::open_read("supervise/ok")
            .map_err(|e| voice.fatal(&[&"unable to read ", &dir, &"/supervise/ok"], Some(&e)))?;
        self.ok = Some(ok);
        Ok(())
    }
}

/// An end for reading of the pipe to our service's log, if descriptor 1 is one that svscan made.
fn reader() -> Option<File> {
    let pipe = file::open_read(PIPE).ok().filter(is_fifo)?;
    let [ours, theirs] = [pipe.metadata(), std::fs::metadata("/proc/self/fd/1")];
    file::is_same(&ours.ok()?, &theirs.ok()?).then_some(pipe)
}

fn is_fifo(file: &File) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.metadata().is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Makes `supervise`; where it is a link to a directory still missing, that directory.
fn make_directory() -> io::Result<()> {
    let make = |path: &Path| {
        use std::os::unix::fs::DirBuilderExt;
        // If this fails the lock cannot be opened either, and that message names the file.
        let _ = std::fs::DirBuilder::new().mode(0o700).create(path);
    };
    let here = Path::new("supervise");
    make(here);
    if std::fs::metadata(here).is_err_and(|e| e.kind() == ErrorKind::NotFound) && here.is_symlink()
    {
        make(&std::fs::read_link(here)?);
    }
    Ok(())
}

/// Warns where the service's own log is: descriptor 1, if that is a pipe. supervise must not wait for
/// who reads there, so it opens the pipe anew for itself; if that is no use, it warns on descriptor 2.
pub(super) fn log(voice: Voice, dir: &OsStr, text: &str) {
    let dir = &known_as(dir);
    let line = voice.line("warning", &[dir, &text], None);
    let ours = file::open_write("/proc/self/fd/1").ok().filter(is_fifo);
    if ours.is_none_or(|mut log| log.write_all(&line).is_err()) {
        voice.warning(&[dir, &text], None);
    }
}

/// Our directory, and with it whose log it is if it is one.
fn known_as(dir: &OsStr) -> OsString {
    let here = std::env::current_dir().unwrap_or_default();
    let of = here.parent().and_then(Path::file_name);
    match of {
        Some(of) if dir == "log" => Path::new(of).join(dir).into_os_string(),
        _ => dir.to_owned(),
    }
}

/// Replaces both status files; trouble is only a warning, told once.
pub(super) fn write_status(voice: Voice, dir: &OsStr, facts: &Facts, told: &mut Told) {
    // The new words first: who waits for a change is woken by the file that is written last.
    let state = replace(&STATE, facts.encode().as_bytes()).map_err(|trouble| (&STATE, trouble));
    let status = replace(&STATUS, &facts.status.encode()).map_err(|trouble| (&STATUS, trouble));
    match status.and(state) {
        Ok(()) => told.over(),
        Err((file, trouble)) if told.news(trouble.error()) => warn(voice, dir, file, &trouble),
        Err(_) => {}
    }
}

/// Where writing went wrong.
enum Trouble {
    Open(io::Error),
    Write(io::Error),
    Partial(io::Error),
    Rename(io::Error),
}

impl Trouble {
    fn error(&self) -> &io::Error {
        match self {
            Trouble::Open(e) | Trouble::Write(e) | Trouble::Partial(e) | Trouble::Rename(e) => e,
        }
    }
}

fn replace(file: &Kept, bytes: &[u8]) -> Result<(), Trouble> {
    let mut new = file::open_trunc(file.new).map_err(Trouble::Open)?;
    match new.write(bytes) {
        Ok(n) if n == bytes.len() => {}
        Ok(_) => return Err(Trouble::Partial(ErrorKind::WriteZero.into())),
        Err(error) => return Err(Trouble::Write(error)),
    }
    std::fs::rename(file.new, file.name).map_err(Trouble::Rename)
}

fn warn(voice: Voice, dir: &OsStr, file: &Kept, trouble: &Trouble) {
    let new: [&dyn AsRef<OsStr>; 3] = [&dir, &"/", &file.new];
    let say = |before: &str, after: &str, cause| {
        let [dir, slash, name] = new;
        voice.warning(&[&"unable to ", &before, dir, slash, name, &after], cause);
    };
    match trouble {
        Trouble::Open(error) => say("open ", "", Some(error)),
        Trouble::Write(error) => say("write ", "", Some(error)),
        Trouble::Partial(_) => say("write ", ": partial write", None),
        Trouble::Rename(error) => say("rename ", &format!(" to {}", file.short), Some(error)),
    }
}

/// Makes a new channel for the service's newline, so that nobody from an earlier life can speak for
/// it: our end, and the service's. It has a name so that our heir finds it; and the service's end is
/// open for reading as well, so that it is no broken pipe while there is no supervise.
pub(super) fn new_channel() -> io::Result<(File, OwnedFd)> {
    match std::fs::remove_file(READY) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => file::mkfifo(READY, 0o600)?,
    }
    let ours = file::open_read(READY)?;
    let theirs = std::fs::OpenOptions::new().read(true).write(true).open(READY)?;
    Ok((ours, theirs.into()))
}

/// Our end of the channel an earlier supervise made.
pub(super) fn old_channel() -> Option<File> {
    file::open_read(READY).ok().filter(is_fifo)
}

/// Whether our directory has been removed: it has no name any more.
pub(super) fn removed() -> bool {
    std::fs::metadata(".").is_ok_and(|meta| meta.nlink() == 0)
}

/// Which `./run` there is: its file, and when that was changed last.
pub(super) fn run_stamp() -> Option<(u64, i64, i64)> {
    let meta = std::fs::metadata("run").ok()?;
    Some((meta.ino(), meta.ctime(), meta.ctime_nsec()))
}
