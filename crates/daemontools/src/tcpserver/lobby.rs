//! Connections of trusted proxies, until the proxy has said whose they are (`-a`).
//!
//! Who serves many should not parse what strangers say; what is read here comes from proxies that the
//! administrator has listed, is bounded, and is read by `base::proxy`, which is fuzzed. Who is not
//! listed is served as ever, and what it says is its program's.

use super::rules::Rulebook;
use super::server::Server;
use super::source::Source;
use base::limits::{PROXIED_CONNECTIONS, PROXY_HEADER};
use base::proxy::{self, Heard, NoHeader, Origin};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use sys::poll::{Interest, Poller};

/// A connection of which it is known whose it is.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) sock: OwnedFd,
    /// The client.
    pub(super) remote: SocketAddr,
    /// Where it connected to, if not to us.
    pub(super) local: Option<SocketAddr>,
}

/// One whose proxy has not said all yet.
#[derive(Debug)]
struct Waiter {
    sock: OwnedFd,
    proxy: SocketAddr,
    said: Vec<u8>,
}

/// What has come of a waiter.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It waits on.
    Waits,
    /// The header is read, and nothing behind it.
    Known(Origin),
    /// There is no header, for this reason.
    Lost(&'static str),
}

impl Waiter {
    /// Takes of the connection what is header, and not a byte more.
    fn hear(&mut self) -> Progress {
        let mut buf = [0; PROXY_HEADER];
        let got = match sys::net::peek(&self.sock, &mut buf) {
            Ok(0) => return Progress::Lost("ended before its PROXY header"),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waits,
            Err(_) => return Progress::Lost("broke before its PROXY header"),
        };
        let before = self.said.len();
        self.said.extend(buf.iter().take(got));
        let (length, progress) = match proxy::parse(&self.said) {
            Ok(Heard::Part) => (self.said.len(), Progress::Waits),
            Ok(Heard::Whole { origin, length }) => (length, Progress::Known(origin)),
            Err(NoHeader) => return Progress::Lost("did not begin with a PROXY header"),
        };
        let taken = buf.get_mut(..length.saturating_sub(before)).unwrap_or_default();
        match sys::fd::read_full(&self.sock, taken) {
            Ok(read) if read == taken.len() => progress,
            _ => Progress::Lost("broke within its PROXY header"),
        }
    }
}

/// The proxies' connections.
#[derive(Debug)]
pub(super) struct Lobby {
    list: OsString,
    book: Rulebook,
    patience: Duration,
    waiting: BTreeMap<u32, Waiter>,
    /// Who has to be known by when, in this order; some of them are gone.
    deadlines: VecDeque<(Instant, u32)>,
    known: VecDeque<Arrival>,
    number: u32,
}

impl Lobby {
    /// Nobody there; `list` is a database of rules that names the proxies.
    pub(super) fn new(list: OsString, patience: Duration) -> Self {
        let (book, waiting, deadlines, known, number) = Default::default();
        Self { list, book, patience, waiting, deadlines, known, number }
    }

    /// Whether a peer is a proxy whose word counts.
    fn trusts(&mut self, peer: IpAddr) -> io::Result<bool> {
        self.book.lists(&self.list, peer)
    }

    /// Lets a proxy's connection wait; an error is why it cannot.
    fn admit(
        &mut self,
        poller: &Poller,
        sock: OwnedFd,
        proxy: SocketAddr,
    ) -> Result<u32, &'static str> {
        if self.waiting.len().saturating_add(self.known.len()) >= PROXIED_CONNECTIONS {
            return Err("is one of too many without a PROXY header");
        }
        self.number = self.number.wrapping_add(1) & (u32::MAX >> 1);
        let number = self.number;
        let added = poller.add(&sock, Source::Proxied(number).number(), Interest::READ);
        added.map_err(|_| "cannot be waited for")?;
        self.waiting.insert(number, Waiter { sock, proxy, said: Vec::new() });
        self.deadlines.extend(Instant::now().checked_add(self.patience).map(|due| (due, number)));
        Ok(number)
    }

    /// One of those who wait has something; the error names the proxy and what is wrong.
    fn hear(&mut self, poller: &Poller, number: u32) -> Result<(), (SocketAddr, &'static str)> {
        let Some(waiter) = self.waiting.get_mut(&number) else { return Ok(()) };
        let progress = waiter.hear();
        if progress == Progress::Waits {
            return Ok(());
        }
        let Some(Waiter { sock, proxy, .. }) = self.dismiss(poller, number) else { return Ok(()) };
        let (remote, local) = match progress {
            Progress::Known(Origin::Client { from, to }) => (from, Some(to)),
            Progress::Known(Origin::Own) | Progress::Waits => (proxy, None),
            Progress::Lost(why) => return Err((proxy, why)),
        };
        self.known.push_back(Arrival { sock, remote, local });
        Ok(())
    }

    /// Takes one out of those who wait.
    fn dismiss(&mut self, poller: &Poller, number: u32) -> Option<Waiter> {
        let waiter = self.waiting.remove(&number)?;
        let _ = poller.remove(&waiter.sock);
        if self.waiting.is_empty() {
            self.deadlines.clear();
        }
        Some(waiter)
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.known.is_empty()
    }

    /// When somebody has waited too long.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.front().map(|(due, _)| *due)
    }

    /// Takes one out who has waited too long.
    fn late(&mut self, poller: &Poller) -> Option<SocketAddr> {
        let now = Instant::now();
        while let Some((_, number)) = self.deadlines.pop_front_if(|(due, _)| *due <= now) {
            if let Some(waiter) = self.dismiss(poller, number) {
                return Some(waiter.proxy);
            }
        }
        None
    }
}

impl Server<'_> {
    /// Gives a connection back that is served at once; a proxy's waits for its header.
    pub(super) fn receive_proxied(&mut self, arrival: Arrival) -> Option<Arrival> {
        let Some(lobby) = &mut self.lobby else { return Some(arrival) };
        let peer = arrival.remote.ip().to_canonical();
        match lobby.trusts(peer) {
            Ok(false) => return Some(arrival),
            Ok(true) => {}
            Err(error) => {
                let list = lobby.list.clone();
                super::child::dropping(self.options, &[&"unable to read ", &list], &error);
                return None;
            }
        }
        match lobby.admit(&self.poller, arrival.sock, arrival.remote) {
            // Most have said it by now.
            Ok(number) => self.hear_proxy(number),
            Err(why) => self.drop_proxied(peer, why),
        }
        None
    }

    /// A proxy has said something.
    pub(super) fn hear_proxy(&mut self, number: u32) {
        let Some(lobby) = &mut self.lobby else { return };
        if let Err((proxy, why)) = lobby.hear(&self.poller, number) {
            self.drop_proxied(proxy.ip().to_canonical(), why);
        }
    }

    /// The next of which it is known whose it is. Those who have waited too long go.
    pub(super) fn next_proxied(&mut self) -> Option<Arrival> {
        while let Some(proxy) = self.lobby.as_mut().and_then(|lobby| lobby.late(&self.poller)) {
            self.drop_proxied(proxy.ip().to_canonical(), "did not send its PROXY header in time");
        }
        if self.lobby.as_ref().is_some_and(|lobby| !lobby.known.is_empty()) && self.has_room() {
            return self.lobby.as_mut().and_then(|lobby| lobby.known.pop_front());
        }
        None
    }

    fn drop_proxied(&self, proxy: IpAddr, why: &str) {
        let text = format!("dropping connection, proxy {proxy} {why}");
        self.options.warning(&[&text], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::fd::{read_to_end, write_all};
    use sys::pass::{Kind, pair};

    fn waiter() -> (Waiter, OwnedFd) {
        let (sock, client) = pair(Kind::Stream).unwrap();
        let proxy = "127.0.0.1:999".parse().unwrap();
        (Waiter { sock, proxy, said: Vec::new() }, client)
    }

    #[test]
    fn a_header_in_pieces_is_taken_and_what_follows_is_left() {
        let (mut waiter, client) = waiter();
        assert_eq!(waiter.hear(), Progress::Waits);
        for piece in [&b"PROXY TCP4 192.0."[..], b"2.1 198.51.100.2 123 25"] {
            write_all(&client, piece).unwrap();
            assert_eq!(waiter.hear(), Progress::Waits);
            assert_eq!(waiter.hear(), Progress::Waits, "nothing is read twice");
        }
        write_all(&client, b"\r\nEHLO x\r\n").unwrap();
        let from = "192.0.2.1:123".parse().unwrap();
        let to = "198.51.100.2:25".parse().unwrap();
        assert_eq!(waiter.hear(), Progress::Known(Origin::Client { from, to }));
        drop(client);
        assert_eq!(read_to_end(&waiter.sock, 99).unwrap(), b"EHLO x\r\n");
    }

    #[test]
    fn what_is_no_header_ends_the_wait() {
        for (said, why) in [
            (&b"EHLO x\r\n"[..], "did not begin with a PROXY header"),
            (b"", "ended before its PROXY header"),
        ] {
            let (mut waiter, client) = waiter();
            write_all(&client, said).unwrap();
            drop(client);
            assert_eq!(waiter.hear(), Progress::Lost(why));
        }
    }

    #[test]
    fn only_so_many_wait_and_only_so_long() {
        let poller = Poller::new().unwrap();
        let mut lobby = Lobby::new(OsString::new(), Duration::ZERO);
        let mut clients = Vec::new();
        for _ in 0..3 {
            let (Waiter { sock, proxy, .. }, client) = waiter();
            lobby.admit(&poller, sock, proxy).unwrap();
            clients.push(client);
        }
        assert!(lobby.due().is_some());
        assert_eq!(std::iter::from_fn(|| lobby.late(&poller)).count(), 3);
        assert_eq!((lobby.due(), lobby.waiting.len()), (None, 0));
        let (Waiter { sock, proxy, .. }, client) = waiter();
        let number = lobby.admit(&poller, sock, proxy).unwrap();
        write_all(&client, b"PROXY UNKNOWN\r\n").unwrap();
        lobby.hear(&poller, number).unwrap();
        assert_eq!(lobby.known.pop_front().unwrap().remote, proxy);
    }
}
