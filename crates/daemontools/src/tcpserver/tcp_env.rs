//! tcp-env: under inetd, set the variables that tcpserver sets, and run a program.
//!
//! *Runs as* inetd says · *hears* the client's ident server and DNS · *opens* `/etc/hosts`,
//! `/etc/resolv.conf` · *speaks to* those, and becomes its program

use super::conn::Conn;
use super::names;
use crate::message::TEMPORARY;
use crate::run::Environment;
use crate::ucspi::Ends;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use sys::getopt::getopt;
use sys::signal::{self, Signal};

/// What stands in a name's place when DNS could not be asked.
const UNKNOWN: &[u8] = b"softdnserror";
/// How long the ident server is waited for, if `-t` does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The program. It says nothing: whatever there is on descriptor 2 may be the client.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let Ok((found, program)) = getopt(args, "rRt:") else { return TEMPORARY };
    let mut ends = Ends { timeout: TIMEOUT, ..Ends::default() };
    found.iter().for_each(|option| ends.set(option));
    if program.is_empty() {
        return TEMPORARY;
    }
    let mut environment = Environment::ours();
    if std::env::var_os("PROTO").is_none_or(|proto| proto != "TCP" && proto != "TCP6") {
        match connection(&ends) {
            Ok(conn) => conn.put(&mut environment),
            Err(_) => return TEMPORARY,
        }
    }
    signal::default(Signal::Pipe);
    let _not_there = sys::spawn::exec_search(program, Some(environment.as_slice()));
    TEMPORARY
}

/// What can be known of the connection on descriptor 0.
fn connection(ends: &Ends) -> io::Result<Conn> {
    let socket = sys::fd::stdin();
    let mut conn = Conn::new(sys::net::local(socket)?, sys::net::peer(socket)?);
    conn.local_host = name(conn.local.ip());
    conn.remote_host = name(conn.remote.ip());
    ends.ask(&mut conn);
    Ok(conn)
}

/// The name of an address, in lower case.
fn name(ip: IpAddr) -> Option<Vec<u8>> {
    names::look_up(ip).unwrap_or_else(|_| Some(UNKNOWN.to_vec()))
}
