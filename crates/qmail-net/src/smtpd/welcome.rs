//! Is a recipient welcome? First whether the client may send to its domain, then whether there is
//! such a mailbox.

use base::cdb::{Cdb, Damaged};
use proto::smtp::hosts;
use proto::smtp::server::Welcome;
use store::users::Directory;
use store::users::exists::{Exists, mailbox_exists_in};
use store::users::routing::{Route, Routing, resolve};

use super::site::Hosts;

/// Answers for one session.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    hosts: &'a Hosts,
    routing: &'a Routing,
    users: &'a mut Directory,
    trouble: Option<String>,
}

impl<'a> Door<'a> {
    pub(crate) fn new(hosts: &'a Hosts, routing: &'a Routing, users: &'a mut Directory) -> Self {
        Self { hosts, routing, users, trouble: None }
    }

    /// What the log has to hear about the users, once.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// Whether a letter to `address` is taken; with `relay` from this client to any domain.
    pub(crate) fn welcome(&mut self, address: &[u8], relay: bool) -> Welcome {
        let covered = if relay { Ok(true) } else { self.covers(address) };
        match covered {
            Ok(true) => self.mailbox(address),
            Ok(false) => Welcome::NotOurs,
            Err(Damaged) => Welcome::NoControls,
        }
    }

    /// Whether letters for the address's domain are taken from anybody.
    fn covers(&self, address: &[u8]) -> Result<bool, Damaged> {
        match self.hosts {
            Hosts::Ours => Ok(matches!(resolve(self.routing, address), Route::Local(_))),
            Hosts::Listed(listed, more) => {
                let Some(keys) = hosts::keys(address) else { return Ok(true) };
                if keys.iter().any(|key| listed.contains(key)) {
                    return Ok(true);
                }
                more.as_deref().map_or(Ok(false), |more| in_cdb(more, &keys))
            }
        }
    }

    /// Whether there is such a mailbox, as far as this process can tell.
    fn mailbox(&mut self, address: &[u8]) -> Welcome {
        match mailbox_exists_in(self.users, self.routing, address) {
            Exists::Yes | Exists::Unknown => Welcome::Yes,
            Exists::No => Welcome::NoMailbox,
            Exists::Unsure => {
                self.trouble = self.users.refresh();
                Welcome::Unsure
            }
        }
    }
}

fn in_cdb(cdb: &[u8], keys: &[Vec<u8>]) -> Result<bool, Damaged> {
    let cdb = Cdb::new(cdb)?;
    for key in keys {
        if cdb.get(key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
