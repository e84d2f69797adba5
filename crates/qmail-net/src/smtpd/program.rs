//! A queue program of the administrator's choice (`$QMAILQUEUE`), spoken to as `qmail-queue`:
//! the letter on descriptor 0, the envelope on 1, and 6 for a refusal in its own words.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::outcome::Outcome;
use base::{limits, text0};
use store::client::Refusal;
use sys::fd;
use sys::signal::Signal;
use sys::spawn::{self, Status};

use super::circumstances::Circumstances;

/// How long the program may take at its end, or leave us waiting in the middle.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A queue program that is running.
#[derive(Debug)]
pub(crate) struct Program {
    pid: u32,
    letter: OwnedFd,
    envelope: OwnedFd,
    refusal: OwnedFd,
    /// It has stopped reading.
    deaf: bool,
}

impl Program {
    /// Starts it. The value is a path, never a command line.
    pub(crate) fn start(path: OsString, about: &Circumstances) -> io::Result<Self> {
        let (letter_in, letter) = fd::pipe()?;
        let (envelope_in, envelope) = fd::pipe()?;
        let (refusal, refusal_out) = fd::pipe()?;
        fd::set_nonblocking(&letter, true)?;
        fd::set_nonblocking(&envelope, true)?;
        let command = spawn::Command::new(path).fd(letter_in, 0).fd(envelope_in, 1);
        let command = about.pairs().fold(command.fd(refusal_out, 6), |c, (k, v)| c.env(k, v));
        let pid = command.spawn()?;
        Ok(Self { pid, letter, envelope, refusal, deaf: false })
    }

    /// Its process number.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Hands over the next bytes of the letter. A failure shows in [`Program::commit`].
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        self.deaf = self.deaf || fd::write_all_within(&self.letter, bytes, PATIENCE).is_err();
    }

    /// Hands over the envelope and waits for the verdict.
    pub(crate) fn commit(mut self, envelope: &[u8]) -> Result<(), Refusal> {
        drop(self.letter);
        let spoken = spoken(envelope);
        self.deaf = self.deaf || fd::write_all_within(&self.envelope, &spoken, PATIENCE).is_err();
        drop(self.envelope);
        let words = last_words(&self.refusal);
        if words.is_none() {
            // It has an hour behind it: what it does now is not worth waiting for.
            let _ = sys::signal::kill(self.pid, Signal::Kill);
        }
        let status = spawn::wait(self.pid);
        if words.is_none() {
            return Err(refusal(b"Zqq timeout (#4.3.0)"));
        }
        let Ok(status) = status else { return Err(refusal(b"Zqq waitpid surprise (#4.3.0)")) };
        judge(status, self.deaf, &words.unwrap_or_default())
    }

    /// Leaves it without an envelope: it notices, and cleans up after itself.
    pub(crate) fn abort(self) {
        let Self { pid, letter, envelope, refusal, deaf: _ } = self;
        drop((letter, envelope));
        if last_words(&refusal).is_none() {
            let _ = sys::signal::kill(pid, Signal::Kill);
        }
        let _ = spawn::wait(pid);
    }
}

/// Everything on descriptor 6 up to its end; `None` if that does not come.
fn last_words(refusal: &OwnedFd) -> Option<Vec<u8>> {
    let (mut words, mut room) = (Vec::new(), [0; 512]);
    let end = sys::clock::monotonic().saturating_add(PATIENCE);
    loop {
        let left = end.saturating_sub(sys::clock::monotonic());
        let read = fd::read_within(refusal, &mut room, left).ok()?;
        let new = room.get(..read).unwrap_or_default();
        let free = limits::QUEUE_TEXT.saturating_sub(words.len());
        words.extend(new.iter().take(free));
        if read == 0 {
            return Some(words);
        }
    }
}

/// The envelope as `qmail-queue` reads it: `F` sender, `T` each recipient, and an empty field.
fn spoken(envelope: &[u8]) -> Vec<u8> {
    let mut spoken = Vec::with_capacity(envelope.len().saturating_mul(2));
    for (n, address) in text0::fields(envelope).into_iter().flatten().enumerate() {
        spoken.push(if n == 0 { b'F' } else { b'T' });
        text0::put(&mut spoken, address);
    }
    spoken.push(0);
    spoken
}

/// What the program's end means.
fn judge(status: Status, deaf: bool, words: &[u8]) -> Result<(), Refusal> {
    match status {
        Status::Killed(_) => Err(refusal(b"Zqq crashed (#4.3.0)")),
        Status::Exited(0) if deaf => Err(refusal(text(54))),
        Status::Exited(0) => Ok(()),
        Status::Exited(82) if words.len() > 2 && matches!(words.first(), Some(b'D' | b'Z')) => {
            Err(refusal(words))
        }
        Status::Exited(code) => Err(refusal(text(code))),
    }
}

/// A text whose first letter says whether to come again.
fn refusal(text: &[u8]) -> Refusal {
    let (letter, text) = text.split_first().unwrap_or((&b'Z', &[]));
    let never = Outcome::from_letter(*letter) == Some(Outcome::Never);
    let outcome = if never { Outcome::Never } else { Outcome::Later };
    Refusal { outcome, text: text.to_vec() }
}

/// What an exit code of `qmail-queue` means.
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
    fn envelopes_are_spoken_as_qmail_queue_reads_them() {
        assert_eq!(spoken(b"a@b\0c@d\0e\0"), b"Fa@b\0Tc@d\0Te\0\0");
        assert_eq!(spoken(b"\0c@d\0"), b"F\0Tc@d\0\0");
    }

    #[test]
    fn exit_codes_become_stock_texts() {
        let said = |status, deaf, words: &[u8]| {
            judge(status, deaf, words).map_err(|r| (r.outcome, r.text))
        };
        assert_eq!(said(Status::Exited(0), false, b""), Ok(()));
        for (status, deaf, words, outcome, text) in [
            (Status::Exited(0), true, &b""[..], Outcome::Later, &b"qq read error (#4.3.0)"[..]),
            (
                Status::Exited(31),
                false,
                b"",
                Outcome::Never,
                b"mail server permanently rejected message (#5.3.0)",
            ),
            (Status::Exited(40), false, b"", Outcome::Never, b"qq permanent problem (#5.3.0)"),
            (Status::Exited(41), false, b"", Outcome::Later, b"qq temporary problem (#4.3.0)"),
            (Status::Exited(82), false, b"DI dislike it", Outcome::Never, b"I dislike it"),
            (Status::Exited(82), false, b"D", Outcome::Later, b"qq temporary problem (#4.3.0)"),
            (Status::Killed(9), false, b"", Outcome::Later, b"qq crashed (#4.3.0)"),
        ] {
            assert_eq!(said(status, deaf, words), Err((outcome, text.to_vec())));
        }
    }
}
