//! Where letters go: to queued, or to the program `$QMAILQUEUE` names.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use base::limits;
use base::outcome::Outcome;
use base::wire::queue::{Envelope, Origin};
use proto::smtp::server::Verdict;
use store::client::{QueueClient, Refusal};
use store::home::Home;

use super::circumstances::Circumstances;
use super::program::Program;

/// Takes one letter after the other to the queue.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    home: &'a Home,
    about: &'a Circumstances,
    /// `$QMAILQUEUE`.
    program: Option<OsString>,
    /// The connection to queued, kept from letter to letter.
    client: Option<QueueClient>,
    letter: Letter,
    /// Bytes of the letter not handed on yet, so that a small letter is one write.
    waiting: Vec<u8>,
}

/// How many bytes of a letter wait for more at most.
const WAITING: usize = limits::CHUNK / 2;

/// The letter under way.
#[derive(Debug)]
enum Letter {
    None,
    /// queued takes it.
    Queued,
    /// The program takes it.
    Program(Program),
    /// The queue has failed in the middle; the client will be told at the end.
    Lost(Refusal),
}

impl<'a> Intake<'a> {
    /// No letter yet; nothing is connected or started.
    pub(crate) fn new(home: &'a Home, about: &'a Circumstances) -> Self {
        let program = about.get("QMAILQUEUE").map(OsString::from_vec);
        Self { home, about, program, client: None, letter: Letter::None, waiting: Vec::new() }
    }

    /// Begins a letter.
    pub(crate) fn begin(&mut self, received: &[u8]) -> Verdict {
        self.abort();
        let begun = match self.program.clone() {
            Some(path) => match Program::start(path, self.about) {
                Ok(program) => Ok(Letter::Program(program)),
                Err(err) if is_exec(&err) => {
                    Err(Verdict::Refused(Outcome::Later, b"unable to exec qq (#4.3.0)".to_vec()))
                }
                Err(_) => Err(Verdict::NoQueue),
            },
            None => self.ask_queued().map(|()| Letter::Queued).map_err(refused),
        };
        match begun {
            Ok(letter) => {
                self.letter = letter;
                self.chunk(received);
                Verdict::Begun
            }
            Err(verdict) => verdict,
        }
    }

    /// Begins at queued: over the connection we have, else over a new one (queued may have been
    /// restarted since the last letter).
    fn ask_queued(&mut self) -> Result<(), Refusal> {
        if let Some(mut client) = self.client.take()
            && client.begin(Origin::Network).is_ok()
        {
            self.client = Some(client);
            return Ok(());
        }
        let mut client = QueueClient::connect(self.home)?;
        client.begin(Origin::Network)?;
        self.client = Some(client);
        Ok(())
    }

    /// Hands over the next bytes, now or with more.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        if self.waiting.len().saturating_add(bytes.len()) > WAITING {
            let waiting = std::mem::take(&mut self.waiting);
            self.hand_on(&waiting);
            self.hand_on(bytes);
        } else {
            self.waiting.extend_from_slice(bytes);
        }
    }

    fn hand_on(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.letter {
            Letter::Queued => {
                let sent = self.client.as_mut().map(|client| client.chunk(bytes));
                if let Some(Err(refusal)) = sent {
                    self.client = None;
                    self.letter = Letter::Lost(refusal);
                }
            }
            Letter::Program(program) => program.chunk(bytes),
            Letter::None | Letter::Lost(_) => {}
        }
    }

    /// Makes the letter final.
    pub(crate) fn commit(&mut self, envelope: &[u8]) -> Verdict {
        let waiting = std::mem::take(&mut self.waiting);
        self.hand_on(&waiting);
        match std::mem::replace(&mut self.letter, Letter::None) {
            Letter::Queued => self.commit_queued(envelope).map_or_else(refused, |()| queued(pid())),
            Letter::Program(program) => {
                let pid = program.pid();
                program.commit(envelope).map_or_else(refused, |()| queued(pid))
            }
            Letter::Lost(refusal) => refused(refusal),
            Letter::None => Verdict::NoQueue,
        }
    }

    fn commit_queued(&mut self, envelope: &[u8]) -> Result<(), Refusal> {
        let too_long = |_| Refusal {
            outcome: Outcome::Never,
            text: b"envelope address too long for qq (#5.1.3)".to_vec(),
        };
        let envelope = Envelope::new(envelope).map_err(too_long)?;
        // A connection that has refused once is not asked again.
        let mut client = self
            .client
            .take()
            .ok_or(std::io::ErrorKind::NotConnected)
            .map_err(std::io::Error::from)?;
        client.commit(&envelope)?;
        self.client = Some(client);
        Ok(())
    }

    /// Forgets the letter under way, if there is one: queued notices that the connection closes,
    /// the program that its pipes do.
    pub(crate) fn abort(&mut self) {
        self.waiting = Vec::new();
        match std::mem::replace(&mut self.letter, Letter::None) {
            Letter::Queued => self.client = None,
            Letter::Program(program) => program.abort(),
            Letter::None | Letter::Lost(_) => {}
        }
    }
}

fn pid() -> u32 {
    std::process::id()
}

fn queued(pid: u32) -> Verdict {
    Verdict::Queued { secs: sys::clock::now().secs(), pid }
}

fn refused(refusal: Refusal) -> Verdict {
    Verdict::Refused(refusal.outcome, refusal.text)
}

/// Whether a program could not be started because of what its path names.
fn is_exec(err: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    matches!(err.kind(), NotFound | PermissionDenied) || err.raw_os_error() == Some(8)
}
