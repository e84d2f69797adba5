//! `qmailctl queue import` and `export`: a whole queue moves between stock qmail and here.
//!
//! Two machines, or two programs on one, must never deliver the same letter. So letters on their
//! way are *held* here: queued has them, safe on disk, and shows them to nobody who delivers. An
//! import lets them go when all are in and written down; an export holds them before the first file
//! is written, and has them forgotten only when somebody says that the other side has them.
//! Whatever interrupts this, the same command said again goes on from there.

mod export;
mod import;
mod journal;
mod target;
mod written;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::fnv;
use base::json::Object;
use base::wire::queue::Mark;
use clap::{Subcommand, ValueEnum};
use store::client::QueueClient;
use store::home::Home;

use crate::Trouble;
use crate::print::{complain, say};
use crate::progress::{Ticker, during};
use journal::Journal;

/// What can be done with a whole queue.
#[derive(Subcommand)]
pub(crate) enum Moving {
    /// Take over every letter of a stopped stock qmail's queue, with its age, its recipients done
    /// and pending, when they are due, and what is to be told of those that failed.
    Import {
        /// Its queue, such as /var/qmail/queue. Nothing in it is changed.
        dir: PathBuf,
        /// Hold the letters; "release imported" has them delivered.
        #[arg(long)]
        hold: bool,
        /// Even if its qmail-send seems to run. Letters it delivers meanwhile are delivered twice.
        #[arg(long)]
        running: bool,
        /// Take letters whose recipients the control files here lead elsewhere than those there.
        #[arg(long)]
        reroute: bool,
    },
    /// Write every letter into a queue that stock qmail can start with, and hold it here.
    Export {
        /// A directory to make, or a stopped stock qmail's queue without letters.
        dir: PathBuf,
    },
    /// Count the letters that are held.
    Held {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let held letters be delivered here.
    Release {
        /// Which ones; exported ones only if the other side will not deliver them.
        which: Which,
    },
    /// Forget held letters.
    Forget {
        /// Which ones; exported ones when the other side has them.
        which: Which,
    },
}

/// Which held letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Those that came from another queue.
    Imported,
    /// Those that were written into another queue.
    Exported,
}

impl Which {
    fn is(self, mark: Mark) -> bool {
        mark.is_export() == (self == Self::Exported)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Exported => "exported",
        }
    }
}

impl Moving {
    /// Carries the command out.
    pub(crate) fn run(self, home: &Home) -> Result<ExitCode, Trouble> {
        match self {
            Self::Import { dir, hold, running, reroute } => {
                let how = import::How { hold, running, reroute };
                import::import(home, &dir, how)
            }
            Self::Export { dir } => export::export(home, &dir).map(|()| ExitCode::SUCCESS),
            Self::Held { json } => held(home, json).map(|()| ExitCode::SUCCESS),
            Self::Release { which } => release(home, which).map(|()| ExitCode::SUCCESS),
            Self::Forget { which } => forget(home, which).map(|()| ExitCode::SUCCESS),
        }
    }
}

/// A connection to queued.
fn connect(home: &Home) -> Result<QueueClient, Trouble> {
    during("connecting to qmail-queued", || QueueClient::connect_soon(home)).map_err(|e| {
        let socket = home.path("queue/queued");
        let text = sys::errno::text(&e);
        format!("unable to connect to {}: {text} (svc -u the service queued)", socket.display())
    })
}

fn lost(e: &std::io::Error) -> Trouble {
    format!("lost qmail-queued: {}; say the same command again", sys::errno::text(e))
}

/// Says on descriptor 2 what is left, and why.
fn left(what: &dyn std::fmt::Display) {
    // The exit code says it too.
    complain(format_args!("qmailctl: left: {what}"));
}

/// The held letters of one kind.
fn all_held(client: &mut QueueClient, which: Which) -> Result<Vec<(u64, Mark)>, Trouble> {
    let mut all = Vec::new();
    let list = client.held(|mark, entry| {
        if which.is(mark) {
            all.push((entry.id, mark));
        }
    });
    list.map(|()| all).map_err(|e| lost(&e))
}

fn held(home: &Home, json: bool) -> Result<(), Trouble> {
    let mut client = connect(home)?;
    let mut about = Object::new();
    for which in [Which::Imported, Which::Exported] {
        let letters = all_held(&mut client, which)?.len();
        about = about.number(which.word(), letters as u64);
        if !json {
            say!("{} letters held: {letters}", which.word());
        }
    }
    if json {
        say!("{}", about.end());
    }
    Ok(())
}

/// Has held letters delivered. They are written down first: they may be delivered, and gone, before
/// this program has heard of it. Of imported ones the other queue may still have the files, and so
/// may the one that exported ones were written into.
fn release(home: &Home, which: Which) -> Result<(), Trouble> {
    let mut client = connect(home)?;
    let letters = all_held(&mut client, which)?;
    let mut journal = Journal::open(home)?;
    match which {
        Which::Imported => journal.add(letters.iter().map(|(_, mark)| *mark))?,
        Which::Exported => journal.add(written::all(&mut client)?.into_iter())?,
    }
    let ids: Vec<u64> = letters.iter().map(|(id, _)| *id).collect();
    let mut released = 0_usize;
    let progress = Ticker::of("releasing letters", Some(ids.len()));
    let outcome = client.hold_all(&ids, None, |done| {
        progress.step();
        released += usize::from(done);
    });
    drop(progress);
    outcome.map_err(|e| lost(&e))?;
    say!("{released} {} letters released", which.word());
    all(released, ids.len())
}

fn forget(home: &Home, which: Which) -> Result<(), Trouble> {
    let mut client = connect(home)?;
    let letters = all_held(&mut client, which)?;
    let mut journal = Journal::open(home)?;
    match which {
        Which::Imported => journal.strike(letters.iter().map(|(_, mark)| *mark))?,
        // They are the other queue's, and may come back with it.
        Which::Exported => journal.strike(written::all(&mut client)?.into_iter())?,
    }
    let ids: Vec<u64> = letters.iter().map(|(id, _)| *id).collect();
    let mut forgotten = 0_usize;
    let progress = Ticker::of("forgetting letters", Some(ids.len()));
    let outcome = client.finish_all(&ids, |done| {
        progress.step();
        forgotten += usize::from(done);
    });
    drop(progress);
    outcome.map_err(|e| lost(&e))?;
    say!("{forgotten} {} letters forgotten", which.word());
    all(forgotten, ids.len())
}

fn all(done: usize, of: usize) -> Result<(), Trouble> {
    if done == of {
        return Ok(());
    }
    Err(format!("{} letters were not: see the log of queued, and say this again", of - done))
}

/// How the qmail-send of another queue is stopped.
const STOP_THERE: &str = "qmailctl stop there, or svc -d /service/qmail-send";

/// Takes the lock that a qmail-send holds as long as it runs; `None` if there is no such file.
/// `stop` says how that one is stopped.
fn lock(queue: &Path, stop: &str) -> Result<Option<std::fs::File>, Trouble> {
    let mutex = queue.join("lock/sendmutex");
    // Not through a link, nor waiting for a FIFO: who owns the queue may be anybody.
    let opened = sys::at::At::open(queue).and_then(|at| {
        let (dir, name) = (Path::new("lock"), Path::new("sendmutex"));
        at.deep(dir)?.file(name, sys::at::Opening::Look)
    });
    let file = match opened {
        Ok(file) => std::fs::File::from(file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{}: {}", mutex.display(), sys::errno::text(&e))),
    };
    match sys::lock::try_exclusive(&file) {
        Ok(()) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            let mutex = mutex.display();
            Err(format!(
                "{mutex}: its qmail-send is running: stop it first, with {stop}; it ends when its \
                 deliveries have"
            ))
        }
        Err(e) => Err(format!("{}: {}", mutex.display(), sys::errno::text(&e))),
    }
}

/// A 64-bit name for some words (FNV-1a, stirred).
fn name(words: &[u64]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    let hash = fnv::hash(fnv::BASIS, bytes);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ (hash >> 29)
}
