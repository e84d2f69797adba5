//! Where an event comes from, as the number the poller knows it by.

use super::lounge::Ticket;

/// What the listener waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A signal came.
    Signals,
    /// A client wants in.
    Listener,
    /// A clean parent said something, by its pid.
    Parent(u32),
    /// A child whose clean parent is gone has ended, by its pid.
    Orphan(u32),
    /// A child that serves a client again said something, by its pid.
    Regular(u32),
    /// A proxy has said something of its client, by the lobby's number.
    Proxied(u32),
    /// In a trial: the listener that wants to become us has ended.
    Forerunner,
    /// Somebody who has been greeted.
    Guest(Ticket),
}

/// Set in the low half of every number that is no guest's; below are a pid's bits.
const OTHER: u32 = 1 << 31;

impl Source {
    /// As one number.
    pub(super) fn number(self) -> u64 {
        let other = |kind: u64, pid: u32| kind << 32 | u64::from(pid | OTHER);
        match self {
            Self::Signals => other(0, 0),
            Self::Listener => other(1, 0),
            Self::Parent(pid) => other(2, pid),
            Self::Orphan(pid) => other(3, pid),
            Self::Regular(pid) => other(4, pid),
            Self::Proxied(number) => other(5, number),
            Self::Forerunner => other(6, 0),
            Self::Guest(ticket) => ticket.number(),
        }
    }

    /// What a number stands for.
    pub(super) fn from_number(number: u64) -> Self {
        let [_, _, _, kind, low @ ..] = number.to_be_bytes();
        let low = u32::from_be_bytes(low);
        let pid = low & !OTHER;
        match (low & OTHER, kind) {
            (0, _) => Self::Guest(Ticket::from_number(number)),
            (_, 0) => Self::Signals,
            (_, 1) => Self::Listener,
            (_, 2) => Self::Parent(pid),
            (_, 3) => Self::Orphan(pid),
            (_, 4) => Self::Regular(pid),
            (_, 5) => Self::Proxied(pid),
            (..) => Self::Forerunner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_reads_back() {
        let guest = Ticket::from_number(0xffff_ffff_7fff_ffff);
        for source in [
            Source::Signals,
            Source::Listener,
            Source::Parent(4_194_304),
            Source::Orphan(1),
            Source::Regular(77),
            Source::Proxied(OTHER - 1),
            Source::Guest(guest),
            Source::Guest(Ticket::from_number(0)),
        ] {
            assert_eq!(Source::from_number(source.number()), source);
        }
    }
}
