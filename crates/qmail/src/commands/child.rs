//! A program that is asked about a letter: it gets the letter, its exit code is the answer.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;

use base::errno::is_temporary;
use sys::errno;
use sys::spawn::{self, Command, Status};

use super::{Stop, say};

/// What a program said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It ended with 0.
    Yes,
    /// It ended with anything else, or is not there to be asked.
    No,
}

/// Runs `program` for `asker` on our descriptor 0 and waits for its answer.
pub(super) fn ask(asker: &str, program: &OsString, args: &[OsString]) -> Result<Answer, Stop> {
    let err = match Command::new(program).args(args).spawn() {
        Ok(pid) => return judge(&spawn::wait(pid)),
        Err(err) => err,
    };
    let answer = not_started(&err)?;
    let (program, why) = (program.as_bytes(), errno::text(&err).as_bytes());
    // The letter goes on all the same: whoever meant to have it stopped has to learn it.
    say([asker.as_bytes(), b": warning: unable to run ", program, b": ", why].concat());
    Ok(answer)
}

/// What an end means.
fn judge(end: &io::Result<Status>) -> Result<Answer, Stop> {
    match end {
        Ok(Status::Exited(0)) => Ok(Answer::Yes),
        Ok(Status::Exited(111)) => Err(Stop::later("temporary child error")),
        Ok(Status::Exited(_)) => Ok(Answer::No),
        Ok(Status::Killed(_)) => Err(Stop::later("child crashed")),
        Err(_) => Err(Stop::later("wait failed")),
    }
}

/// What it means that a program cannot be run: to have none is an answer, as in stock.
fn not_started(err: &io::Error) -> Result<Answer, Stop> {
    match err.kind() {
        // The fork's errors, or an exec's that are as passing.
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Err(Stop::unable("fork", err)),
        _ if is_temporary(errno::number(err)) => Err(Stop::later("temporary child error")),
        _ => Ok(Answer::No),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_answer_or_a_reason_to_wait() {
        assert_eq!(judge(&Ok(Status::Exited(0))), Ok(Answer::Yes));
        for no in [1, 99, 100, 110, 112, 255] {
            assert_eq!(judge(&Ok(Status::Exited(no))), Ok(Answer::No));
        }
        let later = |text: &str| Err(Stop::later(text));
        assert_eq!(judge(&Ok(Status::Exited(111))), later("temporary child error"));
        assert_eq!(judge(&Ok(Status::Killed(9))), later("child crashed"));
        assert_eq!(judge(&Err(io::ErrorKind::Other.into())), later("wait failed"));
    }

    #[test]
    fn a_missing_program_says_no_and_a_busy_one_is_asked_later() {
        let of = |number: i32| not_started(&io::Error::from_raw_os_error(number));
        assert_eq!((of(2), of(13)), (Ok(Answer::No), Ok(Answer::No)));
        assert_eq!(of(26), Err(Stop::later("temporary child error")));
        assert_eq!(of(11), Err(Stop::later("unable to fork: temporary failure")));
    }
}
