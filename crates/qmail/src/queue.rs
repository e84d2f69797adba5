//! queue a letter from descriptors 0 and 1
//!
//! *Runs as* whoever calls it; not set-uid, since queued owns the queue. *Hears* its caller: the
//! letter on descriptor 0 until its end, then the envelope on descriptor 1. *Opens* nothing.
//! *Speaks to* queued; to its caller only by its exit code (qmail-queue(8)).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::queue_exit::Exit;
use base::spoken::Ear;
use base::wire::queue::{Envelope, Origin};
use store::client::{QueueClient, Refusal};
use store::home::Home;
use sys::fd;
use sys::poll::{self, Interest};
use sys::signal::{self, Signal, Signals};

/// Seconds after which it gives up, whatever it is waiting for.
const LIMIT: Duration = Duration::from_secs(86_400);
/// Bytes read at a time.
const PIECE: usize = limits::CHUNK;
/// Who sends these does not know how far we are.
const IGNORED: [Signal; 8] = [
    Signal::Hup,
    Signal::Int,
    Signal::Pipe,
    Signal::Prof,
    Signal::Quit,
    Signal::Vtalrm,
    Signal::Xcpu,
    Signal::Xfsz,
];

/// Exit 0 when the letter is on disk, else as qmail-queue(8) says.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    IGNORED.into_iter().for_each(signal::ignore);
    match queue() {
        Ok(()) => 0,
        Err(exit) => exit.code().into(),
    }
}

fn queue() -> Result<(), Exit> {
    if !fd::stdin_was_open() {
        return Err(Exit::Read);
    }
    let patience = Patience::begin()?;
    let home = Home::find().map_err(|_| Exit::Home)?;
    let mut client = QueueClient::connect_soon(&home).map_err(|_| unreachable_in(&home))?;
    // queued knows our uid, and says `from network` or `for bounce` if that is a role's.
    client.begin(Origin::Local).map_err(refused)?;
    patience
        .each_piece(&fd::take(0), |piece| client.chunk(piece).map_err(refused).map(|()| false))?;
    let mut ear = Ear::default();
    let ended = patience.each_piece(&fd::take(1), |piece| ear.take(piece).map_err(Exit::from))?;
    if !ended {
        return Err(Exit::Read);
    }
    let envelope = Envelope::new(ear.block()).map_err(|_| Exit::AddressTooLong)?;
    client.commit(&envelope).map_err(refused).map(|_| ())
}

/// Why queued cannot be reached.
fn unreachable_in(home: &Home) -> Exit {
    if home.path("queue").is_dir() { Exit::Queue } else { Exit::NoQueue }
}

/// How long the caller is waited for: until the limit, or until ALRM says that it is over.
struct Patience {
    until: Duration,
    alarm: Signals,
}

impl Patience {
    fn begin() -> Result<Self, Exit> {
        let until = sys::clock::monotonic().saturating_add(LIMIT);
        let alarm = Signals::catch(&[Signal::Alrm]).map_err(|_| Exit::Memory)?;
        Ok(Self { until, alarm })
    }

    /// Reads to the end, or until `take` says that this is all; true in that case.
    fn each_piece(
        &self,
        from: &OwnedFd,
        mut take: impl FnMut(&[u8]) -> Result<bool, Exit>,
    ) -> Result<bool, Exit> {
        // Where nothing can ever be read (a pipe's other end) waiting would not end.
        fd::read(from, &mut []).map_err(|_| Exit::Read)?;
        let mut piece = vec![0; PIECE];
        loop {
            self.wait(from)?;
            let n = match fd::read(from, &mut piece) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => continue,
                read => read.map_err(|_| Exit::Read)?,
            };
            if n == 0 || take(piece.get(..n).unwrap_or_default())? {
                return Ok(n > 0);
            }
        }
    }

    /// Waits for something to read.
    fn wait(&self, from: &OwnedFd) -> Result<(), Exit> {
        let both = [from.as_fd(), self.alarm.as_fd()];
        loop {
            let left = self.until.saturating_sub(sys::clock::monotonic());
            let ready = poll::ready(&both, Interest::READ, Some(left)).map_err(|_| Exit::Read)?;
            match ready.as_slice() {
                [_, true] => return Err(Exit::Timeout),
                [true, _] => return Ok(()),
                _ if left.is_zero() => return Err(Exit::Timeout),
                _ => (),
            }
        }
    }
}

/// The exit code for what queued says.
fn refused(refusal: Refusal) -> Exit {
    let Refusal { outcome, text } = refusal;
    let says = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    match outcome {
        Outcome::Never => Exit::AddressTooLong,
        Outcome::Later | Outcome::Done if says(b"disk full") => Exit::Write,
        Outcome::Later | Outcome::Done if says(b"memory") => Exit::Memory,
        Outcome::Later | Outcome::Done => Exit::Queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_queued_says_has_its_code() {
        for exit in [Exit::AddressTooLong, Exit::Memory, Exit::Write, Exit::Queue] {
            assert_eq!(refused(Refusal::of_exit(exit)), exit);
        }
        let other = Refusal { outcome: Outcome::Later, text: b"something else".to_vec() };
        assert_eq!(refused(other), Exit::Queue);
    }
}
