//! A child at work, and what its words and its end mean.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::limits;
use base::wire::login::{Answer, Verb};
use store::passwords::proofs::Proof;
use store::users::Account;
use sys::fd;
use sys::spawn::Status;

use super::child::{FITS, FOUND, read_account};
use super::crowd::{Full, Key};
use super::files::State;
use crate::login::Denied;

/// What a child's pipe may say: an account's home is a path.
const WORDS: usize = 8_192;

/// Who waits for a check.
pub(super) struct Asker {
    pub(super) peer: u64,
    pub(super) verb: Verb,
    pub(super) connection: Option<OwnedFd>,
}

/// What a child is to bring about.
pub(super) enum Aim {
    /// Whose the login is. Then everybody's verb is done who has asked with that login.
    Find {
        askers: Vec<Asker>,
        /// To remember if the secret fits, with the files it was found out from.
        proof: Option<(Proof, State)>,
    },
    /// A session for this peer, counted as this one's.
    Serve(u64, Key),
    /// A foreign program's word for this peer.
    Judge(u64),
}

/// A child at work.
pub(super) struct Check {
    pub(super) pid: u32,
    pub(super) since: Duration,
    /// What it says.
    pub(super) pipe: OwnedFd,
    pub(super) words: Vec<u8>,
    pub(super) aim: Aim,
    /// It finds out whether a secret fits; else it only opens a mailbox, and takes no place from
    /// those who compute.
    pub(super) judges: bool,
}

impl Check {
    /// Whether it finds out what this proves.
    pub(super) fn finds(&self, proof: &Proof, state: &State) -> bool {
        matches!(&self.aim, Aim::Find { proof: Some((p, s)), .. } if p == proof && s == state)
    }

    /// One more waits for it.
    pub(super) fn join(&mut self, asker: Asker) {
        if let Aim::Find { askers, .. } = &mut self.aim {
            askers.push(asker);
        }
    }

    /// Reads what there is; the verdict, once that is all.
    pub(super) fn hear(&mut self) -> Option<Verdict> {
        loop {
            let mut piece = [0; 512];
            match fd::read(&self.pipe, &mut piece) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(0) | Err(_) => return Some(Verdict::of_words(&self.words)),
                Ok(n) => {
                    let room = WORDS.saturating_sub(self.words.len());
                    self.words.extend(piece.iter().take(n.min(room)));
                }
            }
        }
    }
}

/// What a child's words, or its end without words, mean. The text is for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The secret fits.
    Welcome,
    /// It fits, and is this one's.
    Found(Account),
    Refused,
    /// It fits, but its mailbox has too many sessions.
    Busy,
    Trouble(Vec<u8>),
    /// It has said nothing; its exit code will tell.
    Unknown,
}

impl Verdict {
    pub(super) fn of_words(words: &[u8]) -> Self {
        match words {
            [] => Self::Unknown,
            [FITS] => Self::Welcome,
            [FOUND, account @ ..] => read_account(account)
                .map_or_else(|| Self::Trouble(b"a check made no sense".to_vec()), Self::Found),
            [FITS, text @ ..] | text => Self::Trouble(text.to_vec()),
        }
    }

    pub(super) fn of_status(status: Status) -> Self {
        let text = match status {
            Status::Exited(1) => return Self::Refused,
            Status::Exited(code) => format!("the check ended with exit code {code}"),
            Status::Killed(signal) => format!("the check was ended by signal {signal}"),
        };
        Self::Trouble(text.into_bytes())
    }

    pub(super) fn of_full(full: Full) -> Self {
        match full {
            Full::Account => Self::Busy,
            Full::House => {
                let most = limits::MAILBOXES_OPEN;
                Self::Trouble(format!("{most} mailboxes are open, which is all").into_bytes())
            }
        }
    }

    pub(super) fn of_denied(denied: Denied) -> Self {
        match denied {
            Denied::Refused => Self::Refused,
            Denied::Trouble(text) => Self::Trouble(text.into_bytes()),
        }
    }

    /// What the peer is told.
    pub(super) fn answer(&self) -> Answer<'_> {
        match self {
            Self::Welcome => Answer::Welcome,
            Self::Refused => Answer::Refused,
            Self::Busy => Answer::Busy,
            Self::Trouble(text) => Answer::Trouble(text.get(..limits::QUEUE_TEXT).unwrap_or(text)),
            // A child was asked for the one and said the other.
            Self::Found(_) | Self::Unknown => Answer::Trouble(b"nothing is known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bare_word_lets_anybody_in() {
        let trouble = |text: &[u8]| Verdict::Trouble(text.to_vec());
        assert_eq!(Verdict::of_words(&[FITS]), Verdict::Welcome);
        let after = [&[FITS], &b"unable to become joe"[..]].concat();
        assert_eq!(Verdict::of_words(&after), trouble(b"unable to become joe"));
        assert_eq!(Verdict::of_words(b"p"), trouble(b"p"));
        assert_eq!(Verdict::of_words(b"no list"), trouble(b"no list"));
        assert_eq!(Verdict::of_words(b""), Verdict::Unknown);
        assert!(matches!(Verdict::of_words(&[FOUND, 1, 0]), Verdict::Trouble(_)));
        assert_eq!(Verdict::of_status(Status::Exited(1)), Verdict::Refused);
        for status in [Status::Exited(0), Status::Exited(2), Status::Exited(111), Status::Killed(9)]
        {
            assert!(matches!(Verdict::of_status(status), Verdict::Trouble(_)), "{status:?}");
        }
    }

    #[test]
    fn too_many_of_one_account_and_too_many_in_all_are_told_apart() {
        assert_eq!(Verdict::of_full(Full::Account).answer(), Answer::Busy);
        let house = Verdict::of_full(Full::House);
        assert!(matches!(house.answer(), Answer::Trouble(text) if text.starts_with(b"2000 ")));
    }
}
