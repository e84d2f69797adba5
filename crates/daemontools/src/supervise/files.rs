//! The files of `DIR/supervise`: lock, FIFOs, status. All paths are relative: we work in DIR.

use crate::message::Voice;
use crate::status::Status;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use sys::file;

const STATUS: &str = "supervise/status";
const STATUS_NEW: &str = "supervise/status.new";

/// What is open while supervise lives. All of it closes on exec.
#[derive(Debug)]
pub(super) struct Files {
    /// Held locked. A forked child shares the lock until it execs, and records itself before: so
    /// whoever gets the lock finds every service that runs in the record (`heir`).
    _lock: File,
    /// Commands come here.
    pub(super) control: File,
    /// Kept so that reading `control` never meets an end.
    _control_writer: File,
    /// Kept so that `svok` can open the other end.
    ok: Option<File>,
}

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
        Ok(Files { _lock: lock, control, _control_writer: writer, ok: None })
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
    let is_pipe = |file: &File| {
        file.metadata().is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type()))
    };
    let dir = &known_as(dir);
    let line = voice.line("warning", &[dir, &text], None);
    let ours = file::open_write("/proc/self/fd/1").ok().filter(is_pipe);
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

/// Replaces the status file; trouble is only a warning.
pub(super) fn write_status(voice: Voice, dir: &OsStr, status: &Status) {
    let warn = |verb: &str, e: &io::Error| {
        voice.warning(&[&"unable to ", &verb, &" ", &dir, &"/", &STATUS_NEW], Some(e));
    };
    let mut new = match file::open_trunc(STATUS_NEW) {
        Ok(new) => new,
        Err(error) => return warn("open", &error),
    };
    let bytes = status.encode();
    match new.write(&bytes) {
        Ok(n) if n == bytes.len() => {}
        Ok(_) => {
            let pieces: [&dyn AsRef<OsStr>; 4] =
                [&"unable to write ", &dir, &"/supervise/status.new", &": partial write"];
            return voice.warning(&pieces, None);
        }
        Err(error) => return warn("write", &error),
    }
    if let Err(error) = std::fs::rename(STATUS_NEW, STATUS) {
        let pieces: [&dyn AsRef<OsStr>; 4] =
            [&"unable to rename ", &dir, &"/supervise/status.new", &" to status"];
        voice.warning(&pieces, Some(&error));
    }
}

/// The status an earlier supervise left.
pub(super) fn read_status() -> Option<Status> {
    Status::decode(&sys::fd::read_to_end(file::open_read(STATUS).ok()?, 4096).ok()?)
}
