//! Connections whose processes have nothing to find out before they are the program: what they need is
//! made here, and they are started without a copy of our memory (`sys::spawn::Launcher`).

use super::child;
use super::conn::{Conn, Variable};
use super::options::Options;
use super::rules::Verdict;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use sys::brood::HURRY;
use sys::spawn::{Change, Launcher};

/// The program, ready to be started.
#[derive(Debug)]
pub(super) struct Swift(Launcher);

impl Swift {
    /// For these options; `None` if a connection's process may have to wait, as for DNS.
    pub(super) fn new(options: &Options, program: &[OsString]) -> Option<Self> {
        let ends = &options.ends;
        let waits = ends.remote_name || ends.ident || ends.local_host.is_none();
        if waits || !options.banner.is_empty() {
            return None;
        }
        Launcher::new(program).ok().map(Self)
    }

    /// Starts the program for a connection of which everything is known; its pid. `None`: a fork may
    /// do, or say why not.
    pub(super) fn start(
        &mut self,
        options: &Options,
        sock: &OwnedFd,
        conn: &Conn,
        verdict: &Verdict,
    ) -> Option<io::Result<u32>> {
        child::arrange(options, sock);
        let variables = conn.variables();
        let saying = if options.verbose() { conn.welcome() } else { Vec::new() };
        self.0.start(sock.as_fd(), &changes(conn, &variables, verdict), saying)
    }

    /// Why a process that has ended had not become the program, if so.
    pub(super) fn failure(&mut self, pid: u32) -> Option<io::Error> {
        self.0.failure(pid)
    }
}

/// What is another variable for a connection's program than for us.
fn changes<'a>(conn: &Conn, variables: &'a [Variable], verdict: &'a Verdict) -> Vec<Change<'a>> {
    let own = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
    let hurry = (HURRY.as_bytes(), conn.hurried.then_some(&b"1"[..]));
    let rule = verdict.set.iter().map(|(name, value)| (&name[..], Some(&value[..])));
    own.chain([hurry]).chain(rule).collect()
}
