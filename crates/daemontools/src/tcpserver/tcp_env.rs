//! tcp-env: under inetd, set the variables that tcpserver sets, and run a program.
//!
//! *Runs as* inetd says · *hears* the client's ident server and DNS · *opens* `/etc/hosts`,
//! `/etc/resolv.conf` · *speaks to* those, and becomes its program

use super::conn::Conn;
use super::options::number;
use super::{ident, names};
use crate::message::TEMPORARY;
use crate::run::Environment;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use sys::getopt::getopt;
use sys::signal::{self, Signal};

/// What stands in a name's place when DNS could not be asked.
const UNKNOWN: &[u8] = b"softdnserror";
/// How long the ident server is waited for, at most.
const LONGEST: u64 = 86_400;

/// What the command line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    /// `-r`, `-R`: ask the client's ident server.
    ident: bool,
    /// `-t`: how long that may take.
    timeout: Duration,
}

/// The program. It says nothing: whatever there is on descriptor 2 may be the client.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let Ok((found, program)) = getopt(args, "rRt:") else { return TEMPORARY };
    let mut options = Options { ident: true, timeout: Duration::from_secs(30) };
    for option in found {
        match option.letter {
            b'r' => options.ident = true,
            b'R' => options.ident = false,
            _ => options.timeout = Duration::from_secs(number(&option.value).min(LONGEST)),
        }
    }
    if program.is_empty() {
        return TEMPORARY;
    }
    let mut environment = Environment::ours();
    if std::env::var_os("PROTO").is_none_or(|proto| proto != "TCP" && proto != "TCP6") {
        match connection(options) {
            Ok(conn) => conn.put(&mut environment),
            Err(_) => return TEMPORARY,
        }
    }
    signal::default(Signal::Pipe);
    let _not_there = sys::spawn::exec_search(program, Some(environment.as_slice()));
    TEMPORARY
}

/// What can be known of the connection on descriptor 0.
fn connection(options: Options) -> io::Result<Conn> {
    let socket = sys::fd::stdin();
    let mut conn = Conn::new(sys::net::local(socket)?, sys::net::peer(socket)?);
    conn.local_host = name(conn.local.ip());
    conn.remote_host = name(conn.remote.ip());
    if options.ident {
        conn.info = ident::ask(&conn, options.timeout);
    }
    Ok(conn)
}

/// The name of an address, in lower case.
fn name(ip: IpAddr) -> Option<Vec<u8>> {
    names::look_up(ip).unwrap_or_else(|_| Some(UNKNOWN.to_vec()))
}
