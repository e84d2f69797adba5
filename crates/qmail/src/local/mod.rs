//! deliver or forward one letter
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* what the recipient's
//! `.qmail` file names · *speaks to* queued (forwards), programs of the recipient's choice

mod choose;
mod environment;
mod forward;
mod instructions;
mod maildir;
mod mbox;
mod program;
mod run;
mod staged;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use base::time::Moment;
use sys::getopt::getopt;

pub(crate) use staged::{Came, Mailbox, Staged};

/// One delivery: everything stock's eight arguments say, and what our queue knows besides.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The user's name, for `$USER`.
    pub(crate) user: Vec<u8>,
    /// The directory with the `.qmail` files; absolute.
    pub(crate) home: Vec<u8>,
    /// The local part.
    pub(crate) local: Vec<u8>,
    /// What stands between `.qmail` and the extension.
    pub(crate) dash: Vec<u8>,
    /// The extension.
    pub(crate) ext: Vec<u8>,
    /// The domain.
    pub(crate) domain: Vec<u8>,
    /// The envelope sender.
    pub(crate) sender: Vec<u8>,
    /// The instructions of a user without any.
    pub(crate) default: Vec<u8>,
    /// Which delivery of which letter it is, if it comes from the queue.
    pub(crate) queued: Option<Queued>,
    /// Only say what would be done (`-n`).
    pub(crate) dry: bool,
}

/// A delivery's place in the queue; it makes the name of a Maildir file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// When the letter was queued.
    pub(crate) birth: Moment,
    /// The letter's number.
    pub(crate) letter: u64,
    /// Which of its recipients.
    pub(crate) index: u32,
    /// An earlier attempt may have got through.
    pub(crate) perhaps: bool,
}

impl Job {
    /// The words of the command line that says the same.
    pub(crate) fn words(&self) -> [&[u8]; 8] {
        let Self { user, home, local, dash, ext, domain, sender, default, .. } = self;
        [user, home, local, dash, ext, domain, sender, default]
    }

    /// `local@domain`.
    fn recipient(&self) -> Vec<u8> {
        [&self.local, &b"@"[..], &self.domain].concat()
    }
}

/// The delivery is over, and not well: the exit code and the report's last words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    code: i32,
    text: Vec<u8>,
    /// What lies behind it, for the log: the report has qmail's own words.
    cause: Option<String>,
}

impl Stop {
    /// It may work later.
    fn soft(text: impl Into<Vec<u8>>) -> Self {
        Self { code: 111, text: text.into(), cause: None }
    }

    /// It never will.
    fn hard(text: impl Into<Vec<u8>>) -> Self {
        Self { code: 100, text: text.into(), cause: None }
    }

    /// With `unable to <doing>: <error>` behind it.
    fn because(mut self, doing: impl std::fmt::Display, err: &std::io::Error) -> Self {
        self.cause = Some(format!("unable to {doing}: {}", sys::errno::text(err)));
        self
    }

    /// With these words behind it.
    fn with(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// With `line N of HOME/FILE` before what lies behind it. A program has said itself what there is
    /// to say.
    fn at(mut self, home: &[u8], file: &[u8], line: usize) -> Self {
        if !self.text.is_empty() {
            let whole = [home, b"/", file].concat();
            // The default delivery is no file of the home's.
            let file = if file == DEFAULT { file } else { &whole[..] };
            let place = format!("line {line} of {}", String::from_utf8_lossy(file));
            self.cause = Some(match self.cause {
                Some(cause) => format!("{place}: {cause}"),
                None => place,
            });
        }
        self
    }

    /// What lies behind it, if its text does not say so.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// `Unable to <doing>: <error>. (#code)`, to be tried again.
    fn unable(doing: &[u8], err: &std::io::Error, status: &str) -> Self {
        let error = sys::errno::text(err).as_bytes();
        let head: &[u8] = b"Unable to ";
        Self::soft([head, doing, b": ", error, b". (#", status.as_bytes(), b")"].concat())
    }
}

/// What the instructions of a user without any are called.
const DEFAULT: &[u8] = b"defaultdelivery";

/// `PATH has mode MODE`.
fn mode_of(path: &[u8], mode: u32) -> String {
    format!("{} has mode {:04o}", String::from_utf8_lossy(path), mode & 0o7777)
}

const USAGE: &str = "qmail-local: usage: qmail-local [ -nN ] user homedir local dash ext domain \
                     sender aliasempty\n";

pub(crate) fn main(args: &[OsString]) -> i32 {
    match job(args) {
        Some(job) => deliver(&job, &File::from(sys::fd::take(0))),
        None => {
            say_error(USAGE.as_bytes());
            100
        }
    }
}

/// Reads the command line.
fn job(args: &[OsString]) -> Option<Job> {
    let (options, rest) = getopt(args, "nN").inspect_err(|misuse| misuse.complain(args)).ok()?;
    let dry = options.last().is_some_and(|option| option.letter == b'n');
    let fields: Vec<Vec<u8>> = rest.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    let [user, home, local, dash, ext, domain, sender, default] = fields.try_into().ok()?;
    let queued = None;
    let job = Job { user, home, local, dash, ext, domain, sender, default, queued, dry };
    job.home.starts_with(b"/").then_some(job)
}

/// Makes the delivery of the letter, which is also descriptor 0; the report goes to descriptors 1
/// and 2. The exit code: 0, 100 (never) or 111 (later).
pub(crate) fn deliver(job: &Job, letter: &File) -> i32 {
    tell(run::run(job, letter)).code
}

/// How a delivery that has been reported ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The exit code.
    pub(crate) code: i32,
    /// What lies behind it, for the log.
    pub(crate) cause: Option<String>,
}

/// Reports.
fn tell(ended: Result<Vec<u8>, Stop>) -> End {
    match ended {
        Ok(report) => {
            say(&report);
            End { code: 0, cause: None }
        }
        Err(Stop { code, mut text, cause }) => {
            if !text.is_empty() {
                text.push(b'\n');
                say_error(&text);
            }
            End { code, cause }
        }
    }
}

/// Into the report. If nobody hears it, the delivery is what it is all the same.
fn say(text: &[u8]) {
    let _ = sys::fd::write_all(sys::fd::stdout(), text);
}

fn say_error(text: &[u8]) {
    let _ = sys::fd::write_all(sys::fd::stderr(), text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        std::iter::once("qmail-local").chain(line.split('|')).map(OsString::from).collect()
    }

    #[test]
    fn exactly_eight_arguments_are_a_job() {
        let it = job(&args("-n|--|joe|/h|joe-x|-|x|d|s@x|./Mailbox")).unwrap();
        assert!(it.dry);
        assert_eq!((&it.local[..], &it.default[..]), (&b"joe-x"[..], &b"./Mailbox"[..]));
        let it = job(&args("joe|/h|joe||-|d||./Mailbox"));
        assert!(it.is_some_and(|it| !it.dry && it.dash.is_empty() && it.sender.is_empty()));
        for bad in ["joe|/h|j|||d|s", "joe|h|j|||d|s|x", "-q|joe|/h|j|||d|s|x", "a|/h|j|||d|s|x|y"]
        {
            assert!(job(&args(bad)).is_none(), "{bad}");
        }
    }
}
