//! send a letter by SMTP
//!
//! *Runs as* qmailr (never root) · *hears* the servers it speaks to · *opens* the letter it is
//! handed, `control/`, `queue/lock/tcpto` and `tcpto6` · *speaks to* the DNS and to the hosts that take mail for
//! one domain

mod courier;
mod hosts;
mod jobs;
mod letter;
mod own;
mod qmtp;
mod route;
#[cfg(test)]
mod sessions;
mod site;
mod talk;
mod tcpto;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use base::text0;
use store::home::Home;
use sys::{brood, fd, signal, user};

use crate::fences;
use crate::grounds::{Fenced, Grounds};

use self::courier::{Courier, Items};
use self::letter::Letter;
use self::tcpto::Tcpto;

/// The report of an order that is none.
const IMPROPER: &[u8] = b"DI (qmail-remote) was invoked improperly. (#5.3.5)\n";
/// Deliveries at once in one clean parent; rspawn's own limit is lower.
const CHILDREN: usize = 10_000;
/// Deliveries until a clean parent makes way for a fresh one.
const RETIRE: u64 = 100_000;

/// `qmail-remote host sender recip…` with the letter on descriptor 0; or, as a clean parent, a
/// child for each host ([`jobs`]). The exit code is 0: the report says how it went.
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
    let mut grounds = Grounds::none();
    if let Some(home) = &home {
        grounds = Grounds::of(home, &fences::REMOTE);
        if let Some(missing) = fences::remote(home.root()).close_or_tell() {
            let _gone = writeln!(io::stderr(), "qmail-remote: warning: {missing}");
        }
    }
    let limits = brood::Serve { max_children: CHILDREN, retire_after: RETIRE };
    let child = |payload: &[u8], fds: Vec<OwnedFd>| jobs::serve(home.as_ref(), payload, fds);
    let parent = Fenced { name: "qmail-remote", grounds, is_obsolete: false, child };
    match brood::serve_as(sock, limits, parent) {
        Ok(()) => 0,
        Err(err) => {
            let _gone = writeln!(io::stderr(), "qmail-remote: fatal: unable to take jobs: {err}");
            111
        }
    }
}

/// `qmail-tcpok`: forgets which hosts took no connection. Silent; 111 if it cannot.
pub(crate) fn tcpok(_args: &[OsString]) -> i32 {
    over_tables(&mut io::stderr(), "qmail-tcpok: ", |tcpto| tcpto.clear().map(|()| Vec::new()))
}

/// `qmail-tcpto`: a line for each host that took no connection lately; 111 if that is not known.
pub(crate) fn tcpto(_args: &[OsString]) -> i32 {
    // Stock's qmail-tcpto says on descriptor 1 what it could not do, and not who speaks.
    over_tables(&mut io::stdout(), "", |tcpto| {
        let now = sys::clock::now().secs();
        let line = |entry: tcpto::Entry| {
            let how = if entry.refused { "refused" } else { "timed out" };
            let (ip, ago) = (entry.ip, now.saturating_sub(entry.time));
            format!("{ip} {how} {ago} seconds ago; # recent timeouts: {}\n", entry.count)
        };
        Ok(tcpto.entries()?.into_iter().map(line).collect::<String>().into_bytes())
    })
}

/// Does something with the tables of slow hosts and prints what it has to say.
fn over_tables(
    complaints: &mut dyn Write,
    name: &str,
    act: impl FnOnce(&Tcpto) -> Result<Vec<u8>, tcpto::Trouble>,
) -> i32 {
    let said = match Home::find() {
        Ok(home) => act(&Tcpto::of(&home))
            .map_err(|(what, err)| format!("unable to {what}: {}", sys::errno::text(&err))),
        Err(err) => Err(format!("unable to chdir: {err}")),
    };
    match said {
        Ok(lines) => i32::from(io::stdout().write_all(&lines).is_err()) * 111,
        Err(why) => {
            let _gone = writeln!(complaints, "{name}fatal: {why}");
            111
        }
    }
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

/// Delivers one letter and is done with the host.
fn deliver(home: Option<&Home>, order: Option<Order>, letter: io::Result<Letter>) -> Items {
    let Some(order) = order else { return vec![IMPROPER.to_vec()] };
    let Ok(mut letter) = letter else {
        return vec![b"ZUnable to read message. (#4.3.0)\n".to_vec()];
    };
    match Courier::to(order.host.clone(), home) {
        Err(no) => no.items,
        Ok(mut courier) => {
            let items = courier.deliver(&order, &mut letter);
            courier.leave();
            items
        }
    }
}

/// Writes the report; whoever waits for it judges a cut one as a crash.
fn report(to: BorrowedFd<'_>, items: &[Vec<u8>]) -> i32 {
    let mut bytes = Vec::new();
    for item in items {
        put_item(&mut bytes, item);
    }
    match fd::write_all_within(to, &bytes, Duration::from_secs(60)) {
        Ok(()) => 0,
        Err(_) => 111,
    }
}

/// Appends an item and its NUL.
fn put_item(to: &mut Vec<u8>, item: &[u8]) {
    to.extend(item.iter().map(|&c| if c == 0 { b'?' } else { c }));
    to.push(0);
}
