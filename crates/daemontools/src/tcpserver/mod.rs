//! accept TCP connections and run a program for each
//!
//! *Runs as* root until the socket listens, then as `-u` and `-g`. *Hears* connections from
//! anybody. *Opens* the rules file. *Speaks to* the program it runs, on
//! its descriptors 0 and 1, or with `-f` to a clean parent of it; to DNS and the client's ident
//! server in the connection's own process; to the log on stderr.

pub(crate) mod address;
mod allowance;
mod child;
pub(crate) mod conn;
mod crowd;
mod front;
pub(crate) mod ident;
mod limits;
mod lobby;
mod log;
mod lounge;
pub(crate) mod names;
mod nursery;
mod options;
mod packet;
mod qualify;
mod regulars;
mod renew;
pub(crate) mod rules;
mod server;
mod source;
mod swift;
pub(crate) mod tcp_env;
mod turns;

use crate::message::Piece;
use address::Place;
use base::limits::SILENT_CONNECTIONS;
use crowd::Crowd;
use front::Front;
use lobby::Lobby;
use nursery::Nursery;
use options::{Options, Task};
use renew::Renewal;
use rules::Rulebook;
use server::{Means, Server};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;
use swift::Swift;
use sys::poll::Poller;
use sys::process::Held;
use sys::renew::Inherited;
use sys::rlimit::{self, Resource};
use sys::signal::{self, Signal, Signals};

/// Descriptors that are not for those who wait: our own, and connections being handed over.
const RESERVE: u64 = 100;

/// `tcpserver [options] host port program [arg ...]`. Exit code 0 after SIGTERM, 100 for misuse,
/// 111 if it cannot listen.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let task = match options::read(args) {
        Ok(task) => task,
        Err(code) => return code,
    };
    let inherited = sys::renew::inherited(renew::VARIABLE);
    let trial = inherited.as_ref().filter(|inherited| inherited.trial);
    let Some(trial) = trial.map(|trial| renew::hold(trial.forerunner)) else {
        return start(&task, inherited).map_or_else(|code| code, |mut server| server.run());
    };
    let proven = |held: Option<Held>| Ok(start(&task, inherited)?.prove(held.as_ref()));
    trial.and_then(proven).unwrap_or_else(|code| code)
}

/// Everything up to the loop, in the order whose failures scripts know.
fn start<'a>(task: &'a Task<'a>, inherited: Option<Inherited>) -> Result<Server<'a>, i32> {
    let options = &task.options;
    let port = address::port(task.port).ok_or_else(|| {
        options.fatal(&[&"unable to figure out port number for ", &task.port], None)
    })?;
    let signals = Signals::catch(&[Signal::Chld, Signal::Term, Signal::Hup])
        .map_err(|e| options.fatal(&[&"unable to block signals"], Some(&e)))?;
    signal::ignore(Signal::Pipe);
    let sock = match inherited {
        Some(Inherited { sock, .. }) => sock,
        None => listen(options, host(task)?, port)?,
    };
    let numbers = options.limits.read().map_err(|(file, error)| {
        options.fatal(&[&"unable to read a number from ", &file], Some(&error))
    })?;
    drop_ids(options)?;
    detach(options, &sock)?;
    let fatal = |text: &str, error: std::io::Error| options.fatal(&[&text], Some(&error));
    let local = sys::net::local(&sock).map_err(|e| fatal("unable to get local address", e))?;
    let poller = Poller::new().map_err(|e| fatal("unable to wait for connections", e))?;
    let poller = Rc::new(poller);
    let means = means(task, &poller)?;
    let networks = options.limits.count_networks() || options.rules.is_some();
    let crowd = Crowd::new(numbers, networks);
    let lobby = options.proxies.clone().map(|list| Lobby::new(list, options.header));
    let reread = options.limits.are_files().then(Instant::now);
    let (program, pause, listening, news) = (task.program, None, false, false);
    let renewal = Renewal::Unasked;
    let rules = Rulebook::default();
    let swift = if options.clean { None } else { Swift::new(options, task.program) };
    Ok(Server {
        options,
        program,
        sock,
        local,
        signals,
        poller,
        crowd,
        means,
        lobby,
        swift,
        rules,
        reread,
        pause,
        listening,
        news,
        renewal,
    })
}

/// Who will serve the connections.
fn means(task: &Task<'_>, poller: &Rc<Poller>) -> Result<Means, i32> {
    let options = &task.options;
    if !options.clean {
        return Ok(Means::Fork(BTreeMap::new()));
    }
    let room = room(options.silent);
    let nursery = Nursery::new(task.program, Rc::clone(poller), Instant::now());
    let name = task.program.first().cloned().unwrap_or_default();
    let nursery = nursery.map_err(|e| options.fatal(&[&"unable to run ", &name], Some(&e)))?;
    Ok(Means::Clean(Box::new(Front::new(nursery, room, options.patience))))
}

/// How many connections may wait: what `-i` says, as far as there are descriptors, of which we take
/// all that the hard limit gives.
fn room(silent: u64) -> usize {
    let _ = rlimit::set_soft(Resource::Nofile, u64::MAX);
    let (soft, _) = rlimit::get(Resource::Nofile).unwrap_or((1_024, 1_024));
    let most = soft.saturating_sub(RESERVE).max(1);
    let wanted = if silent == 0 { SILENT_CONNECTIONS } else { silent };
    usize::try_from(wanted.min(most)).unwrap_or(1)
}

/// Where the host named is.
fn host(task: &Task<'_>) -> Result<Place, i32> {
    let (options, host) = (&task.options, task.host);
    let found = address::place(host, options.ends.families).map_err(|e| {
        let text = "temporarily unable to figure out IP address for ";
        options.fatal(&[&text, &host], Some(&e))
    })?;
    found.ok_or_else(|| options.fatal(&[&"no IP address for ", &host], None))
}

/// A socket listening there.
fn listen(options: &Options, place: Place, port: u16) -> Result<OwnedFd, i32> {
    let fatal = |text: &str, error: std::io::Error| options.fatal(&[&text], Some(&error));
    let at = match place.ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        IpAddr::V6(ip) => {
            let say = |text: &[Piece<'_>], e: &std::io::Error| options.fatal(text, Some(e));
            let scope = address::scope(options.ends.interface.as_deref(), say)?;
            SocketAddrV6::new(ip, port, 0, scope).into()
        }
    };
    let sock = match sys::net::socket(at) {
        // A host without IPv6 has both when it has IPv4.
        Err(_) if place.both => {
            let four = Place { ip: Ipv4Addr::UNSPECIFIED.into(), both: false };
            return listen(options, four, port);
        }
        made => made.map_err(|e| fatal("unable to create socket", e))?,
    };
    if at.is_ipv6() {
        let done = sys::net::only_six(&sock, !place.both);
        done.map_err(|e| fatal("unable to create socket", e))?;
    }
    sys::net::bind(&sock, at).map_err(|e| {
        // Stock's words do not say where.
        let code = fatal("unable to bind", e);
        options.fatal(&[&"not listening on ", &at.to_string()], None);
        code
    })?;
    sys::net::local(&sock).map_err(|e| fatal("unable to get local address", e))?;
    sys::net::listen(&sock, options.backlog).map_err(|e| fatal("unable to listen", e))?;
    // So that a connection that is gone again does not stop the loop in accept.
    sys::fd::set_nonblocking(&sock, true).map_err(|e| fatal("unable to listen", e))?;
    Ok(sock)
}

/// Becomes who `-g` and `-u` say.
fn drop_ids(options: &Options) -> Result<(), i32> {
    if options.gid != 0 {
        let done = sys::user::set_gid(options.gid);
        done.map_err(|e| options.fatal(&[&"unable to set gid"], Some(&e)))?;
    }
    if options.uid != 0 {
        let done = sys::user::set_uid(options.uid);
        done.map_err(|e| options.fatal(&[&"unable to set uid"], Some(&e)))?;
    }
    Ok(())
}

/// Prints the port for `-1`, then lets go of descriptors 0 and 1, which whoever waits for their
/// end has been waiting for. They lead nowhere from then on instead of being free numbers.
fn detach(options: &Options, sock: &OwnedFd) -> Result<(), i32> {
    let fatal = |text: &str, error: std::io::Error| options.fatal(&[&text], Some(&error));
    if options.print_port {
        let local = sys::net::local(sock).map_err(|e| fatal("unable to get local address", e))?;
        let line = format!("{}\n", local.port());
        let printed = sys::fd::write_all(sys::fd::stdout(), line.as_bytes());
        printed.map_err(|e| fatal("unable to print the port", e))?;
    }
    let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    let nowhere = nowhere.map_err(|e| fatal("unable to open /dev/null", e))?;
    let placed = sys::fd::place(&nowhere, 0).and_then(|()| sys::fd::place(&nowhere, 1));
    placed.map_err(|e| fatal("unable to let go of descriptors 0 and 1", e))
}
