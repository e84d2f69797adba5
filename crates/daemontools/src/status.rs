//! `supervise/status`: the 18 bytes other programs read.

use base::tai::{BYTES as LABEL, Label};

/// Length of the file.
pub(crate) const LENGTH: usize = 18;

/// What the administrator wants of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Start it whenever it is down.
    Up,
    /// Leave it down.
    Down,
    /// Started once; do not start it again.
    Once,
}

/// One state of a service, as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// When the pid last changed.
    pub(crate) since: Label,
    /// The service's pid; 0: it is down.
    pub(crate) pid: u32,
    /// Stopped by SIGSTOP through us.
    pub(crate) paused: bool,
    /// Byte 17.
    pub(crate) want: Want,
}

impl Status {
    /// The 18 bytes; the pid is little-endian, unlike the label.
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (label, rest) = bytes.split_at_mut(LABEL);
        label.copy_from_slice(self.since.as_bytes());
        let (pid, flags) = rest.split_at_mut(4);
        pid.copy_from_slice(&self.pid.to_le_bytes());
        flags.copy_from_slice(&[u8::from(self.paused && self.pid != 0), self.want.byte()]);
        bytes
    }

    /// Reads the first 18 bytes; none if there are fewer. More are another supervise's extras.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Status> {
        let (label, rest) = bytes.split_first_chunk::<LABEL>()?;
        let (pid, rest) = rest.split_first_chunk::<4>()?;
        let [paused, want, ..] = rest else { return None };
        Some(Status {
            since: Label::from_bytes(*label),
            pid: u32::from_le_bytes(*pid),
            paused: *paused != 0,
            want: Want::of_byte(*want),
        })
    }
}

impl Want {
    const fn byte(self) -> u8 {
        match self {
            Want::Up => b'u',
            Want::Down => b'd',
            Want::Once => 0,
        }
    }

    const fn of_byte(byte: u8) -> Self {
        match byte {
            b'u' => Want::Up,
            b'd' => Want::Down,
            _ => Want::Once,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the original wrote it: up, pid 30212, wants up.
    const OBSERVED: [u8; 18] =
        [0x40, 0, 0, 0, 0x6b, 2, 0xf1, 0x5e, 0, 0xee, 0x13, 0x44, 4, 0x76, 0, 0, 0, 0x75];

    #[test]
    fn a_status_of_the_original_reads_and_writes_the_same() {
        let status = Status::decode(&OBSERVED).unwrap();
        assert_eq!((status.pid, status.paused, status.want), (30212, false, Want::Up));
        assert_eq!(status.encode(), OBSERVED);
    }

    #[test]
    fn a_short_file_is_no_status_and_a_long_one_is() {
        assert_eq!(Status::decode(&OBSERVED[..17]), None);
        assert!(Status::decode(&[&OBSERVED[..], b"xx"].concat()).is_some());
    }

    #[test]
    fn without_a_pid_nothing_is_paused() {
        let status = Status { pid: 0, paused: true, ..Status::decode(&OBSERVED).unwrap() };
        assert_eq!(status.encode()[16], 0);
    }
}
