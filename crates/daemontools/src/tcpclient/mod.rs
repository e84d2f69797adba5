//! connect to a TCP server and run a program
//!
//! *Runs as* whoever calls it. *Hears* DNS and, unless told not to, the server's ident server.
//! *Opens* `/etc/hosts`, `/etc/resolv.conf`, `/etc/services`. *Speaks to* the server, through the
//! program it becomes, on descriptors 6 and 7.

pub(crate) mod ask;
mod options;
mod reach;
mod shown;

use crate::message::TEMPORARY;
use crate::run::Environment;
use crate::tcpserver::conn::Conn;
use options::{Options, Task};
use std::ffi::OsString;
use std::io;
use std::net::TcpStream;
use sys::signal::{self, Signal};

/// The descriptors a UCSPI client's program has: from the network, to the network.
const ENDS: [i32; 2] = [6, 7];

/// `tcpclient [options] host port program [arg ...]`. Exit code the program's; 100 for misuse; 111 if
/// there is no connection, or the program cannot be run.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let task = match options::read(args) {
        Ok(task) => task,
        Err(code) => return code,
    };
    for number in ENDS {
        sys::fd::close(number);
    }
    signal::ignore(Signal::Pipe);
    match reach::connect(&task.options, task.host, task.port) {
        Ok(sock) => become_it(&task, &sock),
        Err(code) => code,
    }
}

/// Looks up what is to be known of the connection, and becomes the program.
fn become_it(task: &Task<'_>, sock: &TcpStream) -> i32 {
    let options = &task.options;
    let conn = match conn(options, sock) {
        Ok(conn) => conn,
        Err(code) => return code,
    };
    for number in ENDS {
        if let Err(error) = sys::fd::place(sock, number) {
            return options
                .fatal(&[&format!("unable to set up descriptor {number}")], Some(&error));
        }
    }
    let mut environment = Environment::ours();
    conn.put(&mut environment);
    signal::default(Signal::Pipe);
    let error = sys::spawn::exec_search(task.program, Some(environment.as_slice()));
    let name = task.program.first().cloned().unwrap_or_default();
    options.fatal(&[&"unable to run ", &name], Some(&error));
    TEMPORARY
}

fn conn(options: &Options, sock: &TcpStream) -> Result<Conn, i32> {
    if options.ends.nodelay {
        let _ = sys::net::nodelay(sock);
    }
    let fatal = |text: &str, error: io::Error| options.fatal(&[&text], Some(&error));
    let local = sys::net::local(sock).map_err(|e| fatal("unable to get local address", e))?;
    let remote = sys::net::peer(sock).map_err(|e| fatal("unable to get remote address", e))?;
    options.tell_connected(remote);
    let mut conn = Conn::new(local, remote);
    options.ends.name(&mut conn);
    options.ends.ask(&mut conn);
    Ok(conn)
}
