//! Where letters go: to queued, or to the program `$QMAILQUEUE` names.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use base::queue_exit::Exit;
use base::wire::queue::{Envelope, Origin};
use proto::smtp::server::Verdict;
use store::client::{QueueClient, Refusal};
use store::home::Home;
use store::program::{self, Program};
use sys::spawn::Command;

use super::circumstances::Circumstances;

/// Takes one letter after the other to the queue.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    /// The program, as the log knows it.
    who: &'static str,
    home: &'a Home,
    about: &'a Circumstances,
    /// `$QMAILQUEUE`.
    program: Option<OsString>,
    /// The connection to queued, kept from letter to letter, and to the client's next connection.
    client: &'a mut Option<QueueClient>,
    letter: Letter,
}

/// How long a program may keep a client waiting, in the middle of a letter or at its end.
const PATIENCE: Duration = Duration::from_secs(3_600);

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
    pub(crate) fn new(
        who: &'static str,
        home: &'a Home,
        about: &'a Circumstances,
        client: &'a mut Option<QueueClient>,
    ) -> Self {
        let program = about.get("QMAILQUEUE").map(OsString::from_vec);
        Self { who, home, about, program, client, letter: Letter::None }
    }

    /// Begins a letter.
    pub(crate) fn begin(&mut self, received: &[u8]) -> Verdict {
        self.abort();
        let begun = match self.program.clone() {
            Some(path) => {
                self.start(path).map(Letter::Program).map_err(|err| match program::is_exec(&err) {
                    true => refused(Refusal::of_exit(Exit::NoProgram)),
                    false => Verdict::NoQueue,
                })
            }
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

    /// Starts the program, with the variables of the connection.
    fn start(&self, path: OsString) -> io::Result<Program> {
        let command = self.about.pairs().fold(Command::new(path), |c, (k, v)| c.env(k, v));
        Program::start(command, self.home, PATIENCE)
    }

    /// Begins at queued: over the connection we have, else over a new one (queued may have been
    /// restarted since the last letter).
    fn ask_queued(&mut self) -> Result<(), Refusal> {
        let kept = self.client.take().and_then(|mut client| client.is_open().then_some(client));
        let mut client = match kept {
            Some(client) => client,
            None => QueueClient::connect_soon(self.home).inspect_err(|err| {
                super::say(self.who, format_args!("warning: queued does not answer: {err}"));
            })?,
        };
        client.begin_with_next(Origin::Network);
        *self.client = Some(client);
        Ok(())
    }

    /// Hands over the next bytes.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        match &mut self.letter {
            Letter::Queued => {
                let sent = self.client.as_mut().map(|client| client.chunk_with_next(bytes));
                if let Some(Err(refusal)) = sent {
                    *self.client = None;
                    self.letter = Letter::Lost(refusal);
                }
            }
            Letter::Program(program) => program.chunk(bytes),
            Letter::None | Letter::Lost(_) => {}
        }
    }

    /// Makes the letter final.
    pub(crate) fn commit(&mut self, envelope: &[u8]) -> Verdict {
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
        let envelope =
            Envelope::new(envelope).map_err(|_| Refusal::of_exit(Exit::AddressTooLong))?;
        // A connection that has refused once is not asked again.
        let mut client = self.client.take().ok_or_else(|| Refusal::of_exit(Exit::Queue))?;
        client.commit(&envelope)?;
        *self.client = Some(client);
        Ok(())
    }

    /// Forgets the letter under way, if there is one: queued notices that the connection closes,
    /// the program that its pipes do.
    pub(crate) fn abort(&mut self) {
        match std::mem::replace(&mut self.letter, Letter::None) {
            Letter::Queued => *self.client = None,
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
