//! Delivery into a Maildir (maildir(5)).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use store::disk::kernel::Kernel;
use store::maildir::{self, DeliverError, Mark, Sizes};
use store::users::dotqmail::is_temporary;

use super::run::unread;
use super::{Job, Queued, Stop};

/// What is reported of any trouble with a Maildir.
const TROUBLE: &str = "Temporary error on maildir delivery. (#4.3.0)";
/// Longest host name that is read.
const HOST: usize = 256;

/// Delivers `head` and the letter into the Maildir `dir`, the `instruction`th of this delivery.
/// When it returns, the letter is on disk.
pub(super) fn deliver(
    job: &Job,
    dir: &[u8],
    instruction: u32,
    head: &[u8],
    letter: &File,
) -> Result<(), Stop> {
    let disk = open(dir)?;
    let sizes = maildir::measure(head, letter).map_err(|err| stop(dir, "new".as_ref(), &err))?;
    let name = name(job.queued, instruction, &host(), &sizes);
    let perhaps = job.queued.is_some_and(|queued| queued.perhaps);
    let delivered = maildir::deliver(&disk, &name, perhaps, head, letter);
    delivered.map_err(|err| stop(dir, &Path::new("new").join(&name), &err))
}

/// Opens a Maildir, relative to the home.
pub(super) fn open(dir: &[u8]) -> Result<Kernel, Stop> {
    Kernel::at(Path::new(OsStr::from_bytes(dir))).map_err(|err| {
        let text =
            if is_temporary(&err) { TROUBLE } else { "Unable to chdir to maildir. (#4.2.1)" };
        Stop::soft(text).because(format_args!("open {}", shown(dir).display()), &err)
    })
}

/// What is reported of the delivery of `file` into `dir` that did not happen.
pub(super) fn stop(dir: &[u8], file: &Path, err: &DeliverError) -> Stop {
    match err {
        DeliverError::Letter(err) => unread(err),
        DeliverError::Maildir(err) => trouble(dir, file, err),
    }
}

/// What is reported if `file` cannot be put into `dir`.
pub(super) fn trouble(dir: &[u8], file: &Path, err: &io::Error) -> Stop {
    let file = shown(dir).join(file);
    Stop::soft(TROUBLE).because(format_args!("deliver to {}", file.display()), err)
}

/// The Maildir's name, from the home: whose that is stands before it in the log.
fn shown(dir: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(dir))
}

/// The file's name: the same for every attempt of a queued delivery.
pub(super) fn name(
    queued: Option<Queued>,
    instruction: u32,
    host: &[u8],
    sizes: &Sizes,
) -> OsString {
    match queued {
        Some(Queued { birth, letter, index, .. }) => {
            maildir::name(&Mark { birth, letter, index, instruction }, host, sizes)
        }
        None => {
            let unique = maildir::unqueued(sys::clock::now(), std::process::id(), instruction);
            maildir::named(&unique, host, sizes)
        }
    }
}

/// This machine's name, as far as it goes into file names.
pub(super) fn host() -> Vec<u8> {
    let file = File::open("/proc/sys/kernel/hostname");
    let name = file.and_then(|file| sys::fd::read_to_end(&file, HOST)).unwrap_or_default();
    let name = name.trim_ascii();
    if name.is_empty() { b"localhost".to_vec() } else { name.to_vec() }
}
