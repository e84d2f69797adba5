//! What the end of a `qmail-queue`, or of a program in its place, means to who gave it a letter
//! (qmail-queue(8)).

use crate::outcome::Outcome;
use crate::spoken::Unspoken;

/// Why a letter is not queued: when to come again, and the words for it.
pub type Refused<'a> = (Outcome, &'a [u8]);

/// The exit codes that our programs give (qmail-queue(8), qmail-qmqpc(8)), and those that we say for
/// a program that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An address or the whole envelope is too long.
    AddressTooLong = 11,
    /// The server refuses the letter for good.
    Refused = 31,
    /// No memory.
    Memory = 51,
    /// It took too long.
    Timeout = 52,
    /// The disk is full, or cannot be written.
    Write = 53,
    /// The letter or the envelope cannot be read.
    Read = 54,
    /// A control file cannot be read, or cannot be meant.
    Control = 55,
    /// There is no socket to be had.
    Network = 56,
    /// There is no home.
    Home = 61,
    /// There is no queue in the home.
    NoQueue = 62,
    /// queued cannot be reached, or has trouble with its files.
    Queue = 63,
    /// The server refuses the letter for now.
    RefusedNow = 71,
    /// No server took the connection in time.
    ConnectTimeout = 72,
    /// Every server refused the connection.
    ConnectRefused = 73,
    /// The server fell silent, or talks nonsense.
    Communication = 74,
    /// The envelope is none.
    Format = 91,
    /// The program cannot be run.
    NoProgram = 120,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means.
    pub const fn meaning(self) -> Refused<'static> {
        text(self.code())
    }
}

impl From<Unspoken> for Exit {
    fn from(why: Unspoken) -> Self {
        match why {
            Unspoken::Format => Self::Format,
            Unspoken::TooLong => Self::AddressTooLong,
        }
    }
}

/// The code with which a program refuses in its own words, said on descriptor 6.
pub const OWN_WORDS: u8 = 82;

/// Judges how the program ended: its exit code (none if a signal killed it), whether it had stopped
/// reading before everything was written, and its words on descriptor 6.
///
/// # Errors
/// Why the letter is not queued; never `Outcome::Done`.
pub fn judge(code: Option<u8>, deaf: bool, words: &[u8]) -> Result<(), Refused<'_>> {
    match (code, words) {
        (None, _) => Err((Outcome::Later, b"qq crashed (#4.3.0)")),
        // It cannot have seen the whole envelope.
        (Some(0), _) if deaf => Err(Exit::Read.meaning()),
        (Some(0), _) => Ok(()),
        (Some(OWN_WORDS), [b'D', own @ ..]) if own.len() > 1 => Err((Outcome::Never, own)),
        (Some(OWN_WORDS), [_, own @ ..]) if own.len() > 1 => Err((Outcome::Later, own)),
        (Some(code), _) => Err(text(code)),
    }
}

/// What an exit code but 0 means.
const fn text(code: u8) -> Refused<'static> {
    let never: &[u8] = match code {
        11 | 115 => b"envelope address too long for qq (#5.1.3)",
        31 => b"mail server permanently rejected message (#5.3.0)",
        12..=40 => b"qq permanent problem (#5.3.0)",
        _ => return (Outcome::Later, later(code)),
    };
    (Outcome::Never, never)
}

const fn later(code: u8) -> &'static [u8] {
    match code {
        51 => b"qq out of memory (#4.3.0)",
        52 => b"qq timeout (#4.3.0)",
        53 => b"qq write error or disk full (#4.3.0)",
        54 => b"qq read error (#4.3.0)",
        55 => b"qq unable to read configuration (#4.3.0)",
        56 => b"qq trouble making network connection (#4.3.0)",
        61 => b"qq trouble in home directory (#4.3.0)",
        62..=66 => b"qq trouble creating files in queue (#4.3.0)",
        71 => b"mail server temporarily rejected message (#4.3.0)",
        72 => b"connection to mail server timed out (#4.4.1)",
        73 => b"connection to mail server rejected (#4.4.1)",
        74 => b"communication with mail server failed (#4.4.2)",
        81 | 91 => b"qq internal bug (#4.3.0)",
        120 => b"unable to exec qq (#4.3.0)",
        _ => b"qq temporary problem (#4.3.0)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_become_stock_texts() {
        use Outcome::{Later, Never};
        assert_eq!(judge(Some(0), false, b"Dignored"), Ok(()));
        let said: [(_, _, &[u8], _, &[u8]); 12] = [
            (Some(0), true, b"", Later, b"qq read error (#4.3.0)"),
            (Some(11), false, b"", Never, b"envelope address too long for qq (#5.1.3)"),
            (Some(31), true, b"", Never, b"mail server permanently rejected message (#5.3.0)"),
            (Some(40), false, b"Dno", Never, b"qq permanent problem (#5.3.0)"),
            (Some(41), false, b"", Later, b"qq temporary problem (#4.3.0)"),
            (Some(66), false, b"", Later, b"qq trouble creating files in queue (#4.3.0)"),
            (Some(115), false, b"", Never, b"envelope address too long for qq (#5.1.3)"),
            (Some(82), false, b"DI dislike it", Never, b"I dislike it"),
            (Some(82), false, b"Znot now", Later, b"not now"),
            (Some(82), false, b"Dx", Later, b"qq temporary problem (#4.3.0)"),
            (Some(82), false, b"Xno", Later, b"no"),
            (None, true, b"Dno", Later, b"qq crashed (#4.3.0)"),
        ];
        for (code, deaf, words, outcome, text) in said {
            assert_eq!(judge(code, deaf, words), Err((outcome, text)), "{code:?}");
        }
    }
}
