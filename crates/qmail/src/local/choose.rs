//! Finding the recipient's `.qmail` file and the sender of what it forwards
//! (qmail-local(8)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base::limits;
use store::users::dotqmail::{candidates, exact, is_temporary, is_unsettled};

use super::{Job, Stop};

/// The file that rules the delivery.
#[derive(Debug)]
pub(super) struct Rules {
    /// What it is called.
    pub(super) name: Vec<u8>,
    /// Its text.
    pub(super) text: Vec<u8>,
    /// Its owner may execute it: only forwards are allowed.
    pub(super) forward_only: bool,
    /// The part of the extension that `default` stands for, if the file's name says `default`.
    pub(super) default: Option<Vec<u8>>,
}

/// The file for the job, in the current directory; `None` if none of the names is there.
pub(super) fn rules(job: &Job) -> Result<Option<Rules>, Stop> {
    for candidate in candidates(&job.dash, &job.ext) {
        let name = &candidate.name;
        let open = |err: &io::Error| Stop::unable(&[b"open ", &name[..]].concat(), err, "4.3.0");
        let file = match sys::file::open_read(Path::new(OsStr::from_bytes(name))) {
            Ok(file) => file,
            Err(err) if is_unsettled(&err) => return Err(open(&err)),
            Err(_) => continue,
        };
        let meta = file.metadata().map_err(|err| open(&err))?;
        if !meta.is_file() {
            continue;
        }
        let mode = meta.permissions().mode();
        if mode & 0o002 != 0 {
            let path = [&job.home[..], b"/", name].concat();
            let stop = Stop::soft("Uh-oh: .qmail file is writable. (#4.7.0)");
            return Err(stop.with(super::mode_of(&path, mode)));
        }
        let text = read(file).map_err(|err| open(&err))?;
        if text.len() > limits::CONTROL_FILE {
            let most = limits::CONTROL_FILE;
            let text = format!(" is longer than {most} bytes: shorten it. (#4.3.0)");
            return Err(Stop::soft([b"Uh-oh: ", &name[..], text.as_bytes()].concat()));
        }
        let default = candidate.default_at.and_then(|at| job.ext.get(at..)).map(<[u8]>::to_vec);
        let forward_only = mode & 0o100 != 0;
        return Ok(Some(Rules { name: candidate.name, text, forward_only, default }));
    }
    Ok(None)
}

/// All of it, or one byte more than is taken.
fn read(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(limits::CONTROL_FILE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The envelope sender of forwards: the letter's own, unless there is an `-owner` file.
pub(super) fn newsender(job: &Job) -> Result<Vec<u8>, Stop> {
    if job.sender.is_empty() || job.sender == b"#@[]" {
        return Ok(job.sender.clone());
    }
    let mut name = exact(&job.dash, &job.ext);
    name.extend_from_slice(b"-owner");
    if !is_there(&name)? {
        return Ok(job.sender.clone());
    }
    name.extend_from_slice(b"-default");
    let verp = is_there(&name)?;
    let (dash, tail): (&[u8], &[u8]) = if verp { (b"-", b"-@[]") } else { (b"", b"") };
    Ok([&job.local, &b"-owner"[..], dash, b"@", &job.domain, tail].concat())
}

fn is_there(name: &[u8]) -> Result<bool, Stop> {
    match std::fs::metadata(OsStr::from_bytes(name)) {
        Ok(_) => Ok(true),
        Err(err) if is_temporary(&err) => {
            Err(Stop::unable(&[b"open ", name].concat(), &err, "4.3.0"))
        }
        Err(_) => Ok(false),
    }
}
