//! The loop: waits, accepts, counts, and buries. What is done with a connection if there are clean
//! parents is in [`super::front`].

use super::child;
use super::conn::{self, Conn};
use super::crowd::{Crowd, neighbourhood};
use super::front::Front;
use super::lobby::{Arrival, Lobby};
use super::options::Options;
use super::renew::Renewal;
use super::rules::Rulebook;
use super::source::Source;
use super::swift::Swift;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use sys::errno;
use sys::poll::{Event, Interest, Poller};
use sys::signal::{Signal, Signals};
use sys::spawn::{self, Fork};

/// How long nothing is accepted after the kernel had no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long files of limits are not looked at again.
const REREAD: Duration = Duration::from_secs(1);
/// Connections taken from the kernel in one turn at most: others wait for theirs.
const ACCEPTS: usize = 64;

/// Who serves the connections.
#[derive(Debug)]
pub(super) enum Means {
    /// A process each: the addresses by pid.
    Fork(BTreeMap<u32, IpAddr>),
    /// Children of clean parents.
    Clean(Box<Front>),
}

/// What is known of the rules before a connection's process is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// All, or there are none.
    Known,
    /// They cannot be read, which is to be said.
    Unreadable,
    /// The same, which has been said lately.
    Hushed,
}

/// A listening server.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) options: &'a Options,
    pub(super) program: &'a [OsString],
    pub(super) sock: OwnedFd,
    /// Where it listens.
    pub(super) local: SocketAddr,
    pub(super) signals: Signals,
    pub(super) poller: Rc<Poller>,
    pub(super) crowd: Crowd,
    pub(super) means: Means,
    /// The connections of trusted proxies, if there may be any.
    pub(super) lobby: Option<Lobby>,
    /// The program, if its processes can be started without a copy of our memory.
    pub(super) swift: Option<Swift>,
    /// The rules, for children that are about to be forked.
    pub(super) rules: Rulebook,
    /// When files of limits are read again, if limits are files.
    pub(super) reread: Option<Instant>,
    /// Nothing is accepted before.
    pub(super) pause: Option<Instant>,
    /// Whether the poller waits for connections.
    pub(super) listening: bool,
    /// The number of served connections has changed since it was last told.
    pub(super) news: bool,
    /// How far we are on our way to our successor.
    pub(super) renewal: Renewal,
}

impl Server<'_> {
    /// Serves until SIGTERM; the exit code.
    pub(super) fn run(&mut self) -> i32 {
        let added = self.poller.add(&self.signals, Source::Signals.number(), Interest::READ);
        let added = added
            .and_then(|()| self.poller.add(&self.sock, Source::Listener.number(), Interest::NONE));
        if let Err(error) = added {
            return self.fail(&error);
        }
        if matches!(self.means, Means::Clean(_)) {
            self.options.log.collect();
        }
        self.status();
        let mut events = Vec::new();
        loop {
            match self.turn(&mut events) {
                Ok(None) => {}
                Ok(Some(code)) => {
                    self.options.log.count(true);
                    self.options.log.flush();
                    return code;
                }
                Err(error) => {
                    self.end_trial();
                    return self.fail(&error);
                }
            }
        }
    }

    fn fail(&self, error: &io::Error) -> i32 {
        self.options.fatal(&[&"unable to wait for connections"], Some(error))
    }

    /// Waits once and does what there is to do; a code ends the server.
    fn turn(&mut self, events: &mut Vec<Event>) -> io::Result<Option<i32>> {
        self.settle();
        self.wait(events)?;
        if self.crowd.full() {
            self.reread_limits();
        }
        let mut connection = false;
        for event in events.iter() {
            match Source::from_number(event.token) {
                Source::Signals if self.take_signals()? => {
                    self.end_trial();
                    return Ok(Some(0));
                }
                Source::Signals => {}
                Source::Listener => connection = true,
                Source::Proxied(number) => self.hear_proxy(number),
                other => self.attend(other),
            }
        }
        if connection && let Some(code) = self.accept_some() {
            return Ok(Some(code));
        }
        if let Some(code) = self.serve_proxied() {
            return Ok(Some(code));
        }
        self.tend();
        Ok(self.look_at_renewal())
    }

    /// Tells the log what happened in this turn.
    fn settle(&mut self) {
        if std::mem::take(&mut self.news) {
            self.status();
        }
        self.options.log.count(false);
        self.options.log.flush();
    }

    /// Whether one more connection could be served now, or greeted.
    pub(super) fn has_room(&self) -> bool {
        match &self.means {
            Means::Fork(_) => !self.crowd.full(),
            Means::Clean(front) => front.accepting(&self.crowd),
        }
    }

    /// Whether a connection could be taken from the kernel now.
    fn accepting(&self) -> bool {
        let paused = self.pause.is_some_and(|until| Instant::now() < until);
        self.has_room() && !self.is_remainder() && !paused
    }

    /// Waits for signals, clean parents, guests, and as far as one could be taken, a connection.
    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let accepting = self.accepting();
        if accepting != self.listening {
            let interest = if accepting { Interest::READ } else { Interest::NONE };
            self.poller.change(&self.sock, Source::Listener.number(), interest)?;
            self.listening = accepting;
        }
        let now = Instant::now();
        // A pause that is over is no reason to wake up.
        let mut until = self.pause.filter(|pause| *pause > now);
        if let Means::Clean(front) = &self.means {
            until = until.into_iter().chain(front.due()).min();
        }
        until = until.into_iter().chain(self.renewal.due(now)).min();
        // Who is full may be so by a file, and nobody who comes has it read again.
        until = until.into_iter().chain(self.reread.filter(|_| self.crowd.full())).min();
        let lobby = self.lobby.as_ref().and_then(Lobby::due);
        until = until.into_iter().chain(lobby).chain(self.options.log.due()).min();
        let limit = until.map(|until| until.saturating_duration_since(now));
        self.poller.wait(events, limit)
    }

    /// Takes the signals that came and buries children; true for SIGTERM.
    fn take_signals(&mut self) -> io::Result<bool> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                Signal::Term => return Ok(true),
                Signal::Hup => self.begin_renewal(),
                _ => {}
            }
        }
        while let Some((pid, status)) = spawn::reap()? {
            if self.trial_ended(pid, status)? {
                continue;
            }
            let Means::Fork(children) = &mut self.means else {
                if let spawn::Status::Killed(_) = status {
                    self.options.warning(&[&format!("child {pid} {status}")], None);
                }
                continue;
            };
            let Some(from) = children.remove(&pid) else { continue };
            if let Some(error) = self.swift.as_mut().and_then(|swift| swift.failure(pid)) {
                let name = self.program.first().cloned().unwrap_or_default();
                child::dropping(self.options, &[&"unable to run ", &name], &error);
            }
            self.options.tell(&conn::end_line(pid, status.raw()));
            self.end(from);
        }
        Ok(false)
    }

    /// A served connection is over.
    pub(super) fn end(&mut self, from: IpAddr) {
        self.crowd.end(from);
        self.news = true;
    }

    fn status(&self) {
        // The listener tells of those it has; who is left over is not among them.
        if self.is_remainder() {
            return;
        }
        self.options.tell(&self.crowd.line());
    }

    /// Takes the connections the kernel has, one if each gets a process at once. A code: we are
    /// the child, and done.
    fn accept_some(&mut self) -> Option<i32> {
        self.reread_limits();
        for _ in 0..ACCEPTS {
            if !self.accepting() {
                return None;
            }
            let (sock, remote) = match sys::net::accept(&self.sock) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.accept_failed(&error);
                    return None;
                }
            };
            self.pause = None;
            let arrival = Arrival { sock, remote, local: None };
            let Some(arrival) = self.receive_proxied(arrival) else { continue };
            if !self.let_in(arrival.remote.ip().to_canonical()) {
                continue;
            }
            if matches!(self.means, Means::Fork(_)) {
                return self.fork(arrival);
            }
            self.receive(arrival);
        }
        None
    }

    /// Serves those whose proxies have told whose they are. A code: we are the child, and done.
    fn serve_proxied(&mut self) -> Option<i32> {
        while let Some(arrival) = self.next_proxied() {
            if !self.let_in(arrival.remote.ip().to_canonical()) {
                continue;
            }
            if !matches!(self.means, Means::Fork(_)) {
                self.receive(arrival);
            } else if let Some(code) = self.fork(arrival) {
                return Some(code);
            }
        }
        None
    }

    /// Counts a connection, unless its address or network has as many as it may have.
    fn let_in(&mut self, from: IpAddr) -> bool {
        let entered = self.crowd.enter(from);
        if let Err(full) = entered {
            self.options.warning(&[&format!("dropping connection, {full}")], None);
        }
        entered.is_ok()
    }

    /// Takes the limits from their files, once a second at most.
    fn reread_limits(&mut self) {
        let now = Instant::now();
        if self.reread.is_none_or(|due| now < due) {
            return;
        }
        self.reread = now.checked_add(REREAD);
        match self.options.limits.read() {
            Ok(numbers) => self.crowd.limit(numbers),
            Err((file, error)) => {
                let text = "limits stay as they are: unable to read a number from ";
                self.options.warning(&[&text, &file], Some(&error));
            }
        }
    }

    /// A connection that went away, or a kernel without room: the latter passes, in its time, and
    /// sooner if somebody goes who only waits.
    fn accept_failed(&mut self, error: &io::Error) {
        if errno::is_shortage(error) {
            self.make_room();
            self.pause = Instant::now().checked_add(PAUSE);
        }
    }

    /// Reads the rules for the next child.
    fn read_rules(&mut self) -> Rules {
        let Some(path) = &self.options.rules else { return Rules::Known };
        match self.rules.check(path, self.options.rules_optional) {
            Ok(()) => Rules::Known,
            Err(error) if child::is_news(self.options, &[&"unable to read ", path], &error) => {
                Rules::Unreadable
            }
            Err(_) => Rules::Hushed,
        }
    }

    fn fork(&mut self, arrival: Arrival) -> Option<i32> {
        let from = arrival.remote.ip().to_canonical();
        let hurried = self.crowd.hurries(neighbourhood(from));
        self.crowd.serve(from);
        self.status();
        let rules = self.read_rules();
        if rules == Rules::Known
            && let Some(started) = self.swiftly(&arrival, hurried)
        {
            self.started(started, from);
            return None;
        }
        match spawn::fork() {
            Ok(Fork::Child) => {
                // The listener is closed, so that a child that lives on does not hold the port; so
                // are those who wait for their proxies.
                let Arrival { sock, remote, local } = arrival;
                (self.sock, self.lobby) = (sock, None);
                let hushed = rules == Rules::Hushed;
                let rules = std::mem::take(&mut self.rules);
                let company = self.crowd.company(from);
                let briefing = child::Briefing { remote, local, hurried, company, rules, hushed };
                return Some(child::serve(self.options, self.program, &self.sock, briefing));
            }
            Ok(Fork::Parent(pid)) => self.started(Ok(pid), from),
            Err(error) => self.started(Err(error), from),
        }
        None
    }

    /// Starts the program without a copy of our memory; `None` if that cannot be, or rather not.
    fn swiftly(&mut self, arrival: &Arrival, hurried: bool) -> Option<io::Result<u32>> {
        let Arrival { sock, remote, local } = arrival;
        let mut swift = self.swift.take()?;
        let local = local.map_or_else(|| sys::net::local(sock), Ok);
        let started = local.ok().and_then(|local| {
            let mut conn = Conn::new(local, *remote);
            conn.six = self.options.six;
            conn.local_host.clone_from(&self.options.ends.local_host);
            conn.hurried = hurried;
            conn.company = self.crowd.company(conn.remote.ip());
            // A client that is not let in, or rules that do not say: a fork does it.
            let verdict = self.rules.judge(&conn).ok().filter(|verdict| verdict.deny.is_none())?;
            swift.start(self.options, sock, &conn, &verdict)
        });
        self.swift = Some(swift);
        started
    }

    /// A connection has its process, or none.
    fn started(&mut self, started: io::Result<u32>, from: IpAddr) {
        match (started, &mut self.means) {
            (Ok(pid), Means::Fork(children)) => drop(children.insert(pid, from)),
            (Ok(_), Means::Clean(_)) => {}
            (Err(error), _) => {
                child::dropping(self.options, &[&"unable to fork"], &error);
                self.end(from);
            }
        }
    }
}
