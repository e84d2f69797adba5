//! A queue program of the administrator's choice (`$QMAILQUEUE`), spoken to as `qmail-queue`: the
//! letter on descriptor 0, the envelope on 1, and 6 for a refusal in its own words
//! (qmail-queue(8)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::queue_exit::{self, Exit};
use base::{limits, text0};
use sys::poll::{self, Interest};
use sys::process::Held;
use sys::signal::Signal;
use sys::spawn::{self, Command};
use sys::{clock, errno, fd};

use crate::client::Refusal;
use crate::home::Home;

/// A queue program that is running. Without [`Program::commit`] it queues nothing.
#[derive(Debug)]
pub struct Program {
    pid: u32,
    held: Held,
    letter: OwnedFd,
    envelope: OwnedFd,
    words: OwnedFd,
    /// It has stopped reading.
    deaf: bool,
    /// How long it may leave a write waiting, and how long it may take to end.
    patience: Duration,
}

impl Program {
    /// Starts it in the home. A command of `$QMAILQUEUE` has no arguments: the value is a path, to
    /// be read in the home and not sought in `$PATH`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: Command<'_>, home: &Home, patience: Duration) -> io::Result<Self> {
        let (letter_in, letter) = fd::pipe()?;
        let (envelope_in, envelope) = fd::pipe()?;
        let (words, words_out) = fd::pipe()?;
        let mut command = command.dir(home.root());
        command.program = home.path(&command.program).into_os_string();
        let pid = command.fd(letter_in, 0).fd(envelope_in, 1).fd(words_out, 6).spawn()?;
        let held = Held::open(pid).inspect_err(|_| kill(pid))?;
        Ok(Self { pid, held, letter, envelope, words, deaf: false, patience })
    }

    /// Its process number, by which the log knows the letter.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Hands over the next bytes of the letter. A failure shows in [`Program::commit`].
    pub fn chunk(&mut self, bytes: &[u8]) {
        self.deaf = self.deaf || fd::write_all_within(&self.letter, bytes, self.patience).is_err();
    }

    /// Hands over the envelope (text0) and waits for the verdict.
    ///
    /// # Errors
    /// Why the letter is not queued.
    pub fn commit(self, envelope: &[u8]) -> Result<(), Refusal> {
        drop(self.letter);
        let spoken = spoken(envelope);
        let deaf =
            self.deaf || fd::write_all_within(&self.envelope, &spoken, self.patience).is_err();
        drop(self.envelope);
        let Some(words) = last_words(&self.held, &self.words, self.patience) else {
            kill(self.pid);
            return Err(Refusal::of_exit(Exit::Timeout));
        };
        let Ok(status) = spawn::wait(self.pid) else {
            return Err(Refusal::later("qq waitpid surprise (#4.3.0)"));
        };
        Ok(queue_exit::judge(status.code(), deaf, &words)?)
    }

    /// Leaves it without an envelope: it notices, and cleans up after itself.
    pub fn abort(self) {
        drop((self.letter, self.envelope));
        match last_words(&self.held, &self.words, self.patience) {
            Some(_) => drop(spawn::wait(self.pid)),
            None => kill(self.pid),
        }
    }
}

/// Whether the program itself could not be run, rather than no process be made for it.
pub fn is_exec(err: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let no_program = [NotFound, PermissionDenied, IsADirectory, NotADirectory];
    no_program.contains(&err.kind()) || errno::is(err, errno::ENOEXEC)
}

/// Ends a child for which waiting is not worth while any more.
fn kill(pid: u32) {
    let _ = sys::signal::kill(pid, Signal::Kill);
    let _ = spawn::wait(pid);
}

/// What a program says on its way to its end, of which only the beginning is kept; `None` if the
/// end does not come. Somebody it leaves behind may hold descriptor 6: it is not waited for.
fn last_words(held: &Held, words: &OwnedFd, patience: Duration) -> Option<Vec<u8>> {
    let by = clock::monotonic().saturating_add(patience);
    let (mut said, mut room) = (Vec::new(), [0; 512]);
    let both = [held.as_fd(), words.as_fd()];
    let [end, _] = &both;
    let mut watched = &both[..];
    loop {
        let left = by.saturating_sub(clock::monotonic());
        let ready = poll::ready(watched, Interest::READ, Some(left)).ok()?;
        if ready.get(1) == Some(&true) && !left.is_zero() {
            let read = fd::read(words, &mut room).unwrap_or(0);
            let free = limits::QUEUE_TEXT.saturating_sub(said.len());
            said.extend(room.iter().take(read.min(free)));
            if read == 0 {
                watched = std::slice::from_ref(end);
            }
        } else if ready.first() == Some(&true) {
            return Some(said);
        } else if left.is_zero() {
            return None;
        }
    }
}

/// The envelope as `qmail-queue` reads it: `F` sender, `T` each recipient, and an empty record.
fn spoken(envelope: &[u8]) -> Vec<u8> {
    let mut spoken = Vec::with_capacity(envelope.len().saturating_mul(2));
    for (n, address) in text0::fields(envelope).into_iter().flatten().enumerate() {
        spoken.push(if n == 0 { b'F' } else { b'T' });
        text0::put(&mut spoken, address);
    }
    spoken.push(0);
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::outcome::Outcome;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Starts a script in qmail-queue's place.
    fn start(script: &str, patience: Duration) -> (Program, yard::Kept<Home>) {
        let home = crate::users::tests::home("program");
        let command = Command::new("/bin/sh").args(["-c", script]);
        let program = Program::start(command, &home, patience).unwrap();
        (program, home)
    }

    #[test]
    fn the_envelope_is_spoken_as_qmail_queue_reads_it() {
        assert_eq!(spoken(b"a@b\0c@d\0e\0"), b"Fa@b\0Tc@d\0Te\0\0");
        assert_eq!(spoken(b"\0c@d\0"), b"F\0Tc@d\0\0");
    }

    #[test]
    fn a_program_gets_letter_and_envelope_in_the_home() {
        let (mut program, home) = start("cat >l; cat <&1 >e", PATIENCE);
        let letter = vec![b'x'; 200_000];
        program.chunk(&letter);
        program.chunk(b"end\n");
        assert_eq!(program.commit(b"a@b\0c@d\0"), Ok(()));
        assert_eq!(std::fs::read(home.path("l")).unwrap(), [&letter[..], b"end\n"].concat());
        assert_eq!(std::fs::read(home.path("e")).unwrap(), b"Fa@b\0Tc@d\0\0");
    }

    #[test]
    fn a_path_is_read_in_the_home_and_not_sought() {
        let home = crate::users::tests::home("program-path");
        let start = |name: &str| Program::start(Command::new(name), &home, PATIENCE);
        assert!(is_exec(&start("sh").unwrap_err()));
        // Written by a process of its own: no fork of another test holds it open.
        let text = "printf '#!/bin/sh\\ncat >letter; cat <&1 >envelope\\n' > \"$0\"";
        let writer = Command::new("sh").args(["-c", text]).arg(home.path("own"));
        spawn::wait(writer.spawn().unwrap()).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.path("own"), open).unwrap();
        assert_eq!(start("own").unwrap().commit(b"a\0b\0"), Ok(()));
    }

    #[test]
    fn a_program_refuses_by_code_or_in_its_own_words() {
        let hear = "cat >l; cat <&1 >e;";
        let long = format!("head -c 70000 /dev/zero | tr '\\0' D >&6; {hear} exit 82");
        for (script, outcome, text) in [
            (format!("{hear} exit 53"), Outcome::Later, "qq write error or disk full (#4.3.0)"),
            (format!("{hear} printf DNo. >&6; exit 82"), Outcome::Never, "No."),
            (format!("{hear} kill -9 $$"), Outcome::Later, "qq crashed (#4.3.0)"),
            // More words than the pipe holds.
            (format!("cat >l; {long}"), Outcome::Never, &"D".repeat(254)),
            // What it leaves behind holds 6.
            (
                format!("{hear} sleep 30 2>&- & exit 31"),
                Outcome::Never,
                "mail server permanently \
                rejected message (#5.3.0)",
            ),
        ] {
            let (mut program, _home) = start(&script, PATIENCE);
            program.chunk(b"x\n");
            let refusal = program.commit(b"a\0b\0").unwrap_err();
            assert_eq!((refusal.outcome, refusal.to_string()), (outcome, text.to_owned()));
        }
    }

    #[test]
    fn a_program_that_stops_reading_has_not_queued_anything() {
        let (mut program, _home) = start("exec 0<&- 1>&-; exit 0", PATIENCE);
        program.chunk(&vec![b'x'; 200_000]);
        assert_eq!(program.commit(b"a\0b\0").unwrap_err().text, b"qq read error (#4.3.0)");
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        // It closes 6, so that only its end is waited for.
        let (program, _home) =
            start("exec 6>&-; cat >l; cat <&1 >e; exec sleep 60", Duration::from_millis(200));
        assert_eq!(program.commit(b"a\0b\0").unwrap_err().text, b"qq timeout (#4.3.0)");
    }

    #[test]
    fn an_aborted_one_sees_an_envelope_without_its_end() {
        let (mut program, home) = start("cat >l; cat <&1 >e; echo over >o", PATIENCE);
        program.chunk(b"x\n");
        program.abort();
        assert_eq!(std::fs::read(home.path("e")).unwrap(), b"");
        assert_eq!(std::fs::read(home.path("o")).unwrap(), b"over\n");
    }
}
