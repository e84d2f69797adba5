//! start qmail-send and its helpers, wired together
//!
//! *Runs as* root, then qmails (as the home's owner in a private home) · *hears* nobody ·
//! *opens* `users/roles` · *speaks to* nobody: it starts the helpers and becomes qmail-send.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use store::home::{Home, Roles};
use sys::spawn::{self, Command};
use sys::user::{self, Ids};
use sys::{fd, file};

/// The number of descriptors qmail-send finds prepared (qmail-start(8)).
const PREPARED: i32 = 7;

/// What lspawn does for a user without a `.qmail` file.
const DEFAULT_DELIVERY: &str = "./Mailbox";

pub(crate) fn main(args: &[OsString]) -> i32 {
    match start(args.get(1..).unwrap_or_default()) {
        Ok(never) => match never {},
        Err(why) => {
            let line = format!("qmail-start: fatal: {why}\n");
            let _ = fd::write_all(fd::stderr(), line.as_bytes());
            111
        }
    }
}

/// As whom each program runs; `None` stays what we are.
#[derive(Debug, Default)]
struct Users {
    lspawn: Option<Ids>,
    rspawn: Option<Ids>,
    clean: Option<Ids>,
    logger: Option<Ids>,
    send: Option<Ids>,
}

impl Users {
    /// Only root can switch; in a private home even root's programs all run as the owner.
    fn of(home: &Home) -> Result<Self, String> {
        if user::euid() != 0 {
            return Ok(Self::default());
        }
        let roles = home.roles().map_err(|err| err.to_string())?;
        let lspawn = home.is_private().then(|| home.owner_ids());
        let Roles { qmailr, qmailq, qmaill, qmails, .. } = roles;
        let [rspawn, clean, logger, send] = [qmailr, qmailq, qmaill, qmails].map(Some);
        Ok(Self { lspawn, rspawn, clean, logger, send })
    }
}

/// Our ends of a helper's two pipes.
struct Helper {
    commands: OwnedFd,
    reports: OwnedFd,
}

/// Starts everything; returns only if that fails. Helpers already started end by themselves, as
/// their pipes close.
fn start(args: &[OsString]) -> Result<std::convert::Infallible, String> {
    let home = Home::find().map_err(|err| err.to_string())?;
    let users = Users::of(&home)?;
    std::env::set_current_dir("/").map_err(|err| trouble("unable to switch to /", &err))?;
    let _ = file::umask(0o077);
    keep_low_numbers_taken().map_err(|err| trouble("unable to open /dev/null", &err))?;
    let (delivery, logger) = match args.split_first() {
        Some((delivery, logger)) => (delivery.as_os_str(), logger),
        None => (OsStr::new(DEFAULT_DELIVERY), &[][..]),
    };
    let program = |name: &str| home.path("bin").join(name);
    let failed = |name: &str, err: io::Error| {
        trouble(&format!("unable to start {}", home.path("bin").join(name).display()), &err)
    };
    let helper = |name: &str, args: &[&OsStr], ids: Option<Ids>| {
        helper(&program(name), args, ids).map_err(|err| failed(name, err))
    };
    let log = match logger {
        [] => fd::stdout().try_clone_to_owned(),
        [name, ..] => start_logger(name, logger, users.logger),
    };
    let log = log.map_err(|err| trouble("unable to start the logger", &err))?;
    let lspawn = helper("qmail-lspawn", &[delivery], users.lspawn)?;
    let rspawn = helper("qmail-rspawn", &[], users.rspawn)?;
    let clean = helper("qmail-clean", &[], users.clean)?;
    if let Some(ids) = &users.send {
        user::drop_to(ids).map_err(|err| trouble("unable to become qmails", &err))?;
    }
    let ends = [&lspawn, &rspawn, &clean].map(|h| [&h.commands, &h.reports]);
    let prepared = std::iter::once(&log).chain(ends.into_iter().flatten());
    for (end, number) in prepared.zip(0..PREPARED) {
        fd::place(end, number).map_err(|err| trouble("unable to wire descriptors", &err))?;
    }
    let send = program("qmail-send");
    let err = spawn::exec(send.as_os_str(), &[OsString::from("qmail-send")], None);
    Err(failed("qmail-send", err))
}

fn trouble(what: &str, err: &io::Error) -> String {
    format!("{what}: {}", sys::errno::text(err))
}

/// Opens something at every number that will be prepared, so that no pipe of ours gets one.
fn keep_low_numbers_taken() -> io::Result<()> {
    loop {
        let filler = File::open("/dev/null")?;
        if filler.as_raw_fd() >= PREPARED {
            return Ok(());
        }
        // It stays open until its number is prepared, or the exec.
        mem::forget(filler);
    }
}

/// Starts a helper with pipes at 0 and 1.
fn helper(program: &Path, args: &[&OsStr], ids: Option<Ids>) -> io::Result<Helper> {
    let (hears, commands) = fd::pipe()?;
    let (reports, says) = fd::pipe()?;
    let name = program.file_name().unwrap_or_default();
    let mut command = Command::new(program).argv0(name).args(args).fd(hears, 0).fd(says, 1);
    command.ids = ids;
    command.spawn()?;
    Ok(Helper { commands, reports })
}

/// Starts the logger, found through `$PATH`; what qmail-send writes to.
fn start_logger(name: &OsStr, argv: &[OsString], ids: Option<Ids>) -> io::Result<OwnedFd> {
    let (hears, log) = fd::pipe()?;
    let mut command = Command::new(name).fd(hears.as_fd(), 0);
    command.argv = argv.to_vec();
    command.ids = ids;
    command.spawn()?;
    Ok(log)
}
