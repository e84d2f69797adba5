//! Carrying a bounce to the queue: a child of its own, so that no large letter, slow disk or
//! `$QMAILQUEUE` holds up a delivery.
//!
//! The child copies the letter out of queued and back in. Through queued itself, bounce and
//! finish are one record: whatever crashes when, there is one bounce.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use base::event::{Event, Warning};
use base::limits;
use base::time::Moment;
use base::wire::queue::{Envelope, Origin};
use letter::bounce::{self, Bounce, Kind, Names};
use store::client::{QueueClient, Refusal};
use store::home::Home;
use store::program::{self, Program};
use sys::spawn::{Command, Fork, Status};
use sys::{fd, signal, spawn};

use super::pipe::Inlet;
use super::schedule::Bounced;

/// How long a program in qmail-queue's place may take: as long as queued gives a letter.
const PATIENCE: Duration = Duration::from_secs(limits::QUEUED_SECONDS);

/// A bounce on its way.
#[derive(Debug)]
pub(super) struct Courier {
    pid: u32,
    said: Inlet,
}

/// What a courier needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    pub(super) home: &'a Home,
    pub(super) names: &'a Names,
    /// The letter that bounces.
    pub(super) letter: u64,
    /// Its envelope sender.
    pub(super) sender: &'a [u8],
    /// The bounce's date.
    pub(super) now: Moment,
}

impl Courier {
    /// Sends a child on the errand; it takes none of our descriptors along.
    ///
    /// # Errors
    /// No pipe, no process.
    pub(super) fn send(errand: Errand<'_>) -> io::Result<Self> {
        let (read, write) = fd::pipe()?;
        fd::set_nonblocking(&read, true)?;
        match spawn::fork()? {
            Fork::Parent(pid) => Ok(Self { pid, said: Inlet::new(read) }),
            Fork::Child => go(errand, write),
        }
    }

    /// Its process.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads what the child said, and how it ended if that is known; `None` if it is not back yet.
    pub(super) fn back(&mut self) -> Option<(Bounced, Option<Status>)> {
        if matches!(self.said.fill(), Ok(true)) {
            return None;
        }
        // The child has closed its pipe by ending: this does not wait.
        let status = spawn::wait(self.pid).ok();
        let how = match &self.said.bytes()[..] {
            [b'K', pid @ ..] => Bounced::Settled(number(pid)),
            [b'Q', pid @ ..] => Bounced::Queued(number(pid)),
            [b'R'] => Bounced::Refused,
            _ => Bounced::NotStarted,
        };
        Some((how, status))
    }
}

impl AsFd for Courier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.said.as_fd()
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// The child.
fn go(errand: Errand<'_>, say: OwnedFd) -> ! {
    signal::unblock_all();
    if fd::place(&say, 1).is_err() {
        spawn::exit(111);
    }
    // Everything but the log and our voice belongs to the parent; nothing here is used again.
    std::mem::forget(say);
    fd::close_from(2);
    let queue = std::env::var_os("QMAILQUEUE").filter(|program| !program.is_empty());
    let answer = match queue {
        None => through_queued(errand).map(|()| (b'K', std::process::id())),
        Some(program) => through(&program, errand).map(|pid| (b'Q', pid)),
    };
    let said = match answer {
        Ok((letter, pid)) => [&[letter][..], &pid.to_le_bytes()].concat(),
        Err(Failure { word, why }) => {
            let mut line = Vec::new();
            let warning = Warning::Bounce { letter: errand.letter, why: &why };
            Event::Warning(warning).encode(&mut line);
            super::say(&line);
            vec![word]
        }
    };
    let _ = fd::write_all(fd::stdout(), &said);
    spawn::exit(0);
}

/// Why there is no bounce.
struct Failure {
    /// What the parent is told: `R` refused, `S` not started.
    word: u8,
    why: String,
}

impl Failure {
    fn refused(why: &str) -> Self {
        Self { word: b'R', why: why.replace(char::is_control, "_") }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::refused(&refusal.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Self::refused(&format!("unable to read it from queued: {}", sys::errno::text(&err)))
    }
}

/// Writes the whole bounce, piece by piece, and says its envelope (text0).
fn write(
    errand: Errand<'_>,
    put: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    let Errand { names, letter, sender, now, home } = errand;
    let kind = Kind::of(sender);
    let (from, to) = kind.envelope(names).ok_or_else(|| Failure::refused("to nobody"))?;
    let mut queue = QueueClient::connect_soon(home)?;
    let (original, size) = queue.open(letter)?;
    let first = beginning(&original)?;
    let bounce = Bounce { kind, names, seam: seam()?, first: &first, size };
    put(&bounce.head(&to, letter::date::rfc822(now).as_bytes()))?;
    each(&mut queue, letter, put)?;
    put(&bounce.copy())?;
    each(&mut queue, letter, &mut |paragraph| put(&bounce::status(paragraph)))?;
    put(&bounce.attach())?;
    write_original(&bounce, &original, put)?;
    put(&bounce.tail())?;
    let mut envelope = Vec::new();
    base::text0::put(&mut envelope, from);
    base::text0::put(&mut envelope, &to);
    Ok(envelope)
}

/// What no stranger can know: a letter that has it inside would end its part early.
fn seam() -> io::Result<u128> {
    let (high, low) = (sys::random::number()?, sys::random::number()?);
    Ok(u128::from(high) << 64 | u128::from(low))
}

/// Each recipient's paragraph, in full as long as they are not too many. There may be a million, so
/// none is kept.
fn each(
    queue: &mut QueueClient,
    letter: u64,
    put: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut room = limits::BOUNCE_REPORTS;
    queue.each_paragraph(letter, |paragraph| {
        if paragraph.len() > room {
            return put(&bounce::shortened(paragraph));
        }
        room = room.saturating_sub(paragraph.len());
        put(paragraph)
    })
}

/// A letter's first bytes, up to a chunk.
fn beginning(original: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut first = vec![0; limits::CHUNK];
    let len = fd::read_full(original, &mut first)?;
    first.truncate(len);
    Ok(first)
}

/// As much of the letter that failed as the bounce takes.
fn write_original(
    bounce: &Bounce<'_>,
    original: &OwnedFd,
    put: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut piece, mut before) = (bounce.first.to_vec(), 0_u64);
    let mut room = vec![0; limits::CHUNK];
    loop {
        let fits = bounce.fits(&piece, before);
        if !fits.is_empty() {
            put(fits)?;
        }
        if fits.len() < piece.len() {
            return Ok(());
        }
        before = before.saturating_add(piece.len() as u64);
        match fd::read(original, &mut room)? {
            0 => return Ok(()),
            n => piece = room.get(..n).unwrap_or_default().to_vec(),
        }
    }
}

/// Bounce and finish as one record of queued.
fn through_queued(errand: Errand<'_>) -> Result<(), Failure> {
    let mut queue = QueueClient::connect_soon(errand.home)?;
    queue.begin(Origin::Bounce { finishes: errand.letter })?;
    let envelope = write(errand, &mut |bytes| Ok(queue.chunk(bytes)?))?;
    let envelope = Envelope::new(&envelope).map_err(|_| Failure::refused("malformed envelope"))?;
    queue.commit(&envelope)?;
    Ok(())
}

/// Through the program an administrator put in qmail-queue's place; its pid.
fn through(program: &OsString, errand: Errand<'_>) -> Result<u32, Failure> {
    // With nothing on 2, its complaints would end up in some file it opens.
    let command = Command::new(program).fd(fd::stdin(), 2);
    let program_name = program.display();
    let mut program = Program::start(command, errand.home, PATIENCE).map_err(|err| {
        let why = format!("unable to run {program_name}: {}", sys::errno::text(&err));
        // In stock it is the child that finds out that it cannot be run.
        let word = if program::is_exec(&err) { b'R' } else { b'S' };
        Failure { word, why: why.replace(char::is_control, "_") }
    })?;
    let pid = program.pid();
    let written = write(errand, &mut |bytes| {
        program.chunk(bytes);
        Ok(())
    });
    match written {
        Ok(envelope) => program.commit(&envelope)?,
        Err(failure) => {
            program.abort();
            return Err(failure);
        }
    }
    Ok(pid)
}
