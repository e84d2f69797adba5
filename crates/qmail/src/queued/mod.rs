//! keep the queue: every letter on disk before it is acknowledged
//!
//! *Runs as* qmailq. *Hears* anybody on this machine, on the socket `queue/queued`; who may ask
//! what is decided by the uid the kernel reports (`rights`). *Opens* `queue/log` and `queue/big`.
//! *Speaks to* its clients, and to the log on descriptor 2.
//!
//! One process, one loop: it parses nothing but frames of our own programs, and never waits for the
//! disk. Three threads do that (`helper`): while one sync is under way, the letters for the next are
//! gathered and written behind it.

mod client;
mod crowd;
mod feed;
mod gather;
mod helper;
mod leave;
mod moving;
mod outbox;
mod request;
mod rights;
mod server;
mod slots;
#[cfg(test)]
mod tests;
mod warnings;

use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base::limits;
use store::disk::kernel::Kernel;
use store::home::Home;
use store::queue::{Config, Queue};
use sys::pass::Kind;
use sys::rlimit::{self, Resource};
use sys::signal::{Signal, Signals};

use crate::fences;
use helper::Threads;
use rights::Rules;
use server::{End, Server, log};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Exit 0 when told to stop, 100 on misuse, 111 on trouble.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let salvage = match args.get(1..).unwrap_or_default() {
        [] => false,
        [option] if option == "--salvage" => true,
        _ => {
            log(format_args!("usage: qmail-queued [--salvage]"));
            return 100;
        }
    };
    match start(salvage) {
        Ok(()) => 0,
        Err(Stop(line)) => {
            log(format_args!("alert: {line}"));
            111
        }
    }
}

/// Why it cannot go on, for the administrator.
struct Stop(String);

impl Stop {
    fn cannot(what: impl fmt::Display, error: &io::Error) -> Self {
        Self(format!("unable to {what}: {}", sys::errno::text(error)))
    }
}

fn start(salvage: bool) -> Result<(), Stop> {
    let signals = Signals::catch(&[Signal::Term, Signal::Int])
        .map_err(|e| Stop::cannot("catch signals", &e))?;
    // More letters come to each sync so.
    sys::sched::gather();
    let home = Home::find().map_err(|e| Stop(e.to_string()))?;
    let roles = home.roles().map_err(|e| Stop(e.to_string()))?;
    let dir = home.path("queue");
    prepare(&dir)?;
    let _lock = lock(&dir)?;
    let queue = open(&dir, salvage)?;
    let listener = sys::pass::listen(&dir.join("queued"), Kind::Stream, 0o666, BACKLOG)
        .map_err(|e| Stop::cannot(format_args!("listen at {}/queued", dir.display()), &e))?;
    if let Some(missing) = fences::queued(&dir).close_or_tell() {
        log(format_args!("warning: {missing}"));
    }
    log(format_args!("ready, letters in queue: {}", queue.index().len()));
    serve(&dir, queue, Rules::new(&home, &roles), listener, signals)
}

fn serve(
    dir: &Path,
    mut queue: Queue<Kernel>,
    rules: Rules,
    listener: OwnedFd,
    signals: Signals,
) -> Result<(), Stop> {
    let (threads, bell) =
        Threads::start(dir).map_err(|e| Stop::cannot("start the threads for the disk", &e))?;
    queue.set_helper(Box::new(threads));
    let mut server = Server::new(queue, rules, listener, signals, Some(bell))
        .map_err(|e| Stop::cannot("wait for clients", &e))?;
    server.door = Some(dir.join("queued"));
    server.most = take_descriptors().map_or(limits::QUEUED_CLIENTS, clients_for);
    match server.run() {
        End::Asked => {
            log(format_args!("exiting"));
            Ok(())
        }
        End::Broken(trouble) => Err(Stop(format!(
            "{trouble}; nothing more is acknowledged. Look at the disk under queue/; after a new \
             start only what is on it is believed"
        ))),
        End::Poll(error) => Err(Stop::cannot("wait for events", &error)),
    }
}

/// Takes as many descriptors as we can use and may have; how many that is.
fn take_descriptors() -> io::Result<u64> {
    let wanted = (limits::QUEUED_CLIENTS as u64).saturating_mul(3);
    let (soft, _) = rlimit::get(Resource::Nofile)?;
    if soft < wanted {
        rlimit::set_soft(Resource::Nofile, wanted)?;
    }
    rlimit::get(Resource::Nofile).map(|(soft, _)| soft)
}

/// How many clients so many descriptors are good for. A third is for the clients, a third for the
/// large letters they hand in, and a third for the log and for letters on their way out: without
/// one for the next segment nothing could be promised any more.
fn clients_for(descriptors: u64) -> usize {
    let third = usize::try_from(descriptors / 3).unwrap_or(usize::MAX);
    third.clamp(16, limits::QUEUED_CLIENTS)
}

/// Makes `queue/` if the home lets us.
fn prepare(dir: &Path) -> Result<(), Stop> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(0o755))
            .map_err(|e| Stop::cannot(format_args!("set the mode of {}", dir.display()), &e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Stop::cannot(
            format_args!("make {} (make it, owned by qmailq, mode 0755)", dir.display()),
            &e,
        )),
    }
}

/// Holds the queue for us alone until we exit.
fn lock(dir: &Path) -> Result<std::fs::File, Stop> {
    let path = dir.join("queued.lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options
        .open(&path)
        .map_err(|e| Stop::cannot(format_args!("open {}", path.display()), &e))?;
    match sys::lock::try_exclusive(&file) {
        Ok(()) => Ok(file),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(Stop(format!("qmail-queued is already running on {}", dir.display())))
        }
        Err(e) => Err(Stop::cannot(format_args!("lock {}", path.display()), &e)),
    }
}

fn open(dir: &Path, salvage: bool) -> Result<Queue<Kernel>, Stop> {
    let disk =
        Kernel::at(dir).map_err(|e| Stop::cannot(format_args!("open {}", dir.display()), &e))?;
    let secret = sys::random::number().map_err(|e| Stop::cannot("get a random number", &e))?;
    let config = Config { salvage, secret, ..Config::default() };
    let (queue, passed) = Queue::open(disk, config).map_err(|alarm| Stop(alarm.to_string()))?;
    for alarm in passed {
        log(format_args!("warning: gone on after: {alarm}"));
    }
    Ok(queue)
}
