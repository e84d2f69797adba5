//! queue a letter from descriptors 0 and 1
//!
//! *Runs as* whoever calls it; not set-uid, since queued owns the queue. *Hears* its caller: the
//! letter on descriptor 0 until its end, then the envelope on descriptor 1. *Opens* nothing.
//! *Speaks to* queued; to its caller only by its exit code (spec `qmail-overview.md` §6.1).

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::wire::queue::{Envelope, Origin};
use store::client::{QueueClient, Refusal};
use store::home::Home;
use sys::signal::{self, Signal};

/// Seconds after which it gives up, whatever it is waiting for.
const LIMIT: Duration = Duration::from_secs(86_400);
/// Bytes read at a time.
const PIECE: usize = limits::CHUNK;

/// Why the letter is not queued: the exit codes callers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    AddressTooLong = 11,
    Memory = 51,
    Timeout = 52,
    Write = 53,
    Read = 54,
    Home = 61,
    /// queued cannot be reached, or has trouble with its files.
    Queue = 63,
    Format = 91,
}

/// Exit 0 when the letter is on disk, else as spec `qmail-overview.md` §6.1 says.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    for ignored in [Signal::Int, Signal::Hup, Signal::Quit, Signal::Pipe] {
        // Who sends these does not know how far we are.
        signal::ignore(ignored);
    }
    match queue() {
        Ok(()) => 0,
        Err(failure) => failure as i32,
    }
}

fn queue() -> Result<(), Failure> {
    let until = sys::clock::monotonic().saturating_add(LIMIT);
    let home = Home::find().map_err(|_| Failure::Home)?;
    let mut client = QueueClient::connect_soon(&home).map_err(|_| Failure::Queue)?;
    // queued knows our uid, and says `from network` or `for bounce` if that is a role's.
    client.begin(Origin::Local).map_err(refused)?;
    each_piece(&sys::fd::take(0), until, |piece| {
        client.chunk(piece).map_err(refused).map(|()| false)
    })?;
    let mut parser = Parser::default();
    let ended = each_piece(&sys::fd::take(1), until, |piece| parser.take(piece))?;
    if !ended {
        return Err(Failure::Read);
    }
    let envelope = Envelope::new(&parser.block).map_err(|_| Failure::AddressTooLong)?;
    client.commit(&envelope).map_err(refused).map(|_| ())
}

/// Reads to the end, or until `take` says that this is all; true in that case.
fn each_piece(
    from: &OwnedFd,
    until: Duration,
    mut take: impl FnMut(&[u8]) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let mut piece = vec![0; PIECE];
    loop {
        let left = until.saturating_sub(sys::clock::monotonic());
        let n = sys::fd::read_within(from, &mut piece, left).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => Failure::Timeout,
            _ => Failure::Read,
        })?;
        if n == 0 || take(piece.get(..n).unwrap_or_default())? {
            return Ok(n > 0);
        }
    }
}

/// The exit code for what queued says.
fn refused(refusal: Refusal) -> Failure {
    let Refusal { outcome, text } = refusal;
    let says = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    match outcome {
        Outcome::Never => Failure::AddressTooLong,
        Outcome::Later | Outcome::Done if says(b"disk full") => Failure::Write,
        Outcome::Later | Outcome::Done if says(b"memory") => Failure::Memory,
        Outcome::Later | Outcome::Done => Failure::Queue,
    }
}

/// Reads `F<sender>\0T<recipient>\0…\0` and makes `sender\0recipient\0…` of it.
#[derive(Debug, Default)]
struct Parser {
    state: State,
    /// Bytes of the address so far, without its letter and NUL.
    len: usize,
    block: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Address,
    Between,
}

impl Parser {
    /// Takes the next bytes; true if the envelope is complete. What follows is not looked at.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        for &byte in bytes {
            match (self.state, byte) {
                (State::Start, b'F') | (State::Between, b'T') => {
                    (self.state, self.len) = (State::Address, 0);
                }
                (State::Between, 0) => return Ok(true),
                (State::Start | State::Between, _) => return Err(Failure::Format),
                (State::Address, 0) => {
                    self.block.push(0);
                    self.state = State::Between;
                }
                (State::Address, byte) => self.put(byte)?,
            }
        }
        if self.block.len() > limits::LOGGED_ENVELOPE {
            return Err(Failure::AddressTooLong);
        }
        Ok(false)
    }

    fn put(&mut self, byte: u8) -> Result<(), Failure> {
        self.len = self.len.saturating_add(1);
        if self.len > limits::ADDRESS {
            return Err(Failure::AddressTooLong);
        }
        self.block.push(byte);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let mut parser = Parser::default();
        let done = parser.take(bytes)?;
        Ok(done.then_some(parser.block))
    }

    #[test]
    fn an_envelope_is_taken_in_any_pieces() {
        let bytes = b"Fs@x\0Ta@b\0T\0\0";
        let block = b"s@x\0a@b\0\0".to_vec();
        assert_eq!(whole(bytes), Ok(Some(block.clone())));
        let mut parser = Parser::default();
        let (last, rest) = bytes.split_last().unwrap();
        for byte in rest {
            assert_eq!(parser.take(&[*byte]), Ok(false));
        }
        assert_eq!((parser.take(&[*last]), parser.block), (Ok(true), block));
    }

    #[test]
    fn an_end_before_the_final_nul_is_no_envelope() {
        for cut in [&b""[..], b"Fs", b"Fs\0", b"Fs\0Ta", b"Fs\0Ta\0"] {
            assert_eq!(whole(cut), Ok(None));
        }
    }

    #[test]
    fn other_letters_are_a_format_error() {
        for bad in [&b"Ts\0"[..], b"\0", b"Fs\0Fx\0", b"Fs\0x"] {
            assert_eq!(whole(bad), Err(Failure::Format));
        }
    }

    #[test]
    fn an_address_may_have_1002_bytes_and_no_more() {
        let with = |len| [b"F", &vec![b'a'; len][..], b"\0\0"].concat();
        assert!(whole(&with(1002)).is_ok());
        assert_eq!(whole(&with(1003)), Err(Failure::AddressTooLong));
    }
}
