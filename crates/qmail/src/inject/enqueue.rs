//! Where a letter goes: to queued, to a program in qmail-queue's place, or to the screen.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use base::outcome::Outcome;
use base::wire::queue::{Envelope, Origin};
use base::{limits, text0};
use store::client::{QueueClient, Refusal};
use store::home::Home;
use sys::spawn::{self, Command, Status};
use sys::{errno, fd};

use super::Fatal;

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

/// A program that hears the letter on descriptor 0 and the envelope on 1, and may refuse in its
/// own words on 6.
#[derive(Debug)]
pub(crate) struct Program {
    pid: u32,
    letter: OwnedFd,
    envelope: OwnedFd,
    words: OwnedFd,
    /// It has stopped reading.
    deaf: bool,
}

/// An address that no envelope can carry.
pub(super) fn too_long() -> Fatal {
    refused(text(11))
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
            Some(path) => Program::start(path, home).map(Self::Program),
            None => {
                let mut client = QueueClient::connect(home).map_err(Refusal::from)?;
                client.begin(Origin::Local)?;
                Ok(Self::Queued(client))
            }
        }
    }

    /// The number by which the log knows the letter: the process that queues it.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Screen | Self::Queued(_) => std::process::id(),
            Self::Program(program) => program.pid,
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
                program.deaf = program.deaf || fd::write_all(&program.letter, bytes).is_err();
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
                    return Err(Fatal::permanent("too many recipients for one letter"));
                }
                let envelope = Envelope::new(envelope).map_err(|_| too_long())?;
                client.commit(&envelope)?;
                Ok(())
            }
            Self::Program(program) => program.commit(envelope),
        }
    }
}

impl Program {
    /// Starts it in the home. The value is a path, never a command line.
    fn start(path: OsString, home: &Home) -> Result<Self, Fatal> {
        let trouble = |_| refused(text(120));
        let (letter_in, letter) = fd::pipe().map_err(trouble)?;
        let (envelope_in, envelope) = fd::pipe().map_err(trouble)?;
        let (words, words_out) = fd::pipe().map_err(trouble)?;
        let command = Command::new(path).dir(home.root());
        let command = command.fd(letter_in, 0).fd(envelope_in, 1).fd(words_out, 6);
        let pid = command.spawn().map_err(trouble)?;
        Ok(Self { pid, letter, envelope, words, deaf: false })
    }

    fn commit(self, envelope: &[u8]) -> Result<(), Fatal> {
        drop(self.letter);
        let deaf = self.deaf || fd::write_all(&self.envelope, &spoken(envelope)).is_err();
        drop(self.envelope);
        let words = words(&self.words);
        match spawn::wait(self.pid) {
            Ok(status) => judge(status, deaf, &words),
            Err(_) => Err(refused(b"Zqq waitpid surprise (#4.3.0)")),
        }
    }
}

/// What the program says on descriptor 6, up to its end; only the beginning is kept.
fn words(from: &OwnedFd) -> Vec<u8> {
    let (mut words, mut room) = (Vec::new(), [0; 512]);
    while let Ok(read) = fd::read(from, &mut room) {
        if read == 0 {
            break;
        }
        let free = limits::QUEUE_TEXT.saturating_sub(words.len());
        words.extend(room.iter().take(read.min(free)));
    }
    words
}

/// The envelope as qmail-queue reads it: `F` sender, `T` each recipient, and an empty record.
fn spoken(envelope: &[u8]) -> Vec<u8> {
    let mut spoken = Vec::with_capacity(envelope.len());
    for (n, address) in text0::fields(envelope).into_iter().flatten().enumerate() {
        spoken.push(if n == 0 { b'F' } else { b'T' });
        text0::put(&mut spoken, address);
    }
    spoken.push(0);
    spoken
}

/// What the program's end means.
fn judge(status: Status, deaf: bool, words: &[u8]) -> Result<(), Fatal> {
    let text = match status {
        Status::Killed(_) => b"Zqq crashed (#4.3.0)",
        Status::Exited(0) if deaf => text(54),
        Status::Exited(0) => return Ok(()),
        Status::Exited(82) if words.len() > 2 && matches!(words, [b'D' | b'Z', ..]) => words,
        Status::Exited(code) => text(code),
    };
    Err(refused(text))
}

/// A text whose first letter says whether to come again.
fn refused(text: &[u8]) -> Fatal {
    match text {
        [b'D', text @ ..] => Fatal::permanent(text),
        [_, text @ ..] => Fatal::temporary(text),
        [] => Fatal::temporary("qq temporary problem (#4.3.0)"),
    }
}

/// What an exit code of qmail-queue means.
const fn text(code: u8) -> &'static [u8] {
    match code {
        11 | 115 => b"Denvelope address too long for qq (#5.1.3)",
        31 => b"Dmail server permanently rejected message (#5.3.0)",
        12..=40 => b"Dqq permanent problem (#5.3.0)",
        51 => b"Zqq out of memory (#4.3.0)",
        52 => b"Zqq timeout (#4.3.0)",
        53 => b"Zqq write error or disk full (#4.3.0)",
        54 => b"Zqq read error (#4.3.0)",
        55 => b"Zqq unable to read configuration (#4.3.0)",
        56 => b"Zqq trouble making network connection (#4.3.0)",
        61 => b"Zqq trouble in home directory (#4.3.0)",
        62..=66 => b"Zqq trouble creating files in queue (#4.3.0)",
        71 => b"Zmail server temporarily rejected message (#4.3.0)",
        72 => b"Zconnection to mail server timed out (#4.4.1)",
        73 => b"Zconnection to mail server rejected (#4.4.1)",
        74 => b"Zcommunication with mail server failed (#4.4.2)",
        81 | 91 => b"Zqq internal bug (#4.3.0)",
        120 => b"Zunable to exec qq (#4.3.0)",
        _ => b"Zqq temporary problem (#4.3.0)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_spoken_as_qmail_queue_reads_it() {
        assert_eq!(spoken(b"a@b\0c@d\0e\0"), b"Fa@b\0Tc@d\0Te\0\0");
        assert_eq!(spoken(b"\0c@d\0"), b"F\0Tc@d\0\0");
    }

    #[test]
    fn exit_codes_become_stock_texts_and_100_or_111() {
        let said = |status, deaf, words: &[u8]| judge(status, deaf, words).unwrap_err();
        assert_eq!(judge(Status::Exited(0), false, b""), Ok(()));
        let permanent = Fatal::permanent("mail server permanently rejected message (#5.3.0)");
        assert_eq!(said(Status::Exited(31), false, b""), permanent);
        assert_eq!(said(Status::Exited(0), true, b"").text, b"qq read error (#4.3.0)");
        assert_eq!(said(Status::Exited(82), false, b"DNo, thanks"), Fatal::permanent("No, thanks"));
        assert_eq!(said(Status::Exited(82), false, b"Xno").code, 111);
        assert_eq!(said(Status::Killed(9), false, b""), Fatal::temporary("qq crashed (#4.3.0)"));
    }
}
