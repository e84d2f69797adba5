//! Logins in, answers out; the checking is done by children.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::limits;
use base::wire::login::{Answer, Login, Verb};
use store::control::Control;
use store::home::Home;
use store::passwords::{self, proofs::Proof, proofs::Proofs};
use store::users::Stamp;
use sys::poll::{self, Interest};
use sys::signal::{self, Signal, Signals};
use sys::spawn::{self, Fork, Status};
use sys::{clock, fd, pass};

use super::child::{self, FITS, Task};
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
/// What a child's pipe may say.
const WORDS: usize = 1 + limits::QUEUE_TEXT;

/// A network program.
struct Peer {
    sock: OwnedFd,
    /// It has asked and waits.
    waits: bool,
    since: Duration,
}

/// A login that was asked for.
struct Request {
    peer: u64,
    message: Vec<u8>,
    connection: Option<OwnedFd>,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.message.fill(0);
        std::hint::black_box(&self.message);
    }
}

/// A child at work.
struct Check {
    peer: u64,
    pid: u32,
    since: Duration,
    /// What it says; `None` at the end.
    pipe: Option<OwnedFd>,
    words: Vec<u8>,
    /// To remember if the secret fits, with the list it was compared with.
    proof: Option<(Proof, Stamp)>,
}

/// What a child's words, or its end without words, mean. The text is for the log.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Welcome,
    Refused,
    Trouble(Vec<u8>),
    /// It has said nothing; its exit code will tell.
    Unknown,
}

fn judge(words: &[u8]) -> Verdict {
    match words {
        [] => Verdict::Unknown,
        [FITS] => Verdict::Welcome,
        [FITS, text @ ..] | text => Verdict::Trouble(text.to_vec()),
    }
}

fn judge_status(status: Status) -> Verdict {
    match status {
        Status::Exited(1) => Verdict::Refused,
        Status::Exited(code) => {
            Verdict::Trouble(format!("the check ended with exit code {code}").into_bytes())
        }
        Status::Killed(signal) => {
            Verdict::Trouble(format!("the check was ended by signal {signal}").into_bytes())
        }
    }
}

/// The whole state.
pub(super) struct Server {
    home: Home,
    listener: OwnedFd,
    /// The uids that may ask.
    allowed: [u32; 3],
    signals: Signals,
    proofs: Proofs,
    /// Children computing at a time.
    at_once: usize,
    deaf_until: Duration,
    next: u64,
    peers: BTreeMap<u64, Peer>,
    waiting: VecDeque<Request>,
    checks: Vec<Check>,
}

impl Server {
    pub(super) fn new(home: Home, listener: OwnedFd, allowed: [u32; 3]) -> io::Result<Self> {
        let signals = Signals::catch(&[Signal::Chld, Signal::Term])?;
        let proofs = Proofs::new()?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let at_once = cores.saturating_mul(2).clamp(2, CHECKS);
        let (peers, waiting, checks) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        Ok(Self {
            home,
            listener,
            allowed,
            signals,
            proofs,
            at_once,
            deaf_until: Duration::ZERO,
            next: 0,
            peers,
            waiting,
            checks,
        })
    }

    /// Until SIGTERM. Open mailboxes stay open: their processes need us no more.
    pub(super) fn run(&mut self) -> io::Result<()> {
        loop {
            let (signalled, calling, peers, pipes) = self.wait()?;
            for n in pipes.into_iter().rev() {
                self.read_words(n);
            }
            if signalled && self.heed_signals()? {
                return Ok(());
            }
            peers.into_iter().for_each(|peer| self.hear(peer));
            if calling {
                self.accept();
            }
            self.enforce();
            self.begin();
        }
    }

    /// What became readable: a signal, a new peer, peers, children's pipes (by position).
    fn wait(&self) -> io::Result<(bool, bool, Vec<u64>, Vec<usize>)> {
        let mut fds = vec![self.signals.as_fd()];
        let deaf = self.deaf_until.saturating_sub(clock::monotonic());
        let room = self.peers.len() < PEERS && deaf.is_zero();
        if room {
            fds.push(self.listener.as_fd());
        }
        // A peer that waits for its answer has nothing to say; its end shows when it is answered.
        let (names, socks): (Vec<u64>, Vec<_>) =
            self.peers.iter().filter(|p| !p.1.waits).map(|(n, p)| (*n, p.sock.as_fd())).unzip();
        let open = self.checks.iter().enumerate();
        let (places, pipes): (Vec<usize>, Vec<_>) =
            open.filter_map(|(n, check)| Some((n, check.pipe.as_ref()?.as_fd()))).unzip();
        fds.extend(socks);
        fds.extend(pipes);
        let idle = self.peers.is_empty() && self.checks.is_empty();
        let limit = if deaf.is_zero() { (!idle).then_some(TICK) } else { Some(deaf) };
        let ready = poll::ready(&fds, Interest::READ, limit)?;
        let mut ready = ready.into_iter();
        let signalled = ready.next().unwrap_or(false);
        let calling = room && ready.next().unwrap_or(false);
        let peers = names.into_iter().zip(ready.by_ref()).filter(|p| p.1).map(|p| p.0).collect();
        let pipes = places.into_iter().zip(ready).filter(|p| p.1).map(|p| p.0).collect();
        Ok((signalled, calling, peers, pipes))
    }

    /// True if we are to end.
    fn heed_signals(&mut self) -> io::Result<bool> {
        let mut end = false;
        while let Some(signal) = self.signals.next()? {
            end |= signal == Signal::Term;
        }
        while let Some((pid, status)) = spawn::reap()? {
            if let Some(at) = self.checks.iter().position(|check| check.pid == pid) {
                // Its last words may still be in the pipe.
                self.read_words(at);
                if self.checks.get(at).is_some_and(|check| check.pid == pid) {
                    self.settle(at, &judge_status(status));
                }
            }
        }
        Ok(end)
    }

    fn accept(&mut self) {
        let Ok(sock) = pass::accept(&self.listener) else {
            // It stays readable: without a pause we would do nothing but try again.
            self.deaf_until = clock::monotonic().saturating_add(BREATH);
            return;
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
        let peer = Peer { sock, waits: false, since: clock::monotonic() };
        self.peers.insert(self.next, peer);
        self.next = self.next.wrapping_add(1);
    }

    /// Takes a peer's question. Nonsense, or its end, is the end of the peer.
    fn hear(&mut self, number: u64) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let mut message = vec![0; 3 * (limits::LOGIN + 1) + 1];
        let Ok((n, fds)) = pass::recv(&peer.sock, &mut message, 1) else {
            self.peers.remove(&number);
            return;
        };
        message.truncate(n);
        let request = Request { peer: number, message, connection: fds.into_iter().next() };
        let right = Login::decode(&request.message).is_ok_and(|login| {
            let long =
                [login.name, login.secret, login.timestamp].iter().map(|f| f.len() + 1).sum();
            (login.verb == Verb::Check || request.connection.is_some()) && limits::LOGIN >= long
        });
        if !right {
            self.peers.remove(&number);
            return;
        }
        peer.waits = true;
        peer.since = clock::monotonic();
        self.waiting.push_back(request);
    }

    /// Starts what may be started.
    fn begin(&mut self) {
        while self.checks.len() < self.most()
            && let Some(request) = self.waiting.pop_front()
        {
            if self.has_left(request.peer) {
                self.peers.remove(&request.peer);
                continue;
            }
            let Ok(login) = Login::decode(&request.message) else { continue };
            let now = clock::monotonic();
            let proof = self.proof(&login);
            let proven = proof.as_ref().is_some_and(|(p, list)| self.proofs.holds(p, *list, now));
            if proven && login.verb == Verb::Check {
                self.answer(request.peer, &Verdict::Welcome);
                continue;
            }
            let task = Task { login, connection: request.connection.as_ref(), proven };
            match self.fork(&task) {
                Ok((pid, pipe)) => self.checks.push(Check {
                    peer: request.peer,
                    pid,
                    since: now,
                    pipe: Some(pipe),
                    words: Vec::new(),
                    proof,
                }),
                Err(err) => {
                    let text = format!("unable to fork: {}", sys::errno::text(&err));
                    self.answer(request.peer, &Verdict::Trouble(text.into_bytes()));
                }
            }
        }
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
    fn proof(&self, login: &Login<'_>) -> Option<(Proof, Stamp)> {
        if Control::new(&self.home).path("checkpassword").exists() {
            return None;
        }
        let list = passwords::stamp(&self.home).ok()?;
        Some((self.proofs.of(login.name, login.secret)?, list))
    }

    fn fork(&self, task: &Task<'_>) -> io::Result<(u32, OwnedFd)> {
        let (pipe, theirs) = fd::pipe()?;
        fd::set_nonblocking(&pipe, true)?;
        match spawn::fork()? {
            Fork::Parent(pid) => Ok((pid, pipe)),
            Fork::Child => child::live(&self.home, task, &theirs),
        }
    }

    /// Reads what a child says; at the end of it, answers its peer if that is enough.
    fn read_words(&mut self, at: usize) {
        let Some(check) = self.checks.get_mut(at) else { return };
        while let Some(pipe) = &check.pipe {
            let mut piece = [0; WORDS];
            match fd::read(pipe, &mut piece) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => check.pipe = None,
                Ok(n) => {
                    let room = WORDS.saturating_sub(check.words.len());
                    check.words.extend(piece.iter().take(n.min(room)));
                }
            }
        }
        match judge(&check.words) {
            Verdict::Unknown => {}
            verdict => self.settle(at, &verdict),
        }
    }

    /// A check is over.
    fn settle(&mut self, at: usize, verdict: &Verdict) {
        let check = self.checks.swap_remove(at);
        if let (Verdict::Welcome, Some((proof, list))) = (verdict, check.proof) {
            self.proofs.remember(proof, list, clock::monotonic());
        }
        self.answer(check.peer, verdict);
    }

    /// Tells a peer, which may then ask again.
    fn answer(&mut self, number: u64, verdict: &Verdict) {
        let answer = match verdict {
            Verdict::Welcome => Answer::Welcome,
            Verdict::Refused => Answer::Refused,
            Verdict::Trouble(text) => {
                say(&format!("warning: {}", String::from_utf8_lossy(text)));
                Answer::Trouble(text.get(..limits::QUEUE_TEXT).unwrap_or(text))
            }
            Verdict::Unknown => Answer::Trouble(b"nothing is known"),
        };
        let Some(peer) = self.peers.get_mut(&number) else { return };
        peer.waits = false;
        peer.since = clock::monotonic();
        let mut message = Vec::new();
        answer.encode(&mut message);
        if pass::send(&peer.sock, &message, &[]).is_err() {
            self.peers.remove(&number);
        }
    }

    /// Ends checks that take too long (their end is then seen as any other) and silent peers.
    fn enforce(&mut self) {
        let now = clock::monotonic();
        let past = |since: Duration, limit: Duration| now.saturating_sub(since) > limit;
        for check in self.checks.iter().filter(|check| past(check.since, PATIENCE)) {
            let _ = signal::kill(check.pid, Signal::Kill);
        }
        self.peers.retain(|_, peer| peer.waits || !past(peer.since, SILENCE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        server.hear(0);
        assert!(server.waiting.len() == 1 && !server.has_left(0));
        drop(peer);
        server.begin();
        assert!(server.waiting.is_empty() && server.checks.is_empty() && server.peers.is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_listener_that_fails_is_left_alone_for_a_moment() {
        let (dir, mut server, _peer) = with_peer("deaf-listener");
        // Always readable, and nobody can ever be accepted.
        server.listener = pass::pair(pass::Kind::Stream).unwrap().0;
        server.peers.clear();
        assert!(server.wait().unwrap().1);
        server.accept();
        let since = clock::monotonic();
        assert!(!server.wait().unwrap().1);
        assert!(clock::monotonic().saturating_sub(since) >= BREATH / 2);
        assert!(server.wait().unwrap().1);
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
            server.answer(0, &Verdict::Refused);
        }
        assert!(server.peers.is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn only_the_bare_word_lets_anybody_in() {
        assert_eq!(judge(&[FITS]), Verdict::Welcome);
        let after = [&[FITS], &b"unable to become joe"[..]].concat();
        assert_eq!(judge(&after), Verdict::Trouble(b"unable to become joe".into()));
        assert_eq!(judge(b"p"), Verdict::Trouble(b"p".into()));
        assert_eq!(judge(b"no list"), Verdict::Trouble(b"no list".into()));
        assert_eq!(judge(b""), Verdict::Unknown);
        assert_eq!(judge_status(Status::Exited(1)), Verdict::Refused);
        for status in [Status::Exited(0), Status::Exited(2), Status::Exited(111), Status::Killed(9)]
        {
            assert!(matches!(judge_status(status), Verdict::Trouble(_)), "{status:?}");
        }
    }
}
