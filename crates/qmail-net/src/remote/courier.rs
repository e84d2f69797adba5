//! What a process keeps from one letter to the next for the same host: the settings, the addresses,
//! the open session.

use std::io;

use proto::smtp::client::Job;
use store::home::Home;

use super::Order;
use super::hosts::{self, Target};
use super::letter::Letter;
use super::own;
use super::site::Site;
use super::talk::{self, Ended, Talk};
use super::tcpto::Tcpto;

/// What happened to a letter: items without their NULs (spec `qmail-overview.md` §6.5).
pub(super) type Items = Vec<Vec<u8>>;

/// Carries letters to one host.
pub(super) struct Courier {
    site: Site,
    tcpto: Tcpto,
    host: Vec<u8>,
    /// The addresses to try; asked for with the first letter.
    targets: Vec<Target>,
    talk: Option<Talk>,
}

impl Courier {
    /// Reads the settings; or the report of why that is impossible.
    pub(super) fn to(host: Vec<u8>, home: Option<&Home>) -> Result<Self, Items> {
        let Some(home) = home else {
            return Err(vec![b"ZUnable to switch to home directory. (#4.3.0)\n".to_vec()]);
        };
        match Site::read(home) {
            Ok(site) => Ok(Self::with(site, Tcpto::of(home), host, Vec::new())),
            Err(why) => {
                let item = format!("ZUnable to read control files. (#4.3.0)\n{why}\n");
                Err(vec![item.into_bytes()])
            }
        }
    }

    pub(super) fn with(site: Site, tcpto: Tcpto, host: Vec<u8>, targets: Vec<Target>) -> Self {
        Self { site, tcpto, host, targets, talk: None }
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
            match hosts::find(&self.host, &self.site.routes, lookup, &own::is_me) {
                Ok(targets) => self.targets = targets,
                Err(item) => return vec![item],
            }
        }
        self.try_each(order, letter)
    }

    /// Tries one address after the other until one has judged the letter.
    fn try_each(&mut self, order: &Order, letter: &mut Letter) -> Items {
        let mut last =
            b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n".to_vec();
        for target in &self.targets {
            let ip = target.addr.ip();
            if self.tcpto.is_slow(ip) {
                continue;
            }
            let stream = match talk::connect(target.addr, self.site.connect) {
                Ok(stream) => stream,
                Err(err) => {
                    self.tcpto.note(ip, err.kind() == io::ErrorKind::TimedOut);
                    if is_ours(&err) {
                        let item = b"ZSystem resources temporarily unavailable. (#4.3.0)\n";
                        return vec![item.to_vec()];
                    }
                    continue;
                }
            };
            self.tcpto.note(ip, false);
            let mut talk = Talk::new(stream, ip, self.site.remote);
            match talk.first(self.site.helo.clone(), job(order, letter), letter) {
                Ended::Judged(items) => {
                    self.talk = Some(talk);
                    return items;
                }
                Ended::Next(item) => last = item,
                Ended::Stale => {}
            }
        }
        vec![last]
    }
}

fn job(order: &Order, letter: &Letter) -> Job {
    let (sender, recipients) = (order.sender.clone(), order.recipients.clone());
    Job { sender, recipients, size: letter.size() }
}

/// Whether a connection failed for want of something of our own (ENOMEM, ENFILE, EMFILE, ENOBUFS).
fn is_ours(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(12 | 23 | 24 | 105))
}
