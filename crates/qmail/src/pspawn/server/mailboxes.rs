//! The mailboxes of those who have been let in: handed to clean parents, or to a child.

use std::io;
use std::os::fd::OwnedFd;

use base::limits;
use base::wire::login::Verb;
use store::users::Account;
use sys::clock;
use sys::poll::Interest;

use super::super::check::{Aim, Verdict};
use super::super::child::Task;
use super::super::nests::{self, Job, News};
use super::super::say;
use super::token::Token;
use super::{Server, TRIES};

impl Server {
    /// Somebody's secret fits.
    pub(super) fn admit(
        &mut self,
        peer: u64,
        verb: Verb,
        account: Account,
        connection: Option<OwnedFd>,
    ) {
        let (Verb::Open, Some(connection)) = (verb, connection) else {
            return self.answer(peer, &Verdict::Welcome);
        };
        match self.crowd.enter(&nests::key(&account)) {
            Ok(()) => {
                let since = clock::monotonic();
                self.open(Job { peer, account, connection, tries: 0, since });
            }
            Err(full) => self.answer(peer, &Verdict::of_full(full)),
        }
    }

    /// Hands the client to its account's clean parent, which is started if need be; else to a
    /// process of its own.
    pub(super) fn open(&mut self, job: Job) {
        let Err(failed) = self.nests.hand_over(job) else { return };
        let (job, err) = *failed;
        // One that is behind is not helped by a second.
        if err.kind() == io::ErrorKind::WouldBlock || job.tries >= TRIES || !self.nest(&job.account)
        {
            return self.serve_alone(job);
        }
        if let Err(failed) = self.nests.hand_over(job) {
            self.serve_alone(failed.0);
        }
    }

    /// Starts an account's clean parent; false if it cannot be.
    pub(super) fn nest(&mut self, account: &Account) -> bool {
        let (number, now) = (self.number(), clock::monotonic());
        if self.nests.len() >= limits::POP3_PARENTS_IDLE {
            self.nests.thin_out(now);
        }
        let started = self.nests.start(&self.home, account, number, now);
        let added = started
            .and_then(|nest| self.poller.add(nest, Token::Nest(number).number(), Interest::READ));
        if let Err(err) = &added {
            let text = sys::errno::text(err);
            say(&format!("warning: unable to start a clean parent of qmail-pop3d: {text}"));
        }
        added.is_ok()
    }

    pub(super) fn hear_nest(&mut self, number: u64) {
        let mut news = Vec::new();
        self.nests.hear(number, clock::monotonic(), &mut news);
        self.heed_news(news);
    }

    /// Does what is to be done after what clean parents said, or left unsaid.
    pub(super) fn heed_news(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Served { peer } => self.answer(peer, &Verdict::Welcome),
                News::Closed(key) => self.crowd.leave(&key),
                News::Again { job, stillborn } => self.open_again(job, stillborn),
                News::Crashed { signal, user } => {
                    let user = String::from_utf8_lossy(&user).into_owned();
                    say(&format!("warning: a session of {user} was ended by signal {signal}"));
                }
            }
        }
    }

    /// Somebody's clean parent has not taken the client.
    fn open_again(&mut self, job: Job, stillborn: bool) {
        if self.has_left(job.peer) {
            self.crowd.leave(&nests::key(&job.account));
            self.part(job.peer);
        } else if stillborn {
            say("warning: qmail-pop3d ended before it was ready to be a clean parent");
            self.serve_alone(job);
        } else {
            let (tries, since) = (job.tries.saturating_add(1), clock::monotonic());
            self.open(Job { tries, since, ..job });
        }
    }

    /// Serves a client in a child that becomes the user and qmail-pop3d.
    pub(super) fn serve_alone(&mut self, job: Job) {
        let Job { peer, account, connection, .. } = job;
        let aim = Aim::Serve(peer, nests::key(&account));
        self.fork(aim, &Task::Serve(&account, &connection));
    }
}
