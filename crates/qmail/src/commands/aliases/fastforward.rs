//! send a letter on as a forwarding table says
//!
//! *Runs as* the user whose `.qmail` file names it, alias as a rule · *hears* a letter on
//! descriptor 0 · *opens* its table, mailing lists the table names · *speaks to* programs the table
//! names; queued, or the program `$QMAILQUEUE` names

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use base::cdb::Cdb;
use base::{limits, plain};
use letter::forwarding::Command;
use sys::getopt::getopt;
use sys::spawn::{self, Status};
use sys::{errno, file};

use super::super::feed::feed;
use super::super::requeue::requeue_stdin;
use super::super::{Stop, end, needed, say, variable};
use super::expand::{Plan, Trouble, expand};
use super::{judged, read_whole, rewind, shown};

const USAGE: &str = "fastforward: usage: fastforward [ -nNpP ] data.cdb";

/// What the command line says.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// `-n`: only say what would be done.
    dry: bool,
    /// `-p`: the next line of the `.qmail` file is for addresses the table does not have.
    passes: bool,
    /// `-d`: the address is `$DEFAULT@$HOST`.
    by_default: bool,
}

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("fastforward", run(args))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let (options, table) = parse(args)?;
    let bytes = file::open_read(table)
        .and_then(|file| read_whole(file, limits::FORWARDING_TABLE))
        .map_err(|err| unable_to_read(shown(table), &err))?;
    let recipient = recipient(options)?;
    let sender = variable("SENDER").unwrap_or_else(|| b"original envelope sender".to_vec());
    let plan = Cdb::new(&bytes)
        .map_err(Trouble::from)
        .and_then(|cdb| expand(&cdb, &sender, &recipient, read_list));
    match plan.map_err(|trouble| stopped(trouble, shown(table)))? {
        Some(plan) => plan.follow(options),
        None if options.passes => Ok(0),
        None => {
            say("Sorry, no mailbox here by that name. (#5.1.1)");
            Ok(100)
        }
    }
}

/// Reads the command line: the options and the table.
fn parse(args: &[OsString]) -> Result<(Options, &OsStr), Stop> {
    let (found, operands) = getopt(args, "nNpPdD").map_err(|misuse| {
        misuse.complain(args);
        Stop::Usage(USAGE)
    })?;
    let mut options = Options::default();
    for option in found {
        let on = option.letter.is_ascii_lowercase();
        match option.letter.to_ascii_lowercase() {
            b'n' => options.dry = on,
            b'p' => options.passes = on,
            _ => options.by_default = on,
        }
    }
    let table = operands.first().ok_or(Stop::Usage(USAGE))?;
    Ok((options, table))
}

/// Whom the letter is for.
fn recipient(options: Options) -> Result<Vec<u8>, Stop> {
    let unset = |what: &str| Stop::never(format!("{what} must be set"));
    if !options.by_default {
        return variable("RECIPIENT").ok_or_else(|| unset("$RECIPIENT"));
    }
    let local = variable("DEFAULT").or_else(|| variable("EXT"));
    let local = local.ok_or_else(|| unset("$DEFAULT or $EXT"))?;
    let host = variable("HOST").ok_or_else(|| unset("$HOST"))?;
    Ok([&local[..], b"@", &host].concat())
}

fn unable_to_read(path: &[u8], err: &std::io::Error) -> Stop {
    Stop::unable([b"read ", path].concat(), err)
}

/// A mailing list: a file that everybody may read, so that nobody can have us show him another.
fn read_list(path: &[u8]) -> Result<Vec<u8>, Stop> {
    let unread = |err| unable_to_read(path, &err);
    let list = file::open_read(OsStr::from_bytes(path)).map_err(unread)?;
    let about = list.metadata();
    let about = about.map_err(|err| Stop::unable([b"stat ", path].concat(), &err))?;
    if about.permissions().mode() & 0o444 != 0o444 {
        return Err(Stop::later([path, b" is not world-readable"].concat()));
    }
    read_whole(list, limits::EXPANSION).map_err(unread)
}

/// Why the table does not tell.
fn stopped(trouble: Trouble<Stop>, table: &[u8]) -> Stop {
    match trouble {
        Trouble::Damaged => unable_to_read(table, &std::io::ErrorKind::InvalidData.into()),
        Trouble::TooMuch => {
            let most = limits::EXPANSION;
            Stop::later([b"more than ", most.to_string().as_bytes(), b" bytes in ", table].concat())
        }
        Trouble::List(stop) => stop,
    }
}

impl Plan {
    /// Does it, or shows it; the exit code.
    fn follow(&self, options: Options) -> Result<i32, Stop> {
        let done = if options.passes { 99 } else { 0 };
        if options.dry {
            self.show();
            return Ok(done);
        }
        for program in &self.programs {
            if let Some(code) = judged(run_program(program)?) {
                return Ok(code);
            }
            rewind()?;
        }
        if !self.recipients.is_empty() {
            let delivered_to = variable("DTLINE").unwrap_or_default();
            let recipients = self.recipients.iter().map(Vec::as_slice);
            let pid = requeue_stdin(&delivered_to, &self.sender, recipients)?;
            say(format!("fastforward: qp {pid}"));
        }
        Ok(done)
    }

    fn show(&self) {
        let tell = |before: &[u8], text: &[u8], after: &[u8]| {
            let mut line = before.to_vec();
            plain::put(&mut line, text, b'_');
            say([&line, after].concat());
        };
        self.programs.iter().for_each(|program| tell(b"run ", program, b""));
        if self.recipients.is_empty() {
            return say("no forwarding");
        }
        tell(b"from <", &self.sender, b">");
        self.recipients.iter().for_each(|recipient| tell(b"to <", recipient, b">"));
    }
}

/// Runs `|command` on descriptor 0, or `!command` on the same with the delivery's lines in front;
/// its exit code.
fn run_program(program: &[u8]) -> Result<i32, Stop> {
    let shell = OsString::from("sh");
    let args = |command: &[u8]| ["-c".into(), OsStr::from_bytes(command).to_owned()];
    match Command::read(program) {
        Some(Command::Framed(command)) => {
            let head = [needed("UFLINE")?, needed("RPLINE")?, needed("DTLINE")?].concat();
            feed(&shell, &args(command), &head, |_| 111)
        }
        Some(Command::Program(command)) => {
            let started = spawn::Command::new(&shell).args(args(command)).spawn();
            let child = started.map_err(|err| unable_to_run(program, &err))?;
            match spawn::wait(child) {
                Ok(Status::Exited(code)) => Ok(code.into()),
                _ => Err(Stop::later([b"child crashed in ", program].concat())),
            }
        }
        _ => Ok(0),
    }
}

fn unable_to_run(program: &[u8], err: &std::io::Error) -> Stop {
    let why = errno::text(err).as_bytes();
    Stop::later([b"unable to run ", program, b": ", why].concat())
}
