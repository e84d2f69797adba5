//! The network programs that ask: accepted, heard, answered, let go.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::limits;
use base::wire::login::{Answer, Login, Verb};
use sys::poll::{self, Interest};
use sys::{clock, fd, pass};

use super::super::check::Verdict;
use super::super::say;
use super::token::Token;
use super::{BREATH, PEERS, Server};

/// A network program.
pub(super) struct Peer {
    pub(super) sock: OwnedFd,
    /// It has asked and waits. It has nothing to say then; its end shows when it is answered.
    pub(super) waits: bool,
    /// It has a client to be served: the answer is all it waits for.
    pub(super) opens: bool,
    /// It is among the descriptors waited for.
    pub(super) watched: bool,
    pub(super) since: Duration,
}

/// A login that was asked for.
pub(super) struct Request {
    pub(super) peer: u64,
    pub(super) message: Vec<u8>,
    pub(super) connection: Option<OwnedFd>,
}

impl Request {
    /// Its client; the rest is forgotten.
    pub(super) fn take_connection(mut self) -> Option<OwnedFd> {
        self.connection.take()
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.message.fill(0);
        std::hint::black_box(&self.message);
    }
}

impl Server {
    pub(super) fn accept(&mut self) {
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
    pub(super) fn be_deaf(&mut self, pause: Duration) {
        if self.poller.change(&self.listener, Token::Listener.number(), Interest::NONE).is_ok() {
            self.deaf_until = Some(clock::monotonic().saturating_add(pause));
        }
    }

    /// Lets a peer go.
    pub(super) fn part(&mut self, number: u64) {
        if let Some(peer) = self.peers.remove(&number) {
            self.unwatch(&peer);
        }
    }

    /// Children may hold copies of its descriptor: closing ours would not end its events.
    pub(super) fn unwatch(&self, peer: &Peer) {
        if peer.watched {
            let _ = self.poller.remove(&peer.sock);
        }
    }

    /// Takes a peer's question. Nonsense, or its end, is the end of the peer.
    pub(super) fn hear(&mut self, number: u64) {
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
    pub(super) fn watch(&mut self, number: u64) {
        let Some(peer) = self.peers.get_mut(&number).filter(|peer| !peer.watched) else { return };
        peer.watched = true;
        if self.poller.add(&peer.sock, Token::Peer(number).number(), Interest::READ).is_err() {
            self.peers.remove(&number);
        }
    }

    /// Whether a peer that waits for its answer has given up: it has told its client so, and nobody
    /// else may speak to that client now.
    pub(super) fn has_left(&self, number: u64) -> bool {
        self.peers.get(&number).is_none_or(|peer| {
            let said = poll::ready(&[peer.sock.as_fd()], Interest::READ, Some(Duration::ZERO));
            said.is_ok_and(|ready| ready == [true])
        })
    }

    /// Tells a peer, which may then ask again.
    pub(super) fn answer(&mut self, number: u64, verdict: &Verdict) {
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
}
