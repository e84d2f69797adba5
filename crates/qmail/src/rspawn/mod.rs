//! make remote deliveries, each in a process of its own
//!
//! *Runs as* qmailr · *hears* qmail-send · *opens* nothing · *speaks to* queued (for letters), a
//! clean parent qmail-remote that forks a child for each delivery (or, if `$QMAILREMOTE` names
//! another program, to that program, once for each delivery)

mod broods;
mod verdict;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use base::address::split;
use base::outcome::Outcome;
use base::wire::spawn::Delivery;
use base::{limits, text0};
use store::users::dotqmail::is_temporary;
use sys::spawn::Command;

use crate::spawn::{Children, Ending, Letters, Spawner, Verdict};
use broods::{Broods, Job};

pub(crate) fn main(_args: &[OsString]) -> i32 {
    crate::spawn::serve("qmail-rspawn", |home| {
        let other = std::env::var_os("QMAILREMOTE").filter(|program| !program.is_empty());
        let broods = Broods::new(home.path("bin/qmail-remote").into_os_string());
        Rspawn { other, broods, children: Children::default() }
    })
}

struct Rspawn {
    /// `$QMAILREMOTE`.
    other: Option<OsString>,
    broods: Broods,
    /// Those of `$QMAILREMOTE`.
    children: Children,
}

impl Spawner for Rspawn {
    const OUTPUT: usize = limits::REPORT;

    fn start(
        &mut self,
        slot: u32,
        delivery: &Delivery<'_>,
        letters: &mut Letters,
        out: OwnedFd,
    ) -> Result<(), Verdict> {
        let letter = letters.open(delivery.letter)?;
        let host = split(delivery.recipient).1.unwrap_or_default();
        let fields = [host, delivery.sender, delivery.recipient];
        let started = match &self.other {
            Some(program) => Self::run(program, fields, &letter, &out).map(|pid| {
                self.children.add(pid, slot);
            }),
            None => {
                let mut payload = Vec::new();
                fields.into_iter().for_each(|field| text0::put(&mut payload, field));
                self.broods.take(Job { slot, payload, letter, out })
            }
        };
        started.map_err(|err| {
            let lasting = self.other.is_some() && !is_temporary(&err);
            let outcome = if lasting { Outcome::Never } else { Outcome::Later };
            let text: &[u8] = match err.kind() {
                // It was started, and was gone before it could take the job.
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => b"qmail-remote crashed.\n",
                _ => b"Unable to run qmail-remote.\n",
            };
            (outcome, text.to_vec())
        })
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.broods.descriptors()
    }

    fn endings(&mut self) -> Vec<(u32, Ending)> {
        let mut endings = self.broods.endings();
        endings.extend(self.children.endings());
        endings
    }

    fn judge(&self, ending: Ending, output: &[u8]) -> Verdict {
        verdict::judge(ending, output)
    }
}

impl Rspawn {
    /// Runs another program in the place of ours, as stock runs qmail-remote.
    fn run(
        program: &OsStr,
        fields: [&[u8]; 3],
        letter: &OwnedFd,
        out: &OwnedFd,
    ) -> io::Result<u32> {
        let command = Command::new(program).args(fields.map(OsStr::from_bytes));
        command.fd(letter.as_fd(), 0).fd(out.as_fd(), 1).fd(out.as_fd(), 2).spawn()
    }
}
