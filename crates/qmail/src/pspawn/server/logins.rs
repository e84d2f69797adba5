//! Whose the logins are: known by heart, or found out by children.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;

use base::wire::login::{Login, Verb};
use sys::poll::Interest;
use sys::spawn::{self, Fork};
use sys::{clock, fd};

use super::super::check::{Aim, Asker, Check, Verdict};
use super::super::child::{self, Task};
use super::super::files::State;
use super::peers::Request;
use super::token::Token;
use super::{CHECKS, Server};
use store::passwords::proofs::Proof;

impl Server {
    /// Answers from memory, or lets it wait for its turn, or for the answer of one just like it.
    pub(super) fn ask(&mut self, request: Request) {
        let Ok(login) = Login::decode(&request.message) else { return };
        let (peer, verb) = (request.peer, login.verb);
        let Some((proof, state)) = self.proof(&login) else {
            return self.waiting.push_back(request);
        };
        if let Some(check) = self.checks.values_mut().find(|check| check.finds(&proof, &state)) {
            return check.join(Asker { peer, verb, connection: request.take_connection() });
        }
        match self.proofs.holds(&proof, state, clock::monotonic()).cloned() {
            Some(account) => self.admit(peer, verb, account, request.take_connection()),
            None => self.waiting.push_back(request),
        }
    }

    /// Starts what may be started.
    pub(super) fn begin(&mut self) {
        while let Some(request) = self.turn() {
            if self.has_left(request.peer) {
                self.part(request.peer);
                continue;
            }
            match child::foreign(&self.home) {
                Ok(None) => self.find(request),
                Ok(Some(program)) => self.judge(&program, &request),
                Err(denied) => self.answer(request.peer, &Verdict::of_denied(denied)),
            }
        }
    }

    /// The next request, if it may be begun.
    pub(super) fn turn(&mut self) -> Option<Request> {
        let may = !self.waiting.is_empty() && self.judging() < self.most();
        may.then(|| self.waiting.pop_front()).flatten()
    }

    /// Lets a child find out whose the login is, unless that is known by now or being found out.
    pub(super) fn find(&mut self, mut request: Request) {
        let Ok(login) = Login::decode(&request.message) else { return };
        let proof = self.proof(&login);
        let asked = |check: &Check| proof.as_ref().is_some_and(|(p, state)| check.finds(p, state));
        let known = proof.as_ref().is_some_and(|(proof, state)| {
            self.proofs.holds(proof, state.clone(), clock::monotonic()).is_some()
        });
        if known || self.checks.values().any(asked) {
            return self.ask(request);
        }
        let connection = request.connection.take();
        let asker = Asker { peer: request.peer, verb: login.verb, connection };
        self.fork(Aim::Find { askers: vec![asker], proof }, &Task::Check(login));
    }

    /// Lets a foreign program judge.
    pub(super) fn judge(&mut self, program: &[OsString], request: &Request) {
        let Ok(login) = Login::decode(&request.message) else { return };
        let aim = match login.verb {
            Verb::Check => Aim::Judge(request.peer),
            Verb::Open => match self.crowd.enter(login.name) {
                Ok(()) => Aim::Serve(request.peer, login.name.to_vec()),
                Err(full) => return self.answer(request.peer, &Verdict::of_full(full)),
            },
        };
        let connection = request.connection.as_ref().filter(|_| login.verb == Verb::Open);
        self.fork(aim, &Task::Foreign(program, login, connection));
    }

    /// Children that find out whether a secret fits. A home that does not answer keeps others,
    /// which are to open a mailbox, for as long as they may take.
    fn judging(&self) -> usize {
        self.checks.values().filter(|check| check.judges).count()
    }

    /// Children at a time now.
    pub(super) fn most(&self) -> usize {
        let foreign = || child::foreign(&self.home).is_ok_and(|program| program.is_some());
        let more = self.judging() >= self.at_once && !self.waiting.is_empty() && foreign();
        if more { CHECKS } else { self.at_once }
    }

    /// What proves this login a second time; nothing if a foreign program judges.
    pub(super) fn proof(&self, login: &Login<'_>) -> Option<(Proof, State)> {
        Some((self.proofs.of(login.name, login.secret)?, self.files.state()?))
    }

    /// Starts a child.
    pub(super) fn fork(&mut self, aim: Aim, task: &Task<'_>) {
        let (number, judges) = (self.number(), !matches!(task, Task::Serve(..)));
        match self.try_fork(number, task) {
            Ok((pid, pipe)) => {
                let (since, words) = (clock::monotonic(), Vec::new());
                self.checks.insert(number, Check { pid, since, pipe, words, aim, judges });
            }
            Err(err) => {
                let text = format!("unable to fork: {}", sys::errno::text(&err));
                self.bring(aim, 0, Verdict::Trouble(text.into_bytes()));
            }
        }
    }

    pub(super) fn try_fork(&self, number: u64, task: &Task<'_>) -> io::Result<(u32, OwnedFd)> {
        let (pipe, theirs) = fd::pipe()?;
        fd::set_nonblocking(&pipe, true)?;
        // Before the fork: a child that nobody hears would serve a client who is told otherwise.
        self.poller.add(&pipe, Token::Check(number).number(), Interest::READ)?;
        match spawn::fork() {
            Ok(Fork::Parent(pid)) => Ok((pid, pipe)),
            Ok(Fork::Child) => child::live(&self.home, task, &theirs),
            Err(err) => Err(err),
        }
    }

    /// Reads what a child says; at the end of it, settles what can be settled by it.
    pub(super) fn read_words(&mut self, number: u64) {
        let Some(check) = self.checks.get_mut(&number) else { return };
        let Some(verdict) = check.hear() else { return };
        match verdict {
            // Its exit code will tell; its pipe has no more to say.
            Verdict::Unknown => {
                let _ = self.poller.remove(&check.pipe);
            }
            verdict => self.settle(number, verdict),
        }
    }

    /// A child has said, or shown by its end, how it went.
    pub(super) fn settle(&mut self, number: u64, verdict: Verdict) {
        let Some(Check { pid, pipe, aim, .. }) = self.checks.remove(&number) else { return };
        let _ = self.poller.remove(&pipe);
        self.bring(aim, pid, verdict);
    }

    /// Does what is to be done after a check.
    pub(super) fn bring(&mut self, aim: Aim, pid: u32, verdict: Verdict) {
        match (aim, verdict) {
            (Aim::Find { askers, proof }, Verdict::Found(account)) => {
                if let Some((proof, state)) = proof {
                    self.proofs.remember(proof, &state, account.clone(), clock::monotonic());
                }
                for Asker { peer, verb, connection } in askers {
                    self.admit(peer, verb, account.clone(), connection);
                }
            }
            (Aim::Find { askers, .. }, verdict) => {
                askers.iter().for_each(|asker| self.answer(asker.peer, &verdict));
            }
            (Aim::Serve(peer, key), Verdict::Welcome) => {
                self.alone.insert(pid, key);
                self.answer(peer, &Verdict::Welcome);
            }
            (Aim::Serve(peer, key), verdict) => {
                self.crowd.leave(&key);
                self.answer(peer, &verdict);
            }
            (Aim::Judge(peer), verdict) => self.answer(peer, &verdict),
        }
    }
}
