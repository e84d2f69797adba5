//! Logins in, answers out. What has been found out lately is answered from memory and its
//! connection handed to its account's clean parent; the rest is done by children.

mod leave;
mod logins;
mod mailboxes;
mod peers;
mod token;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use store::home::Home;
use store::passwords::proofs::Proofs;
use store::users::Account;
use sys::clock;
use sys::poll::{Event, Interest, Poller};
use sys::signal::{self, Signal, Signals};
use sys::spawn;

use super::check::{Check, Verdict};
use super::crowd::{Crowd, Key};
use super::files::{Files, State};
use super::nests::Nests;
use crate::leaving::Leaving;

use self::peers::{Peer, Request};
use self::token::Token;

/// Network programs connected at a time.
const PEERS: usize = 256;
/// Children checking at a time at most; fewer on a small machine if each computes as hard as it can
/// in 19 MiB of its own. A foreign program waits for others rather than computes.
const CHECKS: usize = 64;
/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(50);
/// How long a peer may be connected without asking.
const SILENCE: Duration = Duration::from_secs(120);
/// How often time limits are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long nobody is accepted after a failed accept (no descriptors left).
const BREATH: Duration = Duration::from_millis(100);
/// Clean parents that may fail a job before it gets a process of its own.
const TRIES: u32 = 2;

/// The whole state.
pub(super) struct Server {
    home: Home,
    listener: OwnedFd,
    /// The uids that may ask.
    allowed: [u32; 3],
    signals: Signals,
    poller: Poller,
    files: Files,
    proofs: Proofs<State, Account>,
    /// Children computing at a time.
    at_once: usize,
    /// Until when nobody is accepted; `None`: the listener is waited for.
    deaf_until: Option<Duration>,
    looked: Duration,
    /// Told to stop, and on the way out.
    leaving: Option<Leaving>,
    next: u64,
    peers: BTreeMap<u64, Peer>,
    waiting: VecDeque<Request>,
    checks: BTreeMap<u64, Check>,
    nests: Nests,
    crowd: Crowd,
    /// Sessions that are children of ours, by pid.
    alone: BTreeMap<u32, Key>,
}

impl Server {
    pub(super) fn new(home: Home, listener: OwnedFd, allowed: [u32; 3]) -> io::Result<Self> {
        let signals = Signals::catch(&[Signal::Chld, Signal::Term])?;
        let poller = Poller::new()?;
        poller.add(&signals, Token::Signals.number(), Interest::READ)?;
        poller.add(&listener, Token::Listener.number(), Interest::READ)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            files: Files::of(&home),
            home,
            listener,
            allowed,
            signals,
            poller,
            proofs: Proofs::new()?,
            at_once: cores.saturating_mul(2).clamp(2, CHECKS),
            deaf_until: None,
            looked: clock::monotonic(),
            leaving: None,
            next: 0,
            peers: BTreeMap::new(),
            waiting: VecDeque::new(),
            checks: BTreeMap::new(),
            nests: Nests::default(),
            crowd: Crowd::default(),
            alone: BTreeMap::new(),
        })
    }

    /// Until SIGTERM, and a moment longer for who has asked already. Open mailboxes stay open: their processes need us no more.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            self.poller.wait(&mut events, self.limit())?;
            for event in &events {
                if self.heed(*event)? {
                    return Ok(());
                }
            }
            self.enforce(clock::monotonic());
            self.begin();
            if self.may_leave(!events.is_empty()) {
                return Ok(());
            }
        }
    }

    /// How long nothing need be looked at.
    fn limit(&self) -> Option<Duration> {
        if self.leaving.is_some() {
            return Some(Leaving::patience());
        }
        let idle = self.peers.is_empty() && self.checks.is_empty() && self.nests.is_empty();
        match self.deaf_until {
            // Without room the pause's end changes nothing: somebody has to go first.
            Some(until) if self.peers.len() < PEERS => {
                Some(until.saturating_sub(clock::monotonic()))
            }
            _ => (!idle).then_some(TICK),
        }
    }

    /// True if we are to end.
    fn heed(&mut self, event: Event) -> io::Result<bool> {
        match Token::of(event.token) {
            Token::Signals => return self.heed_signals(),
            Token::Listener => self.accept(),
            Token::Peer(number) => self.hear(number),
            Token::Check(number) => self.read_words(number),
            Token::Nest(number) => self.hear_nest(number),
        }
        Ok(false)
    }

    /// True if we are to end.
    fn heed_signals(&mut self) -> io::Result<bool> {
        let mut end = false;
        while let Some(signal) = self.signals.next()? {
            end |= signal == Signal::Term && self.leaving.is_some();
            if signal == Signal::Term && !end {
                self.begin_to_leave();
            }
        }
        while let Some((pid, status)) = spawn::reap()? {
            sys::log::bury(pid, status);
            let check = self.checks.iter().find(|(_, check)| check.pid == pid);
            if let Some(number) = check.map(|(number, _)| *number) {
                // Its last words may still be in the pipe.
                self.read_words(number);
                if self.checks.contains_key(&number) {
                    self.settle(number, Verdict::of_status(status));
                }
            }
            if let Some(key) = self.alone.remove(&pid) {
                self.crowd.leave(&key);
            }
        }
        Ok(end)
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Ends checks that take too long (their end is then seen as any other), silent peers, and clean
    /// parents that do nothing, and hears new peers again.
    fn enforce(&mut self, now: Duration) {
        if self.deaf_until.is_some_and(|until| now >= until)
            && self.peers.len() < PEERS
            && self.poller.change(&self.listener, Token::Listener.number(), Interest::READ).is_ok()
        {
            self.deaf_until = None;
        }
        if now.saturating_sub(self.looked) < TICK {
            return;
        }
        self.looked = now;
        let past = |since: Duration, limit: Duration| now.saturating_sub(since) > limit;
        for check in self.checks.values().filter(|check| past(check.since, PATIENCE)) {
            let _ = signal::kill(check.pid, Signal::Kill);
        }
        let silent = self.peers.iter().filter(|(_, peer)| !peer.waits && past(peer.since, SILENCE));
        for number in silent.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.part(number);
        }
        let mut news = Vec::new();
        self.nests.give_up(now, &mut news);
        self.heed_news(news);
        self.nests.thin_out(now);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use base::wire::login::{Login, Verb};
    use sys::pass;

    use super::*;
    use yard::Yard;

    /// A server with one peer, in a directory of its own.
    fn with_peer(name: &str) -> (Yard, Server, OwnedFd) {
        let dir = Yard::new(&format!("pspawn-{name}"));
        let path = dir.join("socket");
        let kind = pass::Kind::Seqpacket;
        let listener = pass::listen(&path, kind, 0o600, 5).unwrap();
        let peer = pass::connect(&path, kind).unwrap();
        let home = Home::at(&dir).unwrap();
        let mut server = Server::new(home, listener, [sys::user::euid(); 3]).unwrap();
        server.accept();
        assert_eq!(server.peers.len(), 1);
        (dir, server, peer)
    }

    #[test]
    fn a_client_whose_program_has_given_up_is_not_served() {
        let (_dir, mut server, peer) = with_peer("left");
        let mut message = Vec::new();
        let login = Login { verb: Verb::Open, name: b"joe", secret: b"x", timestamp: b"<1@h>" };
        login.encode(&mut message);
        let (_client, connection) = pass::pair(pass::Kind::Stream).unwrap();
        pass::send(&peer, &message, &[connection.as_fd()]).unwrap();
        server.hear(1);
        assert!(server.waiting.len() == 1 && !server.has_left(1));
        drop(peer);
        server.begin();
        assert!(server.waiting.is_empty() && server.checks.is_empty() && server.peers.is_empty());
    }

    #[test]
    fn a_listener_that_fails_is_left_alone_for_a_moment() {
        let (dir, mut server, _peer) = with_peer("deaf-listener");
        let calls = |server: &Server| {
            let mut events = Vec::new();
            server.poller.wait(&mut events, Some(Duration::from_millis(10))).unwrap();
            events.iter().any(|event| Token::of(event.token) == Token::Listener)
        };
        let _second = pass::connect(&dir.join("socket"), pass::Kind::Seqpacket).unwrap();
        assert!(calls(&server));
        server.be_deaf(BREATH);
        assert!(server.limit().is_some_and(|limit| limit <= BREATH) && !calls(&server));
        server.enforce(clock::monotonic());
        assert!(server.deaf_until.is_some());
        std::thread::sleep(BREATH);
        server.enforce(clock::monotonic());
        assert!(server.deaf_until.is_none() && calls(&server));
        // Nobody can ever be accepted here.
        server.listener = pass::pair(pass::Kind::Stream).unwrap().0;
        let token = Token::Listener.number();
        server.poller.add(&server.listener, token, Interest::READ).unwrap();
        server.accept();
        assert!(server.deaf_until.is_some());
    }

    #[test]
    fn a_full_house_is_waited_in_without_haste() {
        let (_dir, mut server, _peer) = with_peer("full");
        let since = clock::monotonic();
        while server.peers.len() < PEERS {
            let (sock, _) = pass::pair(pass::Kind::Seqpacket).unwrap();
            let peer = Peer { sock, waits: true, opens: true, watched: false, since };
            let number = server.number();
            server.peers.insert(number, peer);
        }
        server.be_deaf(Duration::ZERO);
        server.enforce(clock::monotonic());
        assert_eq!((server.deaf_until.is_some(), server.limit()), (true, Some(TICK)));
        server.part(2);
        assert_eq!(server.limit(), Some(Duration::ZERO));
        server.enforce(clock::monotonic());
        assert!(server.deaf_until.is_none());
    }

    #[test]
    fn nobody_waits_for_ever_for_a_mailbox_that_does_not_open() {
        for leaves in [true, false] {
            let (dir, mut server, peer) = with_peer(&format!("stuck-{leaves}"));
            let program = dir.join("bin/qmail-pop3d");
            std::fs::create_dir(dir.join("bin")).unwrap();
            // Written by a process of its own: no fork of another test holds it open.
            let text = "printf '#!/bin/sh\\nexec sleep 1000\\n' > \"$0\"";
            let writer = spawn::Command::new("sh").args(["-c", text]).arg(&program);
            // A server of another test may have buried it by now.
            let _ = spawn::wait(writer.spawn().unwrap());
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&program, mode).unwrap();
            let (uid, gid) = (sys::user::euid(), sys::user::egid());
            let (user, home) = (b"joe".to_vec(), b"/".to_vec());
            let account = Account { user, uid, gid, home, dash: Vec::new(), ext: Vec::new() };
            let (_client, connection) = pass::pair(pass::Kind::Stream).unwrap();
            server.admit(1, Verb::Open, account.clone(), Some(connection));
            assert_eq!((server.nests.len(), server.checks.len()), (1, 0));
            let mut peer = Some(peer);
            if leaves {
                peer = None;
            }
            let later = clock::monotonic() + super::super::nests::UNTAKEN + Duration::from_secs(1);
            server.enforce(later);
            assert_eq!((server.nests.len(), server.checks.len()), (0, usize::from(!leaves)));
            assert_eq!(server.peers.is_empty(), leaves);
            let key = super::super::nests::key(&account);
            let mut entered = 0;
            while server.crowd.enter(&key).is_ok() {
                entered += 1;
            }
            assert_eq!(entered, base::limits::MAILBOX_SESSIONS - usize::from(!leaves));
            // Nor does anybody else wait for it.
            server.at_once = 1;
            server.waiting.push_back(Request { peer: 0, message: Vec::new(), connection: None });
            assert!(server.turn().is_some());
            server.checks.values().for_each(|check| {
                signal::kill(check.pid, Signal::Kill).unwrap();
            });
            drop(peer);
        }
    }

    #[test]
    fn a_foreign_program_that_waits_holds_up_fewer_others() {
        let (dir, mut server, _peer) = with_peer("foreign");
        server.at_once = 0;
        server.waiting.push_back(Request { peer: 0, message: Vec::new(), connection: None });
        assert_eq!(server.most(), 0);
        std::fs::create_dir(dir.join("control")).unwrap();
        for (line, most) in [("\n", 0), ("checkpw -x\n", CHECKS)] {
            std::fs::write(dir.join("control/checkpassword"), line).unwrap();
            assert_eq!(server.most(), most, "{line:?}");
        }
    }

    #[test]
    fn a_peer_that_does_not_read_its_answers_is_dropped() {
        let (_dir, mut server, _deaf) = with_peer("deaf");
        for _ in 0..100_000 {
            server.answer(1, &Verdict::Refused);
        }
        assert!(server.peers.is_empty());
    }
}
