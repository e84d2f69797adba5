//! HUP: a listener becomes what lies on the disk, and nobody's connection is lost. This file is both
//! the test and the program served: with `$BROOD_FD` in its environment it is the clean parent. No
//! harness, so that there is one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod listener;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use listener::{LONG, Server, at_rest, eventually, myself};
use sys::brood::{self, CleanParent, Greeting, Serve};
use sys::{fd, signal, spawn};
use yard::Yard;

/// The variable that names the file a clean parent reads its greeting from.
const GREETING: &str = "GREETING_FILE";

fn main() {
    if let Some(sock) = brood::requested() {
        let file = std::env::var(GREETING).unwrap();
        let text = std::fs::read(file).unwrap();
        if text == b"broken" {
            spawn::exit(111);
        }
        if text == b"slow" {
            std::thread::sleep(Duration::from_secs(18));
            spawn::exit(111);
        }
        let limits = Serve { max_children: 10, retire_after: 1000 };
        brood::serve_as(sock, limits, Program { text }).unwrap();
        return;
    }
    those_who_wait_and_those_who_talk_are_served_to_their_end();
    nobody_is_refused_while_it_happens();
    a_new_version_that_is_broken_changes_nothing();
    a_trial_ends_with_its_listener();
    without_clean_parents_the_socket_stays_too();
}

struct Program {
    text: Vec<u8>,
}

impl CleanParent for Program {
    fn greeting(&self) -> Option<Greeting> {
        Greeting::new(&[&self.text[..], b"\r\n"].concat())
    }

    /// Says what it greets with for each line, until the client hangs up.
    fn child(&mut self, _payload: &[u8], mut fds: Vec<OwnedFd>) -> i32 {
        let conn = fds.pop().unwrap();
        let mut line = [0; 100];
        while fd::read(&conn, &mut line).unwrap_or(0) > 0 {
            let said = [b"served by ", &self.text[..], b"\n"].concat();
            if fd::write_all(&conn, &said).is_err() {
                break;
            }
        }
        0
    }
}

/// A directory with a greeting in it, removed when dropped.
struct Dir(Yard);

impl Dir {
    fn new(name: &str) -> Self {
        Self(Yard::new(&format!("tcpserver-{name}")))
    }

    fn greet_with(&self, text: &str) -> PathBuf {
        let file = self.0.join("greeting");
        std::fs::write(&file, text).unwrap();
        file
    }
}

fn start(greeting: &Path) -> Server {
    let variables = [(GREETING, greeting.to_str().unwrap())];
    Server::start("127.0.0.1", &["-fvRHl0"], &myself(), &variables)
}

fn read_line(mut conn: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while conn.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn ask(mut conn: &TcpStream) -> String {
    conn.write_all(b"x\n").unwrap();
    read_line(conn)
}

fn hup(server: &Server) {
    signal::kill(server.child.id(), signal::Signal::Hup).unwrap();
}

/// Calls until the greeting is this one.
fn await_greeting(server: &Server, text: &str) -> TcpStream {
    let since = Instant::now();
    loop {
        let conn = server.connect();
        let said = read_line(&conn);
        if said == text {
            return conn;
        }
        assert!(since.elapsed() < LONG, "{said}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn those_who_wait_and_those_who_talk_are_served_to_their_end() {
    let dir = Dir::new("renew");
    let server = start(&dir.greet_with("old"));
    let talking = await_greeting(&server, "old");
    assert_eq!(ask(&talking), "served by old");
    let waiting = await_greeting(&server, "old");
    dir.greet_with("new");
    hup(&server);
    let new = await_greeting(&server, "new");
    assert_eq!(ask(&new), "served by new");
    assert_eq!(ask(&waiting), "served by old");
    assert_eq!(ask(&talking), "served by old");
}

fn nobody_is_refused_while_it_happens() {
    let dir = Dir::new("renew-busy");
    let server = start(&dir.greet_with("0"));
    await_greeting(&server, "0");
    for version in 1..=5 {
        let text = version.to_string();
        dir.greet_with(&text);
        hup(&server);
        let since = Instant::now();
        loop {
            let conn = server.connect();
            let greeted = read_line(&conn);
            assert_eq!(ask(&conn), format!("served by {greeted}"));
            if greeted == text {
                break;
            }
            assert!(since.elapsed() < LONG);
        }
    }
}

fn a_new_version_that_is_broken_changes_nothing() {
    let dir = Dir::new("renew-broken");
    let mut server = start(&dir.greet_with("old"));
    let waiting = await_greeting(&server, "old");
    dir.greet_with("broken");
    hup(&server);
    let line = server.line_of("tcpserver: warning: staying what it is");
    assert!(line.ends_with("ended with exit code 111"), "{line}");
    assert_eq!(ask(&waiting), "served by old");
    assert_eq!(ask(&await_greeting(&server, "old")), "served by old");
    dir.greet_with("new");
    hup(&server);
    assert_eq!(ask(&await_greeting(&server, "new")), "served by new");
}

/// Children of a process that are listeners, too, if `listening`, or else all of them.
fn children(id: u32, listening: bool) -> Vec<u32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let listens = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(10).any(|part| part == b"tcpserver\0")
    };
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    children.filter(|pid| !listening || listens(pid)).collect()
}

fn a_trial_ends_with_its_listener() {
    let dir = Dir::new("renew-end");
    for signal in [signal::Signal::Term, signal::Signal::Kill] {
        let mut server = start(&dir.greet_with("old"));
        await_greeting(&server, "old");
        dir.greet_with("slow");
        hup(&server);
        // Until it has started its program, and waits for it.
        let id = server.child.id();
        let trial = || {
            let mut trials = children(id, true).into_iter();
            trials.find(|trial| !children(*trial, false).is_empty())
        };
        eventually("the trial has its program", || trial().is_some());
        at_rest(trial().unwrap());
        signal::kill(id, signal).unwrap();
        server.child.wait().unwrap();
        // Killed, nobody waits for the trial then; it notices, and not because its program ends.
        let took = eventually("the address is free", || {
            std::net::TcpListener::bind(("127.0.0.1", server.port)).is_ok()
        });
        assert!(took < Duration::from_secs(12), "{took:?}");
    }
}

fn without_clean_parents_the_socket_stays_too() {
    let options = ["-vRHl0"];
    let mut server = Server::start("127.0.0.1", &options, &["sh", "-c", "read a; echo $a"], &[]);
    let mut talking = server.connect();
    server.line_of("tcpserver: ok ");
    hup(&server);
    server.line_of("tcpserver: becoming the new version");
    server.line_of("tcpserver: status: 0/40");
    let mut text = String::new();
    talking.write_all(b"hello\n").unwrap();
    talking.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    let mut new = server.connect();
    new.write_all(b"again\n").unwrap();
    text.clear();
    new.read_to_string(&mut text).unwrap();
    assert_eq!(text, "again\n");
}
