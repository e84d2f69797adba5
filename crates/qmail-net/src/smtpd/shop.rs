//! What a clean parent keeps ready for its children: the control files and the users, read, and
//! read again when they change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use proto::smtp::reply::Reply;
use store::client::QueueClient;
use store::home::Home;
use store::users::Directory;
use sys::brood::{Annex, CleanParent, Greeting};
use sys::clock;
use sys::watch::Watch;

use crate::grounds::{self, Grounds};

use super::annex::{self, PROGRAM};
use super::circumstances::Circumstances;
use super::site::{Site, SiteError};
use super::talk::{self, Ends};

/// How long the files are taken for unchanged without asking the file system, which tells of
/// most changes by itself: not of those to a file that a link leads to.
const FRESH: Duration = Duration::from_secs(1);
/// How often a child that serves for longer looks at the users itself.
const LOOK: Duration = Duration::from_millis(100);

/// A clean parent of ours.
#[derive(Debug)]
pub(crate) struct Shop<'a> {
    home: &'a Home,
    site: Result<Site, SiteError>,
    users: Directory,
    /// `None` where the kernel has none to give: then the files are looked at for each connection.
    watch: Option<Watch>,
    looked: Duration,
    /// For connections whose letters go to a program.
    annex: Option<Annex>,
    /// There was one.
    fenced: bool,
    /// A child's connection to queued, for its client's next letter.
    queued: Option<QueueClient>,
    /// What the fence is around.
    grounds: Grounds,
    /// It is around something else than what counts now.
    is_obsolete: bool,
}

impl<'a> Shop<'a> {
    /// Reads everything. What cannot be read is told, and tried again for each connection.
    pub(crate) fn open(home: &'a Home, annex: Option<Annex>, grounds: Grounds) -> Self {
        let watch = Watch::on_contents(&[&home.path("control"), &home.path("users")]).ok();
        let (site, users) = (Site::load(home), Directory::new(home));
        let (looked, fenced, queued) = (clock::monotonic(), annex.is_some(), None);
        let is_obsolete = false;
        let mut shop =
            Self { home, site, users, watch, looked, annex, fenced, queued, grounds, is_obsolete };
        shop.complain();
        shop.look_at_users();
        shop
    }

    fn complain(&self) {
        if let Err(err) = &self.site {
            super::say(super::NAME, format_args!("warning: {err}"));
        }
    }

    /// Reads the users if they are others; says once what is wrong with them.
    fn look_at_users(&mut self) {
        if let Some(trouble) = self.users.refresh() {
            super::say(super::NAME, format_args!("warning: {trouble}"));
        }
    }

    /// Whether the fence has come between us and files that we could read before.
    fn is_shut_out(&self, site: &Result<Site, SiteError>) -> bool {
        match site {
            Err(err) if self.fenced && self.site.is_ok() && err.is_out_of_reach() => {
                super::say(super::NAME, format_args!("warning: {err}: starting anew"));
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Whether it is time to look at the files.
    fn is_due(&self, told: bool, now: Duration) -> bool {
        told || self.watch.is_none() || now.saturating_sub(self.looked) >= FRESH
    }
}

impl CleanParent for Shop<'_> {
    fn greeting(&self) -> Option<Greeting> {
        let mut text = Vec::new();
        Reply::Greeting.encode(self.site.as_ref().ok()?.greeting(), &mut text);
        Greeting::new(&text)
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    fn refresh(&mut self, told: bool) -> bool {
        let now = clock::monotonic();
        if self.is_obsolete || !self.is_due(told, now) {
            return false;
        }
        self.looked = now;
        if let Some(watch) = &self.watch {
            watch.drain();
        }
        if let Some(dir) = self.grounds.moved() {
            grounds::make_way(super::NAME, dir);
            self.is_obsolete = true;
            return false;
        }
        self.look_at_users();
        if self.site.as_ref().is_ok_and(|site| site.is_fresh(self.home)) {
            // Of a file that we were told of the children know what it was.
            return told;
        }
        let site = Site::load(self.home);
        self.is_obsolete = self.is_shut_out(&site);
        if self.is_obsolete {
            return false;
        }
        self.site = site;
        true
    }

    fn is_obsolete(&self) -> bool {
        self.is_obsolete
    }

    /// What a child keeps from one connection to the next is what we know, and a connection to
    /// queued with nothing on its way.
    fn serves_again(&self) -> bool {
        true
    }

    /// One client, from the greeting on unless it has been greeted.
    fn child(&mut self, block: &[u8], fds: Vec<OwnedFd>) -> i32 {
        let Some(connection) = fds.first() else { return 111 };
        let ends = Ends { hear: connection.as_fd(), speak: connection.as_fd() };
        let about = Circumstances::of_handover(block);
        if about.get(PROGRAM).is_some() && self.fenced {
            let Some(annex) = &self.annex else {
                // A rule that named no program a second ago: this child has given its way out up.
                talk::send_away(ends);
                return 111;
            };
            return annex::serve(annex, block, ends);
        }
        // Who is heard from here on must not find a way out of the fence.
        self.annex = None;
        self.users.believe_until(clock::monotonic().saturating_add(FRESH));
        self.users.look_every(LOOK);
        match &self.site {
            Ok(site) => {
                let (users, queued) = (&mut self.users, &mut self.queued);
                talk::talk(ends, self.home, site, users, &about, queued)
            }
            Err(_) => super::serve(ends, self.home, &mut self.users, &about),
        }
    }
}
