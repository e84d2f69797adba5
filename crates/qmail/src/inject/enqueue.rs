//! Where a letter goes: to queued, to a program in qmail-queue's place, or to the screen.

use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::queue_exit::Exit;
use base::wire::queue::{Envelope, Origin};
use store::client::{QueueClient, Refusal};
use store::home::Home;
use store::program::{self, Program};
use sys::spawn::Command;
use sys::{errno, fd};

use super::Fatal;

/// How long a program in qmail-queue's place may take: as long as queued gives a letter.
const PATIENCE: Duration = Duration::from_secs(limits::QUEUED_SECONDS);

/// A letter on its way; without [`Outlet::commit`] nothing is queued.
#[derive(Debug)]
pub(crate) enum Outlet {
    /// `-n`.
    Screen,
    /// queued.
    Queued(QueueClient),
    /// The program `$QMAILQUEUE` names.
    Program(Program),
}

/// An address that no envelope can carry.
pub(super) fn too_long() -> Fatal {
    Refusal::of_exit(Exit::AddressTooLong).into()
}

/// A program that did not start: it cannot be run, or there are no processes or pipes for it.
fn not_started(err: &std::io::Error) -> Fatal {
    match program::is_exec(err) {
        true => Refusal::of_exit(Exit::NoProgram).into(),
        false => Fatal::temporary("unable to run qmail-queue"),
    }
}

impl From<Refusal> for Fatal {
    fn from(refusal: Refusal) -> Self {
        match refusal.outcome {
            Outcome::Never => Self::permanent(refusal.text),
            Outcome::Later | Outcome::Done => Self::temporary(refusal.text),
        }
    }
}

impl Outlet {
    /// Begins a letter at `$QMAILQUEUE`, else at queued.
    pub(crate) fn queue(home: &Home) -> Result<Self, Fatal> {
        match std::env::var_os("QMAILQUEUE").filter(|path| !path.is_empty()) {
            Some(path) => {
                let program = Program::start(Command::new(path), home, PATIENCE);
                Ok(Self::Program(program.map_err(|err| not_started(&err))?))
            }
            None => {
                let mut client = QueueClient::connect_soon(home).map_err(Refusal::from)?;
                client.begin(Origin::Local)?;
                Ok(Self::Queued(client))
            }
        }
    }

    /// The number by which the log knows the letter: the process that queues it.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Screen | Self::Queued(_) => std::process::id(),
            Self::Program(program) => program.pid(),
        }
    }

    /// Hands over the next bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        match self {
            Self::Screen => fd::write_all(fd::stdout(), bytes).map_err(|err| {
                Fatal::temporary(format!("unable to write output: {}", errno::text(&err)))
            }),
            Self::Queued(client) => Ok(client.chunk(bytes)?),
            Self::Program(program) => {
                program.chunk(bytes);
                Ok(())
            }
        }
    }

    /// Hands over the envelope (text0) and waits until the letter is safe.
    pub(crate) fn commit(self, envelope: &[u8]) -> Result<(), Fatal> {
        match self {
            Self::Screen => Ok(()),
            Self::Queued(mut client) => {
                if envelope.len() > limits::ENVELOPE {
                    return Err(Fatal::too_many());
                }
                let envelope = Envelope::new(envelope).map_err(|_| too_long())?;
                client.commit(&envelope)?;
                Ok(())
            }
            Self::Program(program) => Ok(program.commit(envelope)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_did_not_start_is_told_from_one_that_cannot_run() {
        let said = |kind: std::io::ErrorKind| not_started(&kind.into());
        let text = "unable to exec qq (#4.3.0)";
        assert_eq!(said(std::io::ErrorKind::NotFound), Fatal::temporary(text));
        let text = "unable to run qmail-queue";
        assert_eq!(said(std::io::ErrorKind::WouldBlock), Fatal::temporary(text));
    }
}
