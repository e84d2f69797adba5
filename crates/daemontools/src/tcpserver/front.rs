//! With clean parents: greets a client in the program's place, waits for its first byte, and only
//! then hands it over, to a process of its own.
//!
//! A client that says nothing costs a descriptor and a seat in the lounge. Where the program has
//! not told what it says first, or the client's rule sets `GREETED`, a connection is handed over at
//! once.

use super::child::{self, arrange};
use super::conn::{self, Conn};
use super::crowd::{Crowd, neighbourhood, network};
use super::lobby::Arrival;
use super::lounge::{Guest, Lounge, Ticket};
use super::nursery::{News, Nursery};
use super::rules::{Rulebook, Verdict};
use super::server::{Means, Server};
use super::source::Source;
use super::turns::Queue;
use crate::message::{PERMANENT, TEMPORARY};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use sys::brood::{EARLYTALKER, GREETED, Greeting, HURRY};
use sys::poll::{Interest, Poller};

/// What stands between a connection and the program.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) nursery: Nursery,
    rules: Rulebook,
    pub(super) lounge: Lounge,
    /// Those whose greeting is held back (`-e`), in the order in which they are greeted.
    delayed: VecDeque<(Instant, Ticket)>,
    queue: Queue,
    /// Those who joined the queue in this turn: most leave it at once.
    fresh: Vec<Ticket>,
    patience: Duration,
    /// When we began, and that moment in seconds since the epoch.
    begun: Instant,
    epoch: u64,
}

/// Why somebody who said nothing is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It hung up.
    Gone,
    /// It took too long.
    Late,
    /// It had to make room.
    Crowded,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Late => "late",
            Self::Crowded => "crowded",
        }
    }
}

impl Front {
    /// Nobody yet; room for `limit` who say nothing.
    pub(super) fn new(nursery: Nursery, limit: usize, patience: Duration) -> Self {
        Self {
            nursery,
            rules: Rulebook::default(),
            lounge: Lounge::new(limit),
            delayed: VecDeque::new(),
            queue: Queue::default(),
            fresh: Vec::new(),
            patience,
            begun: Instant::now(),
            epoch: sys::clock::now().secs(),
        }
    }

    /// Whether a connection could be taken now: to be greeted, or to be handed over at once.
    pub(super) fn accepting(&self, crowd: &Crowd) -> bool {
        self.nursery.greeting().is_some() || (self.nursery.open() && !crowd.full())
    }

    /// When something has to be done that nobody tells.
    pub(super) fn due(&self) -> Option<Instant> {
        let late = self.lounge.oldest().and_then(|(_, since)| self.deadline(since));
        let delayed = self.delayed.front().map(|(due, _)| *due);
        late.into_iter().chain(delayed).chain(self.nursery.due()).min()
    }

    /// One second more than said, because `since` is in whole seconds.
    fn deadline(&self, since: u32) -> Option<Instant> {
        let after = Duration::from_secs(since.into()).saturating_add(self.patience);
        self.begun.checked_add(after.saturating_add(Duration::from_secs(1)))
    }

    fn now(&self) -> u32 {
        u32::try_from(self.begun.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// What a guest is told.
    fn text(&mut self, ticket: Ticket) -> Vec<u8> {
        let epoch = self.epoch;
        let Some(guest) = self.lounge.get_mut(ticket) else { return Vec::new() };
        let when = epoch.saturating_add(guest.since.into());
        // As stock's `pid.time`: our pid and the connection's number are one number.
        let number = ticket.serial() % 1_000_000;
        let stamp = || format!("{}{number:06}.{when}", std::process::id());
        guest.greeting.as_ref().map(|greeting| greeting.text(stamp)).unwrap_or_default()
    }

    /// A guest waits for its turn from now on.
    fn line_up(&mut self, ticket: Ticket) {
        if let Some(guest) = self.lounge.get_mut(ticket) {
            guest.queues = true;
            self.queue.push(neighbourhood(guest.from), ticket);
            self.fresh.push(ticket);
        }
    }

    /// What those say who still queue is for the program.
    fn ignore_queue(&mut self, poller: &Poller) {
        for ticket in std::mem::take(&mut self.fresh) {
            if let Some(guest) = self.lounge.get_mut(ticket) {
                let _ = poller.change(&guest.sock, Source::Guest(ticket).number(), Interest::NONE);
            }
        }
    }

    /// Takes a guest out, and out of whatever it waits for.
    fn dismiss(&mut self, poller: &Poller, ticket: Ticket) -> Option<Guest> {
        let guest = self.lounge.remove(ticket)?;
        // Explicitly: a clean parent's child may hold the same open socket.
        let _ = poller.remove(&guest.sock);
        if guest.queues {
            self.queue.remove(neighbourhood(guest.from), ticket);
        }
        Some(guest)
    }
}

/// Whether the client has said something (true), is gone (false), or neither.
fn has_spoken(sock: &OwnedFd) -> Option<bool> {
    match sys::net::peek_now(sock) {
        Ok(has) => Some(has),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => Some(false),
    }
}

impl Server<'_> {
    fn front(&mut self) -> Option<&mut Front> {
        match &mut self.means {
            Means::Fork(_) => None,
            Means::Clean(front) => Some(front),
        }
    }

    /// One of the descriptors that only clean parents bring has something.
    pub(super) fn attend(&mut self, source: Source) {
        let Some(front) = self.front() else { return };
        match source {
            Source::Parent(pid) => {
                let news = front.nursery.hear(pid);
                self.tell(news);
            }
            Source::Orphan(pid) => {
                let news = front.nursery.orphan_ended(pid);
                self.tell(news.into_iter().collect());
            }
            Source::Regular(pid) => {
                let news = front.nursery.hear_regular(pid);
                self.tell(news.into_iter().collect());
            }
            Source::Guest(ticket) => self.hear(ticket),
            Source::Signals | Source::Listener | Source::Proxied(_) | Source::Forerunner => {}
        }
    }

    /// What is due at the end of a turn: clean parents, deadlines, the queue.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        let Some(front) = self.front() else { return };
        if let Err(error) = front.nursery.renew(now) {
            let name = self.program.first().cloned().unwrap_or_default();
            self.options.warning(&[&"unable to run ", &name], Some(&error));
        }
        self.greet_delayed(now);
        self.send_away_late(now);
        self.serve_queue();
        let poller = Rc::clone(&self.poller);
        if let Some(front) = self.front() {
            front.ignore_queue(&poller);
        }
    }

    /// Takes a connection in.
    pub(super) fn receive(&mut self, arrival: Arrival) {
        let from = arrival.remote.ip().to_canonical();
        if self.try_receive(arrival).is_err() {
            self.crowd.leave(from);
            self.news = true;
        }
    }

    /// The error is the exit code a process of its own would have had.
    fn try_receive(&mut self, arrival: Arrival) -> Result<(), i32> {
        let options = self.options;
        arrange(options, &arrival.sock);
        send_whole(&arrival.sock, &options.banner)
            .map_err(|e| child::dropping(options, &[&"unable to print banner"], &e))?;
        let mut conn = self.conn(&arrival)?;
        conn.company = self.crowd.company(conn.remote.ip());
        let Some(front) = self.front() else { return Err(TEMPORARY) };
        let verdict = front.rules.read(options, &conn).map_err(|e| {
            let file = options.rules.clone().unwrap_or_default();
            child::dropping(options, &[&"unable to read ", &file], &e)
        })?;
        if let Some(why) = verdict.deny {
            options.tell(&conn.deny_line(std::process::id(), why));
            return Err(PERMANENT);
        }
        let greets_itself = verdict.set.iter().any(|(name, _)| name == GREETED.as_bytes());
        match front.nursery.greeting() {
            Some(greeting) => {
                self.seat(arrival, Some(greeting).filter(|_| !greets_itself));
                Ok(())
            }
            None => self.hand_over(conn, arrival.sock, verdict),
        }
    }

    /// What is known of a connection.
    fn conn(&self, arrival: &Arrival) -> Result<Conn, i32> {
        let options = self.options;
        let local = match arrival.local {
            Some(told) => told,
            None if self.local.ip().is_unspecified() => sys::net::local(&arrival.sock)
                .map_err(|e| child::dropping(options, &[&"unable to get local address"], &e))?,
            None => self.local,
        };
        let mut conn = Conn::new(local, arrival.remote);
        conn.six = options.six;
        let ip = || conn.local.ip().to_string().into_bytes();
        conn.local_host = Some(options.ends.local_host.clone().unwrap_or_else(ip));
        Ok(conn)
    }

    /// Lets a client wait: greeted now or in a while, or without a greeting for its turn.
    fn seat(&mut self, arrival: Arrival, greeting: Option<Rc<Greeting>>) {
        let Arrival { sock, remote, local } = arrival;
        if self.front().is_some_and(|front| front.lounge.is_full()) {
            self.make_room();
        }
        let pause = self.options.pause;
        let poller = Rc::clone(&self.poller);
        let Some(front) = self.front() else { return };
        let (from, port) = (remote.ip().to_canonical(), remote.port());
        let (since, speaks) = (front.now(), has_spoken(&sock) == Some(true));
        let number = Source::Guest(front.lounge.next()).number();
        if poller.add(&sock, number, Interest::READ).is_err() {
            return self.crowd.leave(from);
        }
        let (early, greeted, queues) = (speaks && greeting.is_some(), false, false);
        let local = local.map(Box::new);
        let guest = Guest { sock, from, port, local, since, greeting, greeted, early, queues };
        let in_turn = guest.greeting.is_none();
        let ticket = front.lounge.admit(guest, network(from));
        if in_turn {
            front.line_up(ticket);
        } else if pause.is_zero() || early {
            self.greet(ticket);
        } else if let Some(due) = Instant::now().checked_add(pause) {
            front.delayed.push_back((due, ticket));
        }
    }

    /// Says the program's greeting, once.
    fn greet(&mut self, ticket: Ticket) {
        let Some(front) = self.front() else { return };
        let text = front.text(ticket);
        let Some(guest) = front.lounge.get_mut(ticket) else { return };
        if std::mem::replace(&mut guest.greeted, true) {
            return;
        }
        // A new connection has room for a line; one that does not is gone.
        if send_whole(&guest.sock, &text).is_err() {
            self.send_away(ticket, Why::Gone);
        }
    }

    /// Greets those whose time has come.
    fn greet_delayed(&mut self, now: Instant) {
        while let Some(front) = self.front()
            && let Some((_, ticket)) = front.delayed.pop_front_if(|(due, _)| *due <= now)
        {
            self.greet(ticket);
        }
    }

    /// A guest has said something, or is gone.
    fn hear(&mut self, ticket: Ticket) {
        let Some(front) = self.front() else { return };
        let Some(guest) = front.lounge.get_mut(ticket) else { return };
        match has_spoken(&guest.sock) {
            // Who queues is not listened to: the kernel tells only of the end.
            _ if guest.queues => self.send_away(ticket, Why::Gone),
            None => {}
            Some(false) => self.send_away(ticket, Why::Gone),
            Some(true) => {
                guest.early |= !guest.greeted;
                front.line_up(ticket);
                self.greet(ticket);
            }
        }
    }

    /// Closes a guest's connection.
    fn send_away(&mut self, ticket: Ticket, why: Why) {
        let poller = Rc::clone(&self.poller);
        let Some(front) = self.front() else { return };
        let now = front.now();
        let Some(guest) = front.dismiss(&poller, ticket) else { return };
        let secs = now.saturating_sub(guest.since);
        self.options.tell(&conn::silent_line(guest.from, secs, why.word()));
        self.crowd.leave(guest.from);
    }

    /// Closes those who have said nothing for too long.
    fn send_away_late(&mut self, now: Instant) {
        while let Some(front) = self.front()
            && let Some((ticket, since)) = front.lounge.oldest()
            && front.deadline(since).is_some_and(|deadline| deadline <= now)
        {
            self.send_away(ticket, Why::Late);
        }
    }

    /// Somebody who waits has to go.
    pub(super) fn make_room(&mut self) {
        if let Some(ticket) = self.front().and_then(|front| front.lounge.victim()) {
            self.send_away(ticket, Why::Crowded);
        }
    }

    /// Hands over who has spoken, as far as there are places and their neighbourhoods may have one.
    fn serve_queue(&mut self) {
        loop {
            let (poller, crowd) = (Rc::clone(&self.poller), &self.crowd);
            let Means::Clean(front) = &mut self.means else { return };
            if !front.nursery.open() || crowd.full() {
                return;
            }
            let Some(ticket) = front.queue.pop(|place| crowd.may_serve(place)) else { return };
            let said = front.text(ticket);
            let Some(guest) = front.lounge.remove(ticket) else { continue };
            let _ = poller.remove(&guest.sock);
            let from = guest.from;
            if self.serve_guest(guest, said).is_err() {
                self.crowd.leave(from);
            }
        }
    }

    fn serve_guest(&mut self, guest: Guest, mut said: Vec<u8>) -> Result<(), i32> {
        let remote = SocketAddr::new(guest.from, guest.port);
        let arrival = Arrival { sock: guest.sock, remote, local: guest.local.map(|local| *local) };
        let mut conn = self.conn(&arrival)?;
        let options = self.options;
        let Some(front) = self.front() else { return Err(TEMPORARY) };
        let verdict = front.rules.judge(&conn).map_err(|e| {
            let file = options.rules.clone().unwrap_or_default();
            child::dropping(options, &[&"unable to read ", &file], &e)
        })?;
        // The rules may have changed since it was let in.
        if let Some(why) = verdict.deny {
            options.tell(&conn.deny_line(std::process::id(), why));
            return Err(PERMANENT);
        }
        said.truncate(said.len().saturating_sub(b"\r\n".len()));
        conn.greeted = guest.greeted.then_some(said);
        conn.early = guest.early;
        self.hand_over(conn, arrival.sock, verdict)
    }

    fn hand_over(&mut self, mut conn: Conn, sock: OwnedFd, verdict: Verdict) -> Result<(), i32> {
        let (options, from) = (self.options, conn.remote.ip());
        conn.hurried = self.crowd.hurries(neighbourhood(from));
        let payload = payload(&conn, verdict.set);
        let Some(front) = self.front() else { return Err(TEMPORARY) };
        let news = front
            .nursery
            .take(Box::new(conn), sock, payload)
            .map_err(|e| child::dropping(options, &[&"unable to hand it over"], &e))?;
        self.crowd.serve(from);
        self.news = true;
        self.tell(news.into_iter().collect());
        Ok(())
    }

    /// Writes the log of what the clean parents said, and counts.
    fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Started { conn, pid } => {
                    let from = conn.remote.ip();
                    self.options.tell(&conn::pid_line(pid, from));
                    self.options.tell(&conn.ok_line(pid));
                    if conn.early {
                        self.options.tell(&conn::early_line(pid, from));
                    }
                }
                News::Ended { from, pid, status } => {
                    let raw = status.map_or(-1, sys::spawn::Status::raw);
                    self.options.tell(&conn::end_line(pid, raw));
                    self.end(from);
                }
                News::Lost { from, cause } => {
                    child::dropping(self.options, &[&"unable to hand it over"], &cause);
                    self.end(from);
                }
                News::Stillborn => {
                    self.mourn(" ended before it was ready; does it serve a listener's -f?");
                }
                News::Died => self.mourn(" died as a clean parent; starting another"),
            }
        }
    }

    fn mourn(&self, what: &str) {
        let name = self.program.first().cloned().unwrap_or_default();
        self.options.warning(&[&name, &what], None);
    }
}

/// Sends a few bytes. There is room for them in a new connection; if not, that is an error.
fn send_whole(sock: &OwnedFd, text: &[u8]) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let sent = sys::net::send_now(sock, text)?;
    if sent < text.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

/// The connection's variables as a clean parent gets them: `NAME=VALUE` with a NUL each.
fn payload(conn: &Conn, rule: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let own = conn.variables().into_iter();
    let own = own.filter_map(|(name, value)| Some((name.as_bytes().to_vec(), value?)));
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = own.collect();
    let greeted = conn.greeted.clone().map(|said| (GREETED.as_bytes().to_vec(), said));
    let early = conn.early.then(|| (EARLYTALKER.as_bytes().to_vec(), b"1".to_vec()));
    let hurry = conn.hurried.then(|| (HURRY.as_bytes().to_vec(), b"1".to_vec()));
    pairs.extend(greeted.into_iter().chain(early).chain(hurry));
    for (name, value) in rule {
        pairs.retain(|(known, _)| *known != name);
        pairs.push((name, value));
    }
    pairs.iter().flat_map(|(name, value)| [name, &b"="[..], value, b"\0"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_overrides_the_connections_own_variables() {
        let addr = |text: &str| text.parse().unwrap();
        let mut conn = Conn::new(addr("1.2.3.4:25"), addr("5.6.7.8:999"));
        conn.local_host = Some(b"mail".to_vec());
        conn.greeted = Some(b"220 mail".to_vec());
        let rule = vec![
            (b"TCPREMOTEIP".to_vec(), b"hidden".to_vec()),
            (b"RELAYCLIENT".to_vec(), b"".to_vec()),
        ];
        let want = b"PROTO=TCP\0TCPLOCALIP=1.2.3.4\0TCPLOCALPORT=25\0TCPLOCALHOST=mail\0\
            TCPREMOTEPORT=999\0GREETED=220 mail\0TCPREMOTEIP=hidden\0RELAYCLIENT=\0";
        assert_eq!(payload(&conn, rule), want);
        conn.hurried = true;
        let patient = payload(&conn, vec![(b"HURRY".to_vec(), Vec::new())]);
        assert!(payload(&conn, Vec::new()).ends_with(b"\0HURRY=1\0"));
        assert!(patient.ends_with(b"\0GREETED=220 mail\0HURRY=\0"));
    }
}
