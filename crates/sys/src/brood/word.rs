//! What a clean parent answers, and how it is written.

use crate::spawn::Status;

/// The length of an answer.
pub(super) const LENGTH: usize = 13;
/// What a clean parent says when it begins to serve, and when its greeting has changed: this and
/// the greeting.
pub(super) const READY: &[u8] = b"ready";
/// The same from a program whose children may serve a client again.
pub(super) const AGAIN: &[u8] = b"again";
/// Set in a job's serial number: the last descriptor is a line for more of the same client.
pub(super) const WITH_LINE: u64 = 1 << 63;
/// The longest message of a clean parent: answers one after the other, or its greeting.
pub(super) const MESSAGE: usize = LENGTH * 64;
/// The longest greeting.
pub(super) const GREETING: usize = MESSAGE - READY.len();

/// What a clean parent says about the jobs it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A child has the job.
    Started {
        /// The job.
        serial: u64,
        /// The child's pid.
        pid: u32,
    },
    /// The job's child has ended.
    Ended {
        /// The job.
        serial: u64,
        /// How.
        status: Status,
    },
    /// There is no child for the job and there will be none: it may be handed to another parent.
    Refused {
        /// The job.
        serial: u64,
        /// Why; the error's number.
        errno: i32,
    },
    /// It takes no more jobs. Answers for those it has still come; then it ends.
    Retired,
}

impl Event {
    /// The answer as it is written.
    pub(super) fn encode(self) -> [u8; LENGTH] {
        let (letter, serial, number) = match self {
            Self::Started { serial, pid } => (b'S', serial, pid.to_le_bytes()),
            Self::Ended { serial, status } => (b'E', serial, status.raw().to_le_bytes()),
            Self::Refused { serial, errno } => (b'R', serial, errno.to_le_bytes()),
            Self::Retired => (b'Q', 0, [0; 4]),
        };
        let mut word = [0; LENGTH];
        let bytes = [letter].into_iter().chain(serial.to_le_bytes()).chain(number);
        for (at, byte) in word.iter_mut().zip(bytes) {
            *at = byte;
        }
        word
    }

    /// Reads an answer; `None` if it is none.
    pub(super) fn decode(word: &[u8]) -> Option<Self> {
        let (letter, rest) = word.split_first()?;
        let (serial, number) = rest.split_first_chunk::<8>()?;
        let serial = u64::from_le_bytes(*serial);
        let number: [u8; 4] = number.try_into().ok()?;
        match letter {
            b'S' => Some(Self::Started { serial, pid: u32::from_le_bytes(number) }),
            b'E' => {
                let status = Status::from_raw(i32::from_le_bytes(number));
                Some(Self::Ended { serial, status })
            }
            b'R' => Some(Self::Refused { serial, errno: i32::from_le_bytes(number) }),
            b'Q' => Some(Self::Retired),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_reads_back_and_nothing_else_does() {
        let serial = 0x0102_0304_0506_0708;
        for event in [
            Event::Started { serial, pid: 4_000_000 },
            Event::Ended { serial, status: Status::Killed(11) },
            Event::Ended { serial, status: Status::Exited(111) },
            Event::Refused { serial, errno: 11 },
            Event::Retired,
        ] {
            assert_eq!(Event::decode(&event.encode()), Some(event));
            assert_eq!(Event::decode(&event.encode()[..12]), None);
        }
        assert_eq!(Event::decode(&[b'x'; LENGTH]), None);
        assert_eq!(Event::decode(&[]), None);
    }
}
