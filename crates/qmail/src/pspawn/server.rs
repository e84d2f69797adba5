//! Logins in, answers out. What has been found out lately is answered from memory and its
//! connection handed to its account's clean parent; the rest is done by children.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::limits;
use base::wire::login::{Answer, Login, Verb};
use store::home::Home;
use store::passwords::proofs::{Proof, Proofs};
use store::users::Account;
use sys::poll::{self, Event, Interest, Poller};
use sys::signal::{self, Signal, Signals};
use sys::spawn::{self, Fork};
use sys::{clock, fd, pass};

use super::check::{Aim, Asker, Check, Verdict};
use super::child::{self, Task};
use super::crowd::{Crowd, Key};
use super::files::{Files, State};
use super::nests::{self, Job, Nests, News};
use super::say;

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

/// What a number that the kernel gives back to us stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Signals,
    Listener,
    Peer(u64),
    Check(u64),
    Nest(u64),
}

impl Token {
    const fn number(self) -> u64 {
        let (number, kind) = match self {
            Self::Signals => (0, 0),
            Self::Listener => (1, 0),
            Self::Peer(number) => (number, 1),
            Self::Check(number) => (number, 2),
            Self::Nest(number) => (number, 3),
        };
        number << 2 | kind
    }

    const fn of(number: u64) -> Self {
        match (number & 3, number >> 2) {
            (0, 0) => Self::Signals,
            (0, _) => Self::Listener,
            (1, number) => Self::Peer(number),
            (2, number) => Self::Check(number),
            (_, number) => Self::Nest(number),
        }
    }
}

/// A network program.
struct Peer {
    sock: OwnedFd,
    /// It has asked and waits. It has nothing to say then; its end shows when it is answered.
    waits: bool,
    /// It has a client to be served: the answer is all it waits for.
    opens: bool,
    /// It is among the descriptors waited for.
    watched: bool,
    since: Duration,
}

/// A login that was asked for.
struct Request {
    peer: u64,
    message: Vec<u8>,
    connection: Option<OwnedFd>,
}

impl Request {
    /// Its client; the rest is forgotten.
    fn take_connection(mut self) -> Option<OwnedFd> {
        self.connection.take()
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.message.fill(0);
        std::hint::black_box(&self.message);
    }
}

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
            next: 0,
            peers: BTreeMap::new(),
            waiting: VecDeque::new(),
            checks: BTreeMap::new(),
            nests: Nests::default(),
            crowd: Crowd::default(),
            alone: BTreeMap::new(),
        })
    }

    /// Until SIGTERM. Open mailboxes stay open: their processes need us no more.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            self.poller.wait(&mut events, self.limit())?;
            for event in &events {
                if self.heed(*event)? {
                    return Ok(());
                }
            }
            self.enforce();
            self.begin();
        }
    }

    /// How long nothing need be looked at.
    fn limit(&self) -> Option<Duration> {
        let idle = self.peers.is_empty() && self.checks.is_empty() && self.nests.is_empty();
        match self.deaf_until {
            Some(until) => Some(until.saturating_sub(clock::monotonic())),
            None => (!idle).then_some(TICK),
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
            end |= signal == Signal::Term;
        }
        while let Some((pid, status)) = spawn::reap()? {
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

    fn accept(&mut self) {
        let Ok(sock) = pass::accept(&self.listener) else {
            // It stays readable: without a pause we would do nothing but try again.
            return self.be_deaf(BREATH);
        };
        match pass::peer(&sock) {
            Ok(peer) if self.allowed.contains(&peer.uid) => {}
            Ok(peer) => return say(&format!("warning: uid {} may not ask", peer.uid)),
            Err(_) => return,
        }
        // One that asks and never reads its answers must not hold up all others' logins.
        if fd::set_nonblocking(&sock, true).is_err() {
            return;
        }
        let number = self.number();
        let since = clock::monotonic();
        let peer = Peer { sock, waits: false, opens: false, watched: false, since };
        self.peers.insert(number, peer);
        // It may have asked already; if so it never need be waited for.
        self.hear(number);
        if self.peers.len() >= PEERS {
            self.be_deaf(BREATH);
        }
    }

    /// Accepts nobody for so long, and until there is room.
    fn be_deaf(&mut self, pause: Duration) {
        if self.poller.change(&self.listener, Token::Listener.number(), Interest::NONE).is_ok() {
            self.deaf_until = Some(clock::monotonic().saturating_add(pause));
        }
    }

    /// Lets a peer go.
    fn part(&mut self, number: u64) {
        if let Some(peer) = self.peers.remove(&number) {
            self.unwatch(&peer);
        }
    }

    /// Children may hold copies of its descriptor: closing ours would not end its events.
    fn unwatch(&self, peer: &Peer) {
        if peer.watched {
            let _ = self.poller.remove(&peer.sock);
        }
    }

    /// Takes a peer's question. Nonsense, or its end, is the end of the peer.
    fn hear(&mut self, number: u64) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let mut message = vec![0; 3 * (limits::LOGIN + 1) + 1];
        let (n, fds) = match pass::recv(&peer.sock, &mut message, 1) {
            Ok(said) => said,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return self.watch(number),
            Err(_) => return self.part(number),
        };
        message.truncate(n);
        let request = Request { peer: number, message, connection: fds.into_iter().next() };
        let right = Login::decode(&request.message).is_ok_and(|login| {
            peer.opens = login.verb == Verb::Open;
            let long =
                [login.name, login.secret, login.timestamp].iter().map(|f| f.len() + 1).sum();
            (!peer.opens || request.connection.is_some()) && limits::LOGIN >= long
        });
        if !right {
            return self.part(number);
        }
        peer.waits = true;
        peer.since = clock::monotonic();
        if std::mem::take(&mut peer.watched) {
            let _ = self.poller.remove(&peer.sock);
        }
        self.ask(request);
    }

    /// Waits for what a peer says.
    fn watch(&mut self, number: u64) {
        let Some(peer) = self.peers.get_mut(&number).filter(|peer| !peer.watched) else { return };
        peer.watched = true;
        if self.poller.add(&peer.sock, Token::Peer(number).number(), Interest::READ).is_err() {
            self.peers.remove(&number);
        }
    }

    /// Answers from memory, or lets it wait for its turn, or for the answer of one just like it.
    fn ask(&mut self, request: Request) {
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

    /// Somebody's secret fits.
    fn admit(&mut self, peer: u64, verb: Verb, account: Account, connection: Option<OwnedFd>) {
        let (Verb::Open, Some(connection)) = (verb, connection) else {
            return self.answer(peer, &Verdict::Welcome);
        };
        match self.crowd.enter(&nests::key(&account)) {
            Ok(()) => self.open(Job { peer, account, connection, tries: 0 }),
            Err(full) => self.answer(peer, &Verdict::of_full(full)),
        }
    }

    /// Hands the client to its account's clean parent, which is started if need be; else to a
    /// process of its own.
    fn open(&mut self, job: Job) {
        let Err((job, err)) = self.nests.hand_over(job) else { return };
        // One that is behind is not helped by a second.
        if err.kind() == io::ErrorKind::WouldBlock || job.tries >= TRIES || !self.nest(&job.account)
        {
            return self.serve_alone(job);
        }
        if let Err((job, _)) = self.nests.hand_over(job) {
            self.serve_alone(job);
        }
    }

    /// Starts an account's clean parent; false if it cannot be.
    fn nest(&mut self, account: &Account) -> bool {
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

    fn hear_nest(&mut self, number: u64) {
        let mut news = Vec::new();
        self.nests.hear(number, clock::monotonic(), &mut news);
        for news in news {
            match news {
                News::Served { peer } => self.answer(peer, &Verdict::Welcome),
                News::Closed(key) => self.crowd.leave(&key),
                News::Again { job, stillborn: true } => {
                    say("warning: qmail-pop3d ended before it was ready to be a clean parent");
                    self.serve_alone(job);
                }
                News::Again { job, stillborn: false } => {
                    self.open(Job { tries: job.tries.saturating_add(1), ..job });
                }
                News::Crashed { signal, user } => {
                    let user = String::from_utf8_lossy(&user).into_owned();
                    say(&format!("warning: a session of {user} was ended by signal {signal}"));
                }
            }
        }
    }

    /// Serves a client in a child that becomes the user and qmail-pop3d.
    fn serve_alone(&mut self, job: Job) {
        let Job { peer, account, connection, .. } = job;
        let aim = Aim::Serve(peer, nests::key(&account));
        self.fork(aim, &Task::Serve(&account, &connection));
    }

    /// Starts what may be started.
    fn begin(&mut self) {
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
    fn turn(&mut self) -> Option<Request> {
        let may = !self.waiting.is_empty() && self.checks.len() < self.most();
        may.then(|| self.waiting.pop_front()).flatten()
    }

    /// Lets a child find out whose the login is, unless that is known by now or being found out.
    fn find(&mut self, mut request: Request) {
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
    fn judge(&mut self, program: &[OsString], request: &Request) {
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

    /// Children at a time now.
    fn most(&self) -> usize {
        let foreign = || child::foreign(&self.home).is_ok_and(|program| program.is_some());
        let more = self.checks.len() >= self.at_once && !self.waiting.is_empty() && foreign();
        if more { CHECKS } else { self.at_once }
    }

    /// Whether a peer that waits for its answer has given up: it has told its client so, and nobody
    /// else may speak to that client now.
    fn has_left(&self, number: u64) -> bool {
        self.peers.get(&number).is_none_or(|peer| {
            let said = poll::ready(&[peer.sock.as_fd()], Interest::READ, Some(Duration::ZERO));
            said.is_ok_and(|ready| ready == [true])
        })
    }

    /// What proves this login a second time; nothing if a foreign program judges.
    fn proof(&self, login: &Login<'_>) -> Option<(Proof, State)> {
        Some((self.proofs.of(login.name, login.secret)?, self.files.state()?))
    }

    /// Starts a child.
    fn fork(&mut self, aim: Aim, task: &Task<'_>) {
        let number = self.number();
        match self.try_fork(number, task) {
            Ok((pid, pipe)) => {
                let (since, words) = (clock::monotonic(), Vec::new());
                self.checks.insert(number, Check { pid, since, pipe, words, aim });
            }
            Err(err) => {
                let text = format!("unable to fork: {}", sys::errno::text(&err));
                self.bring(aim, 0, Verdict::Trouble(text.into_bytes()));
            }
        }
    }

    fn try_fork(&self, number: u64, task: &Task<'_>) -> io::Result<(u32, OwnedFd)> {
        let (pipe, theirs) = fd::pipe()?;
        fd::set_nonblocking(&pipe, true)?;
        let pid = match spawn::fork()? {
            Fork::Parent(pid) => pid,
            Fork::Child => child::live(&self.home, task, &theirs),
        };
        self.poller.add(&pipe, Token::Check(number).number(), Interest::READ)?;
        Ok((pid, pipe))
    }

    /// Reads what a child says; at the end of it, settles what can be settled by it.
    fn read_words(&mut self, number: u64) {
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
    fn settle(&mut self, number: u64, verdict: Verdict) {
        let Some(Check { pid, pipe, aim, .. }) = self.checks.remove(&number) else { return };
        let _ = self.poller.remove(&pipe);
        self.bring(aim, pid, verdict);
    }

    /// Does what is to be done after a check.
    fn bring(&mut self, aim: Aim, pid: u32, verdict: Verdict) {
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

    /// Tells a peer, which may then ask again.
    fn answer(&mut self, number: u64, verdict: &Verdict) {
        let answer = verdict.answer();
        if let Answer::Trouble(text) = &answer {
            say(&format!("warning: {}", String::from_utf8_lossy(text)));
        }
        let Some(peer) = self.peers.get_mut(&number) else { return };
        peer.waits = false;
        peer.since = clock::monotonic();
        let mut message = Vec::new();
        answer.encode(&mut message);
        // One whose client has been passed on has nothing left to ask.
        if pass::send(&peer.sock, &message, &[]).is_err() || peer.opens {
            self.part(number);
        } else {
            self.watch(number);
        }
    }

    /// Ends checks that take too long (their end is then seen as any other) and silent peers, and
    /// hears new ones again.
    fn enforce(&mut self) {
        let now = clock::monotonic();
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
        self.nests.thin_out(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_as_itself() {
        let (one, most) = (1, u64::MAX >> 2);
        for token in [Token::Signals, Token::Listener, Token::Peer(one), Token::Peer(most)] {
            assert_eq!(Token::of(token.number()), token);
        }
        for token in [Token::Check(one), Token::Check(most), Token::Nest(one), Token::Nest(most)] {
            assert_eq!(Token::of(token.number()), token);
        }
    }

    /// A server with one peer, in a directory of its own.
    fn with_peer(name: &str) -> (std::path::PathBuf, Server, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("pspawn-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
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
        let (dir, mut server, peer) = with_peer("left");
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
        std::fs::remove_dir_all(&dir).unwrap();
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
        server.enforce();
        assert!(server.deaf_until.is_some());
        std::thread::sleep(BREATH);
        server.enforce();
        assert!(server.deaf_until.is_none() && calls(&server));
        // Nobody can ever be accepted here.
        server.listener = pass::pair(pass::Kind::Stream).unwrap().0;
        let token = Token::Listener.number();
        server.poller.add(&server.listener, token, Interest::READ).unwrap();
        server.accept();
        assert!(server.deaf_until.is_some());
        std::fs::remove_dir_all(&dir).unwrap();
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
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_peer_that_does_not_read_its_answers_is_dropped() {
        let (dir, mut server, _deaf) = with_peer("deaf");
        for _ in 0..100_000 {
            server.answer(1, &Verdict::Refused);
        }
        assert!(server.peers.is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
