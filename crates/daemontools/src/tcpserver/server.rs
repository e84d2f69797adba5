//! The loop: accepts, hands out, counts, and buries.

use super::child::{self, arrange};
use super::conn::{self, Conn};
use super::crowd::Crowd;
use super::nursery::{News, Nursery};
use super::options::Options;
use super::rules;
use crate::message::{PERMANENT, TEMPORARY};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::poll::{self, Interest};
use sys::signal::{Signal, Signals};
use sys::spawn::{self, Fork};

/// How long nothing is accepted after the kernel had no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Who serves the connections.
#[derive(Debug)]
pub(super) enum Means {
    /// A process each: the addresses by pid.
    Fork(BTreeMap<u32, IpAddr>),
    /// Children of clean parents.
    Clean(Box<Nursery>),
}

/// A listening server.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) options: &'a Options,
    pub(super) program: &'a [OsString],
    pub(super) sock: OwnedFd,
    pub(super) signals: Signals,
    pub(super) crowd: Crowd,
    pub(super) means: Means,
    /// Nothing is accepted before.
    pub(super) pause: Option<Instant>,
}

impl Server<'_> {
    /// Serves until SIGTERM; the exit code.
    pub(super) fn run(&mut self) -> i32 {
        self.status();
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(code)) => return code,
                Err(error) => {
                    return self.options.fatal(&[&"unable to wait for connections"], Some(&error));
                }
            }
        }
    }

    /// Waits once and does what there is to do; a code ends the server.
    fn turn(&mut self) -> io::Result<Option<i32>> {
        let (signal, connection) = self.wait()?;
        if signal && self.take_signals()? {
            return Ok(Some(0));
        }
        if let Means::Clean(nursery) = &mut self.means {
            let started = nursery.renew(Instant::now());
            let news = nursery.hear();
            if let Err(error) = started {
                let name = self.program.first().cloned().unwrap_or_default();
                self.options.warning(&[&"unable to run ", &name], Some(&error));
            }
            self.tell(news);
        }
        if connection && self.accepting() {
            return Ok(self.accept());
        }
        Ok(None)
    }

    /// Whether a connection could be served now.
    fn accepting(&self) -> bool {
        let able = match &self.means {
            Means::Fork(_) => true,
            Means::Clean(nursery) => nursery.open(),
        };
        able && !self.crowd.full() && self.pause.is_none_or(|until| Instant::now() >= until)
    }

    /// Waits for signals, clean parents, and as far as one could be served, a connection.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let accepting = self.accepting();
        let mut fds = vec![self.signals.as_fd()];
        if accepting {
            fds.push(self.sock.as_fd());
        }
        let now = Instant::now();
        // A pause that is over is no reason to wake up.
        let mut until = self.pause.filter(|pause| *pause > now);
        if let Means::Clean(nursery) = &self.means {
            fds.extend(nursery.fds());
            until = until.into_iter().chain(nursery.due()).min();
        }
        let limit = until.map(|until| until.saturating_duration_since(now));
        let ready = poll::ready(&fds, Interest::READ, limit)?;
        Ok((ready.first() == Some(&true), accepting && ready.get(1) == Some(&true)))
    }

    /// Takes the signals that came and buries children; true for SIGTERM.
    fn take_signals(&mut self) -> io::Result<bool> {
        while let Some(signal) = self.signals.next()? {
            if signal == Signal::Term {
                return Ok(true);
            }
        }
        while let Some((pid, status)) = spawn::reap()? {
            let Means::Fork(children) = &mut self.means else { continue };
            let Some(from) = children.remove(&pid) else { continue };
            self.options.tell(&conn::end_line(pid, status.raw()));
            self.leave(from);
        }
        Ok(false)
    }

    fn leave(&mut self, from: IpAddr) {
        self.crowd.leave(from);
        self.status();
    }

    fn status(&self) {
        self.options.tell(&self.crowd.line());
    }

    /// Takes one connection from the kernel. A code: we are the child, and done.
    fn accept(&mut self) -> Option<i32> {
        let (sock, remote) = match sys::net::accept(&self.sock) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.accept_failed(&error);
                return None;
            }
        };
        self.pause = None;
        let from = remote.ip().to_canonical();
        if !self.crowd.enter(from) {
            let text =
                format!("dropping connection, {from} has {} already", self.options.per_address);
            self.options.warning(&[&text], None);
            return None;
        }
        self.status();
        match self.means {
            Means::Fork(_) => self.fork(sock, remote),
            Means::Clean(_) => {
                self.hand_over(sock, remote);
                None
            }
        }
    }

    /// A connection that went away, or a kernel without room: the latter passes, in its time.
    fn accept_failed(&mut self, error: &io::Error) {
        const ROOM: [i32; 4] = [23, 24, 105, 12]; // ENFILE, EMFILE, ENOBUFS, ENOMEM
        if error.raw_os_error().is_some_and(|number| ROOM.contains(&number)) {
            self.pause = Instant::now().checked_add(PAUSE);
        }
    }

    fn fork(&mut self, sock: OwnedFd, remote: SocketAddr) -> Option<i32> {
        let from = remote.ip().to_canonical();
        match spawn::fork() {
            Ok(Fork::Child) => {
                // The listener is closed, so that a child that lives on does not hold the port.
                self.sock = sock;
                return Some(child::serve(self.options, self.program, &self.sock, remote));
            }
            Ok(Fork::Parent(pid)) => {
                if let Means::Fork(children) = &mut self.means {
                    children.insert(pid, from);
                }
            }
            Err(error) => {
                child::dropping(self.options, &[&"unable to fork"], &error);
                self.leave(from);
            }
        }
        None
    }

    /// Hands a connection to the clean parent, or closes it.
    fn hand_over(&mut self, sock: OwnedFd, remote: SocketAddr) {
        if self.try_hand_over(sock, remote).is_err() {
            self.leave(remote.ip().to_canonical());
        }
    }

    /// The error is the exit code a process of its own would have had.
    fn try_hand_over(&mut self, sock: OwnedFd, remote: SocketAddr) -> Result<(), i32> {
        let options = self.options;
        arrange(options, &sock);
        banner(options, &sock)
            .map_err(|e| child::dropping(options, &[&"unable to print banner"], &e))?;
        let local = sys::net::local(&sock)
            .map_err(|e| child::dropping(options, &[&"unable to get local address"], &e))?;
        let mut conn = Conn::new(local, remote);
        let ip = || conn.local.ip().to_string().into_bytes();
        conn.local_host = Some(options.local_host.clone().unwrap_or_else(ip));
        let verdict = rules::read(options, &conn).map_err(|e| {
            let file = options.rules.clone().unwrap_or_default();
            child::dropping(options, &[&"unable to read ", &file], &e)
        })?;
        if verdict.deny {
            options.tell(&conn.line("deny", std::process::id()));
            return Err(PERMANENT);
        }
        let payload = payload(&conn, verdict.set);
        let Means::Clean(nursery) = &mut self.means else { return Err(TEMPORARY) };
        nursery
            .take(conn, sock, payload)
            .map_err(|e| child::dropping(options, &[&"unable to hand it over"], &e))
    }

    /// Writes the log of what the clean parents said, and counts.
    fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Started { conn, pid } => {
                    self.options.tell(&conn::pid_line(pid, conn.remote.ip()));
                    self.options.tell(&conn.line("ok", pid));
                }
                News::Ended { from, pid, status } => {
                    self.options.tell(&conn::end_line(pid, status.raw()));
                    self.leave(from);
                }
                News::Lost { from, cause } => {
                    child::dropping(self.options, &[&"unable to hand it over"], &cause);
                    self.leave(from);
                }
                News::Forgotten { from } => {
                    self.options.warning(&[&"lost count of a connection: its parent died"], None);
                    self.leave(from);
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

/// Sends the banner. There is room for it in a new connection; if not, that is an error.
fn banner(options: &Options, sock: &OwnedFd) -> io::Result<()> {
    if options.banner.is_empty() {
        return Ok(());
    }
    let sent = sys::net::send_now(sock, &options.banner)?;
    if sent < options.banner.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

/// The connection's variables as a clean parent gets them: `NAME=VALUE` with a NUL each.
fn payload(conn: &Conn, rule: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let own = conn.variables().into_iter();
    let own = own.filter_map(|(name, value)| Some((name.as_bytes().to_vec(), value?)));
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = own.collect();
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
        let rule = vec![
            (b"TCPREMOTEIP".to_vec(), b"hidden".to_vec()),
            (b"RELAYCLIENT".to_vec(), b"".to_vec()),
        ];
        let want = b"PROTO=TCP\0TCPLOCALIP=1.2.3.4\0TCPLOCALPORT=25\0TCPLOCALHOST=mail\0\
            TCPREMOTEPORT=999\0TCPREMOTEIP=hidden\0RELAYCLIENT=\0";
        assert_eq!(payload(&conn, rule), want);
    }
}
