//! What a process keeps from one letter to the next for the same host: the settings, the addresses,
//! the open session.

use std::io;
use std::net::TcpStream;

use proto::smtp::client::{Job, Login};
use store::home::Home;

use super::Order;
use super::hosts::{self, Target, Way};
use super::letter::Letter;
use super::own;
use super::qmtp;
use super::site::{Site, Unusable};
use super::talk::{Ended, Talk};
use super::tcpto::{Attempt, Tcpto};

/// What happened to a letter: items without their NULs (qmail-remote(8)).
pub(super) type Items = Vec<Vec<u8>>;

/// Carries letters to one host.
pub(super) struct Courier {
    site: Site,
    tcpto: Tcpto,
    host: Vec<u8>,
    /// The addresses to try; asked for with the first letter.
    targets: Vec<Target>,
    /// What is spoken there.
    way: Way,
    talk: Option<Talk>,
}

/// Why there is none.
pub(super) struct NoCourier {
    /// The report.
    pub(super) items: Items,
    /// A fresh process could read the settings.
    pub(super) is_out_of_reach: bool,
}

/// Why an address is no use.
enum Useless {
    /// Nothing can be done here now; this is the report.
    Here(Vec<u8>),
    /// The next may be better; the report if there is none.
    Next(Vec<u8>),
}

impl Courier {
    /// Reads the settings; or the report of why that is impossible.
    pub(super) fn to(host: Vec<u8>, home: Option<&Home>) -> Result<Self, NoCourier> {
        let Some(home) = home else {
            let item = b"ZUnable to switch to home directory. (#4.3.0)\n".to_vec();
            return Err(NoCourier { items: vec![item], is_out_of_reach: false });
        };
        match Site::read(home) {
            Ok(site) => Ok(Self::with(site, Tcpto::of(home), host, Vec::new())),
            Err(Unusable { why, is_out_of_reach }) => {
                let item = format!("ZUnable to read control files. (#4.3.0)\n{why}\n");
                Err(NoCourier { items: vec![item.into_bytes()], is_out_of_reach })
            }
        }
    }

    pub(super) fn with(site: Site, tcpto: Tcpto, host: Vec<u8>, targets: Vec<Target>) -> Self {
        Self { site, tcpto, host, targets, way: Way::Smtp, talk: None }
    }

    /// The open session, if it may carry another letter.
    pub(super) fn talk(&self) -> Option<&Talk> {
        self.talk.as_ref().filter(|talk| talk.is_open())
    }

    /// Whether it may carry letters to `host`: it goes there, by the settings as they are now.
    pub(super) fn goes_to(&mut self, host: &[u8]) -> bool {
        self.host.eq_ignore_ascii_case(host) && self.site.is_current()
    }

    /// Forgets the session; the next letter opens another.
    pub(super) fn hang_up(&mut self) {
        self.talk = None;
    }

    /// Says good-bye to the server.
    pub(super) fn leave(&mut self) {
        if let Some(talk) = self.talk.take() {
            talk.leave();
        }
    }

    /// Delivers one letter, over the open session or a new one.
    pub(super) fn deliver(&mut self, order: &Order, letter: &mut Letter) -> Items {
        if let Some(mut talk) = self.talk.take_if(|talk| talk.is_open()) {
            match talk.another(job(order, letter), letter) {
                Ended::Judged(items) => {
                    self.talk = Some(talk);
                    return items;
                }
                // In a used session neither is the server's word on this letter.
                Ended::Stale | Ended::Next(_) => {}
            }
        }
        self.leave();
        if self.targets.is_empty() {
            let lookup = &mut self.site.lookup();
            match hosts::find(&self.host, &self.site.roads, lookup, &own::is_me) {
                Ok((targets, way)) => (self.targets, self.way) = (targets, way),
                Err(item) => return vec![item],
            }
        }
        self.try_each(order, letter)
    }

    /// Tries one address after the other until one has judged the letter.
    fn try_each(&mut self, order: &Order, letter: &mut Letter) -> Items {
        let mut last = None;
        for target in self.targets.clone() {
            if self.tcpto.is_slow(target.addr.ip()) {
                continue;
            }
            let ended = match self.connect(target) {
                Ok(stream) => self.carry(stream, target, order, letter),
                Err(Useless::Here(item)) => return vec![item],
                Err(Useless::Next(item)) => {
                    last.get_or_insert(item);
                    continue;
                }
            };
            match ended {
                Ended::Judged(items) => return items,
                Ended::Next(item) => last = Some(item),
                Ended::Stale => {}
            }
        }
        // Nobody was tried: stock says as much, and not why.
        vec![last.unwrap_or_else(|| {
            [UNCONNECTED, b"Every address failed lately; see qmail-tcpto.\n"].concat()
        })]
    }

    /// Connects to one address, if it may hear what we have to say.
    fn connect(&self, target: Target) -> Result<TcpStream, Useless> {
        let ip = target.addr.ip();
        if let Way::LoggedIn(relay, _) = &self.way
            && !self.site.may_tell(relay, ip)
        {
            return Err(Useless::Next(untold(&ip.to_string(), relay)));
        }
        let from = self.site.from(ip);
        match sys::net::connect(target.addr, from, self.site.connect) {
            Ok(stream) => {
                self.tcpto.note(ip, Attempt::Answered);
                // Our pieces are whole commands and whole letters: nothing is to wait for more.
                let _merely_slower = stream.set_nodelay(true);
                Ok(stream)
            }
            Err(err) if sys::errno::is_shortage(&err) => Err(Useless::Here(
                b"ZSystem resources temporarily unavailable. (#4.3.0)\n".to_vec(),
            )),
            Err(err) if from.is_some() && is_of_source(&err) => {
                Err(Useless::Here(UNSOURCED.to_vec()))
            }
            Err(err) => {
                if let Some(attempt) = Attempt::of(&err) {
                    self.tcpto.note(ip, attempt);
                }
                Err(Useless::Next(UNCONNECTED.to_vec()))
            }
        }
    }

    /// Carries the letter over a new connection.
    fn carry(
        &mut self,
        stream: TcpStream,
        target: Target,
        order: &Order,
        letter: &mut Letter,
    ) -> Ended {
        let (ip, limit) = (target.addr.ip(), self.site.remote);
        let login: Option<Login> = match &self.way {
            Way::Qmtp => return qmtp::carry(&stream, ip, order, letter, limit),
            Way::LoggedIn(_, login) => Some(login.clone()),
            Way::Smtp => None,
        };
        let mut talk = Talk::new(stream, ip, limit);
        let ended = talk.first(self.site.helo.clone(), login, job(order, letter), letter);
        if matches!(ended, Ended::Judged(_)) {
            self.talk = Some(talk);
        }
        ended
    }
}

/// Nobody takes a connection.
const UNCONNECTED: &[u8] = b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n";

/// `outgoingip` is of no use: none of this host's, or set after the fence was closed.
const UNSOURCED: &[u8] = b"ZI can't speak from the address in control/outgoingip: it must be this \
    host's, and known when qmail-send starts. (#4.3.0)\n";

/// Whether a connection failed for its source address.
fn is_of_source(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied)
}

/// The report where a password would be heard by all on the way.
fn untold(ip: &str, relay: &[u8]) -> Vec<u8> {
    let shown = String::from_utf8_lossy(relay);
    format!(
        "ZI don't say a password to {ip} over the open network: if that is meant,\n\
         write {shown} into control/authcleartext. (#4.7.0)\n"
    )
    .into_bytes()
}

fn job(order: &Order, letter: &Letter) -> Job {
    let (sender, recipients) = (order.sender.clone(), order.recipients.clone());
    Job { sender, recipients, size: letter.size() }
}
