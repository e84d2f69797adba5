//! One connection's own process, from the fork to the program.

use super::allowance::Company;
use super::conn::{self, Conn};
use super::names;
use super::options::Options;
use super::rules::Rulebook;
use crate::message::{PERMANENT, Piece, TEMPORARY};
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use sys::brood::HURRY;
use sys::signal::{self, Signal};

/// What the listener tells a connection's process.
#[derive(Debug)]
pub(super) struct Briefing {
    /// The client.
    pub(super) remote: SocketAddr,
    /// Where it connected to, if a proxy has told.
    pub(super) local: Option<SocketAddr>,
    /// Places are short.
    pub(super) hurried: bool,
    /// How many there are from where it comes.
    pub(super) company: Company,
    /// The rules as they were just now.
    pub(super) rules: Rulebook,
    /// That the rules cannot be read has been said lately.
    pub(super) hushed: bool,
}

/// Serves a connection; returns only to exit with the code.
pub(super) fn serve(
    options: &Options,
    program: &[OsString],
    sock: &OwnedFd,
    mut briefing: Briefing,
) -> i32 {
    signal::unblock_all();
    options.log.forget();
    let mut conn = match prepare(options, sock, &briefing) {
        Ok(conn) => conn,
        Err(code) => return code,
    };
    (conn.hurried, conn.company) = (briefing.hurried, briefing.company);
    let verdict = match briefing.rules.read(options, &conn) {
        Ok(verdict) => verdict,
        Err(_) if briefing.hushed => return TEMPORARY,
        Err(error) => {
            let file = options.rules.clone().unwrap_or_default();
            return dropping(options, &[&"unable to read ", &file], &error);
        }
    };
    let pid = std::process::id();
    if let Some(why) = verdict.deny {
        options.tell(&conn.deny_line(pid, why));
        return PERMANENT;
    }
    options.tell(&conn.ok_line(pid));
    become_it(options, program, sock, &environment(&conn, verdict.set))
}

/// Everything before the rules: the log line, the socket's options, the banner, the names.
fn prepare(options: &Options, sock: &OwnedFd, briefing: &Briefing) -> Result<Conn, i32> {
    let Briefing { remote, local, .. } = *briefing;
    let from = remote.ip().to_canonical();
    options.tell(&conn::pid_line(std::process::id(), from));
    arrange(options, sock);
    sys::fd::write_all(sock, &options.banner)
        .map_err(|e| dropping(options, &[&"unable to print banner"], &e))?;
    let local = local
        .map_or_else(|| sys::net::local(sock), Ok)
        .map_err(|e| dropping(options, &[&"unable to get local address"], &e))?;
    let mut conn = Conn::new(local, remote);
    conn.six = options.six;
    options.ends.name(&mut conn);
    if options.paranoid {
        conn.remote_host = conn.remote_host.filter(|name| leads_back(name, from));
    }
    options.ends.ask(&mut conn);
    Ok(conn)
}

/// Sets the socket as the options want it; what the kernel refuses is left.
pub(super) fn arrange(options: &Options, sock: &OwnedFd) {
    if !options.keep_ip_options {
        let _ = sys::net::clear_ip_options(sock);
    }
    if options.ends.nodelay {
        let _ = sys::net::nodelay(sock);
    }
}

/// Whether the name's addresses hold the one it was found for.
fn leads_back(name: &[u8], ip: IpAddr) -> bool {
    names::addresses_of(name, ip.is_ipv6()).is_ok_and(|ips| ips.contains(&ip))
}

/// Our variables, changed for the connection and then by its rule.
fn environment(conn: &Conn, rule: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let mut put = |name: OsString, value: Option<Vec<u8>>| {
        env.retain(|(known, _)| *known != name);
        env.extend(value.map(|value| (name, OsString::from_vec(value))));
    };
    for (name, value) in conn.variables() {
        put(name.into(), value);
    }
    put(HURRY.into(), conn.hurried.then(|| b"1".to_vec()));
    for (name, value) in rule {
        put(OsString::from_vec(name), Some(value));
    }
    env
}

fn become_it(
    options: &Options,
    program: &[OsString],
    sock: &OwnedFd,
    env: &[(OsString, OsString)],
) -> i32 {
    let placed = sys::fd::place(sock, 0).and_then(|()| sys::fd::place(sock, 1));
    if let Err(error) = placed {
        return dropping(options, &[&"unable to set up descriptors"], &error);
    }
    for signal in [Signal::Chld, Signal::Term, Signal::Pipe] {
        signal::default(signal);
    }
    let error = sys::spawn::exec_search(program, Some(env));
    let name = program.first().cloned().unwrap_or_default();
    dropping(options, &[&"unable to run ", &name], &error)
}

/// `tcpserver: warning: dropping connection, TEXT: E`; returns 111.
pub(super) fn dropping(options: &Options, pieces: &[Piece<'_>], cause: &io::Error) -> i32 {
    options.warning(&dropped(pieces), Some(cause));
    TEMPORARY
}

/// Whether this would be said, and not only counted.
pub(super) fn is_news(options: &Options, pieces: &[Piece<'_>], cause: &io::Error) -> bool {
    options.is_news(&dropped(pieces), Some(cause))
}

fn dropped<'a>(pieces: &[Piece<'a>]) -> Vec<Piece<'a>> {
    [&"dropping connection, " as Piece<'_>].into_iter().chain(pieces.iter().copied()).collect()
}
