//! send a letter by SMTP
//!
//! *Runs as* qmailr (never root) · *hears* the servers it speaks to · *opens* the letter it is
//! handed, `control/`, `queue/lock/tcpto` · *speaks to* the DNS and to the hosts that take mail for
//! one domain

mod hosts;
mod own;
mod route;
mod site;
mod talk;
mod tcpto;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use base::text0;
use proto::smtp::client::Job;
use store::home::Home;
use sys::{brood, fd, signal, user};

use self::hosts::Target;
use self::site::Site;
use self::talk::{Ended, Letter};
use self::tcpto::Tcpto;

/// Deliveries at once in one clean parent; rspawn's own limit is lower.
const CHILDREN: usize = 10_000;
/// Deliveries until a clean parent makes way for a fresh one.
const RETIRE: u64 = 100_000;

/// `qmail-remote host sender recip…` with the letter on descriptor 0; or, as a clean parent, one
/// delivery a job. The exit code is 0: the report says how it went.
pub(crate) fn main(args: &[OsString]) -> i32 {
    signal::ignore(signal::Signal::Pipe);
    let home = Home::find();
    if user::euid() == 0 && !home.as_ref().is_ok_and(Home::is_private) {
        let text = "qmail-remote: fatal: will not speak to strangers as root; run it as qmailr\n";
        let _gone = io::stderr().write_all(text.as_bytes());
        return 111;
    }
    let home = home.ok();
    let Some(sock) = brood::requested() else {
        let order = Order::from_args(args.get(1..).unwrap_or_default());
        // A pipe is as good a letter as a file: it is read once, from here on.
        let letter = fd::stdin().try_clone_to_owned().map(|fd| Letter::from_here(File::from(fd)));
        return report(fd::stdout(), &deliver(home.as_ref(), order, letter));
    };
    let limits = brood::Serve { max_children: CHILDREN, retire_after: RETIRE };
    match brood::serve(sock, limits, |payload, fds| handed(home.as_ref(), payload, fds)) {
        Ok(()) => 0,
        Err(err) => {
            let _gone = writeln!(io::stderr(), "qmail-remote: fatal: unable to take jobs: {err}");
            111
        }
    }
}

/// `qmail-tcpok`: forgets which hosts timed out. Silent; 111 if it cannot.
pub(crate) fn tcpok(_args: &[OsString]) -> i32 {
    let cleared = match Home::find() {
        Ok(home) => Tcpto::of(&home)
            .clear()
            .map_err(|(what, err)| format!("unable to {what}: {}", sys::errno::text(&err))),
        Err(err) => Err(err.to_string()),
    };
    let Err(why) = cleared else { return 0 };
    let _gone = writeln!(io::stderr(), "qmail-tcpok: fatal: {why}");
    111
}

/// One job: letter and report pipe came with it.
fn handed(home: Option<&Home>, payload: &[u8], fds: Vec<OwnedFd>) -> i32 {
    let mut fds = fds.into_iter();
    let (Some(letter), Some(pipe)) = (fds.next(), fds.next()) else { return 111 };
    let letter = Letter::from_start(File::from(letter));
    report(pipe.as_fd(), &deliver(home, Order::from_text0(payload), Ok(letter)))
}

/// Who gets the letter, and from whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    host: Vec<u8>,
    sender: Vec<u8>,
    recipients: Vec<Vec<u8>>,
}

impl Order {
    /// `host sender recip…`; nothing if there are fewer.
    fn from_args(args: &[OsString]) -> Option<Self> {
        let [host, sender, recipients @ ..] = args else { return None };
        let bytes = |arg: &OsString| arg.as_bytes().to_vec();
        let recipients: Vec<_> = recipients.iter().map(bytes).collect();
        let order = Self { host: bytes(host), sender: bytes(sender), recipients };
        (!order.recipients.is_empty()).then_some(order)
    }

    /// The same, each ended by a NUL.
    fn from_text0(block: &[u8]) -> Option<Self> {
        let mut fields = text0::fields(block)?.map(<[u8]>::to_vec);
        let (host, sender) = (fields.next()?, fields.next()?);
        let order = Self { host, sender, recipients: fields.collect() };
        (!order.recipients.is_empty()).then_some(order)
    }
}

/// Delivers, and says what happened: items without their NULs (spec `qmail-overview.md` §6.5).
fn deliver(home: Option<&Home>, order: Option<Order>, letter: io::Result<Letter>) -> Vec<Vec<u8>> {
    let one = |item: &str| vec![item.as_bytes().to_vec()];
    let Some(order) = order else {
        return one("DI (qmail-remote) was invoked improperly. (#5.3.5)\n");
    };
    let Some(home) = home else {
        return one("ZUnable to switch to home directory. (#4.3.0)\n");
    };
    let Ok(mut letter) = letter else { return one("ZUnable to read message. (#4.3.0)\n") };
    let site = match Site::read(home) {
        Ok(site) => site,
        Err(why) => return one(&format!("ZUnable to read control files. (#4.3.0)\n{why}\n")),
    };
    match hosts::find(&order.host, &site.routes, &mut site.lookup(), &own::is_me) {
        Ok(targets) => try_each(&targets, &order, &site, &Tcpto::of(home), &mut letter),
        Err(item) => vec![item],
    }
}

/// Tries one address after the other until one has judged the letter.
fn try_each(
    targets: &[Target],
    order: &Order,
    site: &Site,
    tcpto: &Tcpto,
    letter: &mut Letter,
) -> Vec<Vec<u8>> {
    let mut last = b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n".to_vec();
    for target in targets {
        if tcpto.is_slow(target.addr.ip()) {
            continue;
        }
        let stream = match talk::connect(target.addr, site.connect) {
            Ok(stream) => stream,
            Err(err) => {
                tcpto.note(target.addr.ip(), err.kind() == io::ErrorKind::TimedOut);
                if is_ours(&err) {
                    let item = b"ZSystem resources temporarily unavailable. (#4.3.0)\n";
                    return vec![item.to_vec()];
                }
                continue;
            }
        };
        tcpto.note(target.addr.ip(), false);
        let job = Job {
            peer: target.addr.ip().to_string().into_bytes(),
            helo: site.helo.clone(),
            sender: order.sender.clone(),
            recipients: order.recipients.clone(),
            size: letter.size(),
        };
        match talk::converse(stream, job, letter, site.remote) {
            Ended::Judged(items) => return items,
            Ended::Next(item) => last = item,
        }
    }
    vec![last]
}

/// Whether a connection failed for want of something of our own (ENOMEM, ENFILE, EMFILE, ENOBUFS).
fn is_ours(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(12 | 23 | 24 | 105))
}

/// Writes the report; whoever waits for it judges a cut one as a crash.
fn report(to: BorrowedFd<'_>, items: &[Vec<u8>]) -> i32 {
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend(item.iter().map(|&c| if c == 0 { b'?' } else { c }));
        bytes.push(0);
    }
    match fd::write_all_within(to, &bytes, Duration::from_secs(60)) {
        Ok(()) => 0,
        Err(_) => 111,
    }
}
