//! A running tcpserver: its port, what it logs, an end when dropped.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};

pub use yard::patience::{LONG, at_rest, eventually};

pub const BINARY: &str = env!("CARGO_BIN_EXE_daemontools");

/// The program that is the test itself, with `$BROOD_FD` in its environment.
pub fn myself() -> [std::path::PathBuf; 1] {
    [std::env::current_exe().unwrap()]
}

/// A listener on a free port, ended when dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
    log: BufReader<ChildStderr>,
}

impl Server {
    /// One at an address; the program finds these variables in its environment.
    pub fn start<P: AsRef<OsStr>>(
        host: &str,
        options: &[&str],
        program: &[P],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["tcpserver", "-1"]).args(options).args([host, "0"]).args(program);
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        child.stdout.take().unwrap().read_to_string(&mut port).unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, port: port.trim().parse().unwrap(), log }
    }

    /// A connection from 127.0.0.1.
    pub fn connect(&self) -> TcpStream {
        self.connect_from([127, 0, 0, 1])
    }

    /// A connection from an address of this host.
    pub fn connect_from(&self, from: [u8; 4]) -> TcpStream {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let from = SocketAddr::new(IpAddr::from(from), 0);
        let conn = sys::net::connect(to, Some(from), LONG).unwrap();
        conn.set_read_timeout(Some(LONG)).unwrap();
        conn
    }

    /// The next line of its log, empty at its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next that begins so.
    pub fn line_of(&mut self, start: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "{start}");
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
