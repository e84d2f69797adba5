//! What is measured, and what a server must be like for it.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Letters acknowledged, many on each connection, deliveries held.
    AcceptMany,
    /// Letters acknowledged, one on each connection, deliveries held.
    AcceptOne,
    /// The same as the first with a hundred connections: how often is the disk flushed?
    AcceptCrowd,
    /// From the dot to the answer, deliveries held.
    DotTo250,
    /// Letters acknowledged and all visible in the Maildir.
    Local,
    /// The same over many more letters.
    Sustained,
    /// Letters accepted and all at smtp-sink.
    Relay,
    /// Letters for 200 domains at a sink that thinks 100 ms before each answer.
    RelaySlow,
    /// The same, and a tenth more for a domain whose server never answers: the others' time.
    RelayDead,
    /// Login, STAT, UIDL on ten letters.
    Pop3Small,
    /// Login to the end of UIDL on a large mailbox, its files in memory, without an index.
    Pop3Warm,
    /// The same from the disk.
    Pop3Cold,
    /// The same in memory with whatever index the server has made.
    Pop3Indexed,
    /// Megabytes of RETR in a second, letters of 100 KB.
    Retr,
}

/// Every measurement, in the order of the table.
pub(super) const ALL: [What; 14] = [
    What::AcceptMany,
    What::AcceptOne,
    What::AcceptCrowd,
    What::DotTo250,
    What::Local,
    What::Sustained,
    What::Relay,
    What::RelaySlow,
    What::RelayDead,
    What::Pop3Small,
    What::Pop3Warm,
    What::Pop3Cold,
    What::Pop3Indexed,
    What::Retr,
];

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

/// How a server must be set up for a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An empty mailbox; what is accepted stays in the queue.
    Held,
    /// An empty mailbox; what is accepted is delivered.
    Local,
    /// What is for these domains goes there; no domain stands for all.
    Relay(Vec<(Option<String>, String)>),
    /// A mailbox with so many letters of so many bytes, named by somebody else.
    Mailbox { letters: u32, bytes: usize },
}

impl What {
    /// The line above its figures.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::AcceptMany => "accept, 20 connections, many letters each: letters/s",
            Self::AcceptOne => "accept, 20 connections, one letter each: letters/s",
            Self::AcceptCrowd => "accept, 100 connections, many letters each: letters/s",
            Self::DotTo250 => "accept, 20 connections, latency: p99 from dot to 250, ms",
            Self::Local => "local: accepted and visible in the Maildir: letters/s",
            Self::Sustained => "sustained: accepted and visible in the Maildir: letters/s",
            Self::Relay => "relay: accepted and at smtp-sink: letters/s",
            Self::RelaySlow => "slow relay: 200 domains, 100 ms before each answer: letters/s",
            Self::RelayDead => {
                "dead relay: the same, the 201st domain is dead: letters/s of the 200"
            }
            Self::Pop3Small => "pop3: login, STAT, UIDL on 10 letters, 20 connections: sessions/s",
            Self::Pop3Warm => "large pop3: login to end of UIDL, warm, no index: ms",
            Self::Pop3Cold => "large pop3: login to end of UIDL, cold, no index: ms",
            Self::Pop3Indexed => "large pop3: login to end of UIDL, warm, index: ms",
            Self::Retr => "retr: 100 KB letters, 4 connections: MB/s",
        }
    }

    /// Which way is better.
    pub(super) const fn better(self) -> Better {
        match self {
            Self::DotTo250 | Self::Pop3Warm | Self::Pop3Cold | Self::Pop3Indexed => Better::Less,
            _ => Better::More,
        }
    }

    /// It is measured by POP3.
    pub(super) const fn is_pop3(self) -> bool {
        matches!(
            self,
            Self::Pop3Small | Self::Pop3Warm | Self::Pop3Cold | Self::Pop3Indexed | Self::Retr
        )
    }
}
