//! The listener as a process: what it logs, whom it lets in, what its programs get.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what it expects by failing"
)]

mod listener;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use listener::{BINARY, Server};

fn start(options: &[&str], program: &[&str]) -> Server {
    at("127.0.0.1", options, program)
}

fn at(host: &str, options: &[&str], program: &[&str]) -> Server {
    Server::start(host, options, program, &[("TCPREMOTEHOST", "left-over")])
}

/// All a connection says until it is closed.
fn talk(server: &Server) -> String {
    said(server.connect())
}

fn said(mut conn: TcpStream) -> String {
    let mut text = String::new();
    let _ = conn.read_to_string(&mut text);
    text
}

/// A directory of its own for one test.
fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tcpserver-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A rules database.
fn rules(name: &str, text: &str) -> String {
    let dir = dir(name);
    let cdb = dir.join("rules.cdb");
    let mut child = Command::new(BINARY)
        .arg("tcprules")
        .args([&cdb, &dir.join("rules.tmp")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    cdb.to_str().unwrap().to_owned()
}

/// A log line with its pid replaced by P.
fn nameless(line: &str) -> String {
    let pid = |word: &str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut done = false;
    let word = |word: &str| {
        if !done && pid(word) {
            done = true;
            return "P".to_owned();
        }
        word.to_owned()
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_session_is_logged_as_the_original_logs_it() {
    let mut server = start(&["-vRHc2", "-lLOCAL"], &["sh", "-c", "exit 3"]);
    assert_eq!(server.line(), "tcpserver: status: 0/2");
    let conn = server.connect();
    let (here, port) = (conn.local_addr().unwrap().port(), server.port);
    assert_eq!(said(conn), "");
    assert_eq!(server.line(), "tcpserver: status: 1/2");
    assert_eq!(nameless(&server.line()), "tcpserver: pid P from 127.0.0.1");
    let ok = format!("tcpserver: ok P LOCAL:127.0.0.1:{port} :127.0.0.1::{here}");
    assert_eq!(nameless(&server.line()), ok);
    assert_eq!(nameless(&server.line()), "tcpserver: end P status 768");
    assert_eq!(server.line(), "tcpserver: status: 0/2");
}

#[test]
fn a_program_gets_the_connections_variables_and_nothing_left_over() {
    let server = start(&["-RHl", "here"], &["sh", "-c", "env | grep -a '^TCP\\|^PROTO'"]);
    let conn = server.connect();
    let here = conn.local_addr().unwrap().port();
    let text = said(conn);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let port = server.port;
    let want = format!(
        "PROTO=TCP\nTCPLOCALHOST=here\nTCPLOCALIP=127.0.0.1\nTCPLOCALPORT={port}\n\
         TCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={here}"
    );
    assert_eq!(lines.join("\n"), want);
}

#[test]
fn a_program_has_only_the_standard_descriptors() {
    // What this test inherited passes through; what the listener opened does not.
    let program = ["ls", "/proc/self/fd"];
    let plain = Command::new(program[0]).arg(program[1]).output().unwrap();
    let server = start(&["-RHl0"], &program);
    assert_eq!(talk(&server), String::from_utf8(plain.stdout).unwrap());
}

#[test]
fn names_come_from_the_hosts_file_and_ident_refused_is_unset() {
    let show = "echo $TCPLOCALHOST $TCPREMOTEHOST ${TCPREMOTEINFO-unset}";
    let server = start(&["-p"], &["sh", "-c", show]);
    assert_eq!(talk(&server), "localhost localhost unset\n");
}

#[test]
fn rules_set_variables_deny_and_are_read_anew() {
    let cdb = rules("rules", "127.0.0.1:allow,A=\"b c\",TCPREMOTEIP=\"x\"\n:deny\n");
    let show = ["sh", "-c", "echo \"$A $TCPREMOTEIP\""];
    let mut server = start(&["-vRHl0", "-x", &cdb, "-BHi "], &show);
    server.line();
    assert_eq!(talk(&server), "Hi b c x\n");
    for _ in 0..5 {
        server.line();
    }
    rules("rules", "127.:deny\n");
    assert_eq!(talk(&server), "Hi ");
    server.line();
    server.line();
    assert!(server.line().starts_with("tcpserver: deny "));
    assert_eq!(nameless(&server.line()), "tcpserver: end P status 25600");
}

#[test]
fn a_missing_rules_file_drops_unless_it_may_be_missing_and_a_damaged_one_drops() {
    let dir = dir("missing");
    let none = dir.join("none").to_str().unwrap().to_owned();
    let mut server = start(&["-RHl0", "-x", &none], &["echo", "in"]);
    assert_eq!(talk(&server), "");
    let what = "tcpserver: warning: dropping connection, unable to read";
    assert_eq!(server.line(), format!("{what} {none}: file does not exist"));
    let server = start(&["-XRHl0", "-x", &none], &["echo", "in"]);
    assert_eq!(talk(&server), "in\n");
    let empty = dir.join("empty");
    std::fs::write(&empty, b"").unwrap();
    let empty = empty.to_str().unwrap();
    let mut server = start(&["-XRHl0", "-x", empty], &["echo", "in"]);
    assert_eq!(talk(&server), "");
    assert_eq!(server.line(), format!("{what} {empty}: protocol error"));
}

#[test]
fn no_more_run_than_the_limit_and_the_rest_wait() {
    let server = start(&["-c1RHl0"], &["cat"]);
    let mut first = server.connect();
    first.write_all(b"one\n").unwrap();
    let mut buf = [0; 4];
    first.read_exact(&mut buf).unwrap();
    let mut second = server.connect();
    second.write_all(b"two\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(second.read_exact(&mut buf).is_err());
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    second.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"two\n");
}

#[test]
fn one_address_has_only_its_share() {
    let mut server = start(&["-m1RHl0"], &["cat"]);
    let mut first = server.connect();
    first.write_all(b"one\n").unwrap();
    first.read_exact(&mut [0; 4]).unwrap();
    assert_eq!(talk(&server), "");
    let line = server.line();
    assert_eq!(line, "tcpserver: warning: dropping connection, 127.0.0.1 has 1 already");
}

#[test]
fn sigterm_is_exit_0_and_a_running_child_goes_on() {
    let mut server = start(&["-RHl0"], &["cat"]);
    let mut conn = server.connect();
    conn.write_all(b"a").unwrap();
    conn.read_exact(&mut [0; 1]).unwrap();
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    conn.write_all(b"b").unwrap();
    conn.shutdown(Shutdown::Write).unwrap();
    assert_eq!(said(conn), "b");
    let port = server.port;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn ipv6_clients_are_served_too() {
    let server = at("::1", &["-RHl0"], &["sh", "-c", "echo $PROTO $TCPREMOTEIP"]);
    let conn = TcpStream::connect(("::1", server.port)).unwrap();
    assert_eq!(said(conn), "TCP ::1\n");
}

#[test]
fn misuse_and_start_failures_have_their_codes_and_texts() {
    let run = |args: &[&str]| {
        let out = Command::new(BINARY).arg("tcpserver").args(args).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, text) = run(&["-z", "0", "0", "true"]);
    assert_eq!(code, Some(100));
    assert!(text.starts_with("tcpserver: illegal option -- z\ntcpserver: usage: tcpserver [ -1"));
    assert_eq!(run(&["0", "25"]).0, Some(100));
    let (code, text) = run(&["0", "no-such-service", "true"]);
    assert_eq!(code, Some(111));
    let want = "tcpserver: fatal: unable to figure out port number for no-such-service\n";
    assert_eq!(text, want);
    assert_eq!(run(&["127.1", "0", "true"]).1, "tcpserver: fatal: no IP address for 127.1\n");
    let server = start(&["-RHl0"], &["true"]);
    let (code, text) = run(&["127.0.0.1", &server.port.to_string(), "true"]);
    let want = format!(
        "tcpserver: fatal: unable to bind: address already used\n\
         tcpserver: fatal: not listening on 127.0.0.1:{}\n",
        server.port
    );
    assert_eq!((code, text), (Some(111), want));
    assert_eq!(run(&["-q", "127.1", "0", "true"]), (Some(111), String::new()));
}

#[test]
fn a_program_that_does_not_run_drops_the_connection() {
    let mut server = start(&["-vRHl0"], &["/no/such/program"]);
    assert_eq!(talk(&server), "");
    for _ in 0..4 {
        server.line();
    }
    let want = "tcpserver: warning: dropping connection, unable to run /no/such/program: \
                file does not exist";
    assert_eq!(server.line(), want);
    assert_eq!(nameless(&server.line()), "tcpserver: end P status 28416");
}
