//! The listener with a clean parent (`-f`). This file is both the test and the program served:
//! with `$BROOD_FD` in its environment it is the clean parent. No harness, so that there is one
//! thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod listener;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use listener::{Server, eventually, myself};
use sys::brood::{self, Serve};
use sys::{fd, signal, spawn};
use yard::Yard;

/// Jobs after which the program's clean parent retires.
const RETIRE: u64 = 4;

fn main() {
    if let Some(sock) = brood::requested() {
        assert!(std::env::var_os("TCPREMOTEIP").is_none());
        if let Some(file) = std::env::var_os("STILLBORN") {
            let mut births = std::fs::File::options().create(true).append(true).open(file).unwrap();
            births.write_all(b"x").unwrap();
            spawn::exit(111);
        }
        brood::serve(sock, Serve { max_children: 10, retire_after: RETIRE }, child).unwrap();
        return;
    }
    a_connection_gets_its_variables_and_is_logged_as_ever();
    a_crash_is_logged_and_the_next_connection_is_served();
    clean_parents_retire_and_nobody_notices();
    a_dead_clean_parent_is_replaced();
    a_denied_client_gets_the_banner_only();
    a_rules_limit_is_for_who_comes_and_not_for_who_is_in();
    a_program_that_dies_at_once_lets_connections_wait();
    a_running_child_outlives_the_listener();
}

/// Tells its variables and its parent, or does what the client's line says.
fn child(payload: &[u8], mut fds: Vec<OwnedFd>) -> i32 {
    let conn = fds.pop().unwrap();
    let mut line = [0; 100];
    let got = fd::read(&conn, &mut line).unwrap();
    match line.get(..got).unwrap() {
        b"crash\n" => {
            signal::kill(std::process::id(), signal::Signal::Kill).unwrap();
            1
        }
        b"parent\n" => {
            let parent = std::os::unix::process::parent_id().to_string();
            fd::write_all(&conn, parent.as_bytes()).unwrap();
            0
        }
        _ => {
            fd::write_all(&conn, payload).unwrap();
            7
        }
    }
}

fn start(options: &[&str]) -> Server {
    start_with(options, &[])
}

fn start_with(options: &[&str], more: &[(&str, &str)]) -> Server {
    let variables = [&[("TCPREMOTEIP", "left-over")], more].concat();
    Server::start("127.0.0.1", &[&["-fv"], options].concat(), &myself(), &variables)
}

/// The pid of the clean parent.
fn parent(server: &Server) -> u32 {
    talk(server.connect(), "parent\n").parse().unwrap()
}

fn talk(mut conn: TcpStream, line: &str) -> String {
    conn.write_all(line.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = conn.read_to_string(&mut text);
    text
}

fn a_connection_gets_its_variables_and_is_logged_as_ever() {
    let mut server = start(&[]);
    assert_eq!(server.line(), "tcpserver: status: 0/40");
    let conn = server.connect();
    let (here, port) = (conn.local_addr().unwrap().port(), server.port);
    let want = format!(
        "PROTO=TCP\0TCPLOCALIP=127.0.0.1\0TCPLOCALPORT={port}\0TCPLOCALHOST=127.0.0.1\0\
         TCPREMOTEIP=127.0.0.1\0TCPREMOTEPORT={here}\0"
    );
    assert_eq!(talk(conn, "x\n"), want);
    assert_eq!(server.line(), "tcpserver: status: 1/40");
    let line = server.line();
    let pid = line.strip_prefix("tcpserver: pid ").unwrap().strip_suffix(" from 127.0.0.1");
    let pid = pid.unwrap().to_owned();
    let ok = format!("tcpserver: ok {pid} 127.0.0.1:127.0.0.1:{port} :127.0.0.1::{here}");
    assert_eq!(server.line(), ok);
    assert_eq!(server.line(), format!("tcpserver: end {pid} status {}", 7 * 256));
    assert_eq!(server.line(), "tcpserver: status: 0/40");
}

fn a_crash_is_logged_and_the_next_connection_is_served() {
    let mut server = start(&[]);
    let first = parent(&server);
    server.line_of("tcpserver: end ");
    talk(server.connect(), "crash\n");
    let line = server.line_of("tcpserver: end ");
    assert!(line.ends_with(" status 9"), "{line}");
    assert_ne!(parent(&server), first);
}

fn clean_parents_retire_and_nobody_notices() {
    let server = start(&[]);
    let conns: Vec<TcpStream> = (0..RETIRE * 3).map(|_| server.connect()).collect();
    let said: Vec<String> = conns.into_iter().map(|conn| talk(conn, "parent\n")).collect();
    assert!(said.iter().all(|text| text.parse::<u32>().is_ok()), "{said:?}");
    let parents: std::collections::BTreeSet<&String> = said.iter().collect();
    assert!(parents.len() >= 3, "{parents:?}");
}

fn a_dead_clean_parent_is_replaced() {
    let mut server = start(&[]);
    let first = parent(&server);
    server.line_of("tcpserver: end ");
    signal::kill(first, signal::Signal::Kill).unwrap();
    let died = server.line_of("tcpserver: warning:");
    assert!(died.ends_with(" died as a clean parent; starting another"), "{died}");
    assert_ne!(parent(&server), first);
    server.line_of("tcpserver: ok ");
}

fn a_denied_client_gets_the_banner_only() {
    let dir = Yard::new("tcpserver-clean");
    let cdb = rule(&dir, "D\0");
    let mut server = start(&["-BHi", "-x", &cdb]);
    assert_eq!(talk(server.connect(), "x\n"), "Hi");
    server.line_of("tcpserver: deny ");
    assert_eq!(server.line(), "tcpserver: status: 0/40");
}

/// A database of one rule, for everybody here.
fn rule(dir: &Yard, value: &str) -> String {
    let cdb = dir.join("rules.cdb");
    std::fs::write(&cdb, base::cdb::build([("127.", value)]).unwrap()).unwrap();
    cdb.to_str().unwrap().to_owned()
}

fn a_rules_limit_is_for_who_comes_and_not_for_who_is_in() {
    let dir = Yard::new("tcpserver-clean");
    let cdb = rule(&dir, "+MAXCONNIP=2\0");
    let mut server = start(&["-x", &cdb]);
    let held = [server.connect(), server.connect()];
    assert_eq!(talk(server.connect(), "x\n"), "");
    let line = server.line_of("tcpserver: deny ");
    assert!(line.ends_with(" ip connection limit:2 exceeded"), "{line}");
    rule(&dir, "+MAXCONNIP=1\0");
    for conn in held {
        assert!(talk(conn, "x\n").starts_with("PROTO=TCP\0"));
    }
    server.line_of("tcpserver: status: 0/40");
    assert!(talk(server.connect(), "x\n").starts_with("PROTO=TCP\0"));
}

fn a_program_that_dies_at_once_lets_connections_wait() {
    let dir = Yard::new("tcpserver-births");
    let births = dir.join("births");
    let mut server = start_with(&[], &[("STILLBORN", births.to_str().unwrap())]);
    let conn = server.connect();
    conn.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let error = (&conn).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    // When the third is there the end of the second was heard.
    let born = || std::fs::metadata(&births).map_or(0, |file| file.len());
    eventually("it is tried again and again", || born() >= 3);
    signal::kill(server.child.id(), signal::Signal::Term).unwrap();
    server.line();
    let line = server.line();
    assert!(line.contains(" ended before it was ready"), "{line}");
    let line = server.line();
    assert!(line.contains(" times more ") && line.contains(" ended before it was ready"), "{line}");
}

fn a_running_child_outlives_the_listener() {
    let mut server = start(&[]);
    let conn = server.connect();
    server.line_of("tcpserver: ok ");
    signal::kill(server.child.id(), signal::Signal::Term).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(talk(conn, "x\n").starts_with("PROTO=TCP\0"));
}
