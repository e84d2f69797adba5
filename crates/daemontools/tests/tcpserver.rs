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
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use listener::{BINARY, LONG, Server};
use yard::{Kept, Yard};

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

/// A rules database.
fn rules(name: &str, text: &str) -> Kept<String> {
    let dir = Yard::new(&format!("tcpserver-{name}"));
    let cdb = dir.join("rules.cdb").to_str().unwrap().to_owned();
    compile(&cdb, text);
    dir.keep(cdb)
}

/// Makes it anew.
fn compile(cdb: &str, text: &str) {
    let mut child = Command::new(BINARY)
        .arg("tcprules")
        .args([cdb, &format!("{cdb}.tmp")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
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
    compile(&cdb, "127.:deny\n");
    assert_eq!(talk(&server), "Hi ");
    server.line();
    server.line();
    assert!(server.line().starts_with("tcpserver: deny "));
    assert_eq!(nameless(&server.line()), "tcpserver: end P status 25600");
}

#[test]
fn a_missing_rules_file_drops_unless_it_may_be_missing_and_a_damaged_one_drops() {
    let dir = Yard::new("tcpserver-missing");
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
    second.set_read_timeout(Some(LONG)).unwrap();
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
fn a_network_has_only_its_share_and_limits_may_be_files() {
    let dir = Yard::new("tcpserver-limits");
    let file = dir.join("network");
    std::fs::write(&file, "2\n").unwrap();
    let (each, all) = (dir.join("none"), file.to_str().unwrap());
    let mut server = start(&["-RHl0", "-m", each.to_str().unwrap(), "-M", all], &["cat"]);
    let hold = |last: u8| {
        let mut conn = server.connect_from([127, 0, 0, last]);
        let _ = conn.write_all(b"x");
        (conn.read_exact(&mut [0]).is_ok()).then_some(conn)
    };
    let held = [hold(1), hold(1)];
    assert!(held.iter().all(Option::is_some) && hold(2).is_none());
    std::fs::write(&file, "3\n").unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    let third = hold(3);
    assert!(third.is_some() && hold(4).is_none());
    std::fs::write(&file, "three\n").unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    assert!(hold(4).is_none());
    let mut lines: Vec<String> = (0..3).map(|_| server.line()).collect();
    lines.sort_unstable();
    let warning = "tcpserver: warning: ";
    assert_eq!(lines[0], format!("{warning}dropping connection, 127.0.0.0/24 has 2 already"));
    assert_eq!(lines[1], format!("{warning}dropping connection, 127.0.0.0/24 has 3 already"));
    let want = format!(
        "{warning}limits stay as they are: unable to read a number from {all}: protocol error"
    );
    assert_eq!(lines[2], want);
}

#[test]
fn a_limit_of_0_in_a_file_is_over_when_the_file_says_more() {
    let dir = Yard::new("tcpserver-zero");
    let file = dir.join("concurrency");
    std::fs::write(&file, "0\n").unwrap();
    let server = start(&["-RHl0", "-c", file.to_str().unwrap()], &["echo", "in"]);
    let mut conn = server.connect();
    conn.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(conn.read(&mut [0]).is_err());
    std::fs::write(&file, "1\n").unwrap();
    conn.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(said(conn), "in\n");
}

#[test]
fn a_thousand_too_many_from_one_address_are_said_once_and_counted() {
    let mut server = start(&["-m1RHl0"], &["cat"]);
    let mut first = server.connect();
    first.write_all(b"one\n").unwrap();
    first.read_exact(&mut [0; 4]).unwrap();
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(talk(&server), "");
    }
    drop(first);
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let line = "dropping connection, 127.0.0.1 has 1 already";
    assert_eq!(server.line(), format!("tcpserver: warning: {line}"));
    // Where a thousand take minutes each of them has its count.
    let (mut counted, mut lines) = (0, 0);
    while counted < 999 {
        let said = server.line();
        let count = said.strip_prefix("tcpserver: warning: ").unwrap().strip_suffix(line);
        let count = count.and_then(|text| text.strip_suffix(" times more within a minute: "));
        counted += count.unwrap().parse::<u32>().unwrap();
        lines += 1;
    }
    assert!(counted == 999 && lines <= 1 + begun.elapsed().as_secs() / 60, "{lines}");
    assert_eq!(server.line(), "");
}

#[test]
fn rules_that_cannot_be_read_are_said_once_and_drop_everybody() {
    let dir = Yard::new("tcpserver-unread");
    let none = dir.join("none.cdb");
    let none = none.to_str().unwrap();
    let mut server = start(&["-RHl0", "-x", none], &["echo", "in"]);
    for _ in 0..50 {
        assert_eq!(talk(&server), "");
    }
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let line = format!("dropping connection, unable to read {none}: file does not exist");
    assert_eq!(server.line(), format!("tcpserver: warning: {line}"));
    assert_eq!(server.line(), format!("tcpserver: warning: 49 times more within a minute: {line}"));
    assert_eq!(server.line(), "");
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
    let show = ["sh", "-c", "echo $PROTO $TCPREMOTEIP $TCP6REMOTEIP $TCP6LOCALPORT"];
    let mut server = at("::1", &["-vRHl0"], &show);
    let conn = TcpStream::connect(("::1", server.port)).unwrap();
    let (here, port) = (conn.local_addr().unwrap().port(), server.port);
    assert_eq!(said(conn), format!("TCP6 ::1 ::1 {port}\n"));
    assert_eq!(nameless(&server.line_of("tcpserver: pid")), "tcpserver: pid P from ::1");
    let ok = format!("tcpserver: ok P 0:::1:{port} :::1::{here}");
    assert_eq!(nameless(&server.line_of("tcpserver: ok")), ok);
}

#[test]
fn one_socket_takes_both_families_and_rules_are_for_both() {
    let cdb = rules(
        "both",
        "::1:allow,SIX=\"yes\"\n2001:db8::/32:deny\n127.0.0.0/8:allow,FOUR=\"yes\"\n:deny\n",
    );
    let show = ["sh", "-c", "echo $PROTO $TCPREMOTEIP $FOUR $SIX ${TCP6REMOTEIP-none}"];
    let server = at(":0", &["-RHl0", "-x", &cdb], &show);
    let six = TcpStream::connect(("::1", server.port)).unwrap();
    assert_eq!(said(six), "TCP6 ::1 yes ::1\n");
    assert_eq!(talk(&server), "TCP 127.0.0.1 yes none\n");
    let server = at(":0", &["-6RHl0"], &["sh", "-c", "echo $PROTO $TCPREMOTEIP $TCP6REMOTEIP"]);
    assert_eq!(talk(&server), "TCP6 127.0.0.1 ::ffff:127.0.0.1\n");
    let server = at("::", &["-RHl0"], &["true"]);
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err());
    let server = at(":0", &["-4RHl0"], &["echo", "four"]);
    assert!(TcpStream::connect(("::1", server.port)).is_err());
    assert_eq!(talk(&server), "four\n");
}

/// A client that begins with this, perhaps in pieces, and hears what the program says.
fn proxied(server: &Server, from: [u8; 4], pieces: &[&[u8]]) -> String {
    let mut conn = server.connect_from(from);
    for piece in pieces {
        conn.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    // A connection that was dropped may be gone by now.
    let _ = conn.shutdown(Shutdown::Write);
    said(conn)
}

#[test]
fn a_trusted_proxy_tells_whose_connection_it_is() {
    let cdb = rules("proxies", "127.0.0.2:allow\n127.0.0.3:deny\n");
    let show = "echo $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT; cat";
    let mut server = start(&["-vRHl0", "-A60", "-a", &cdb], &["sh", "-c", show]);
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.2 123 25\r\n";
    let said = proxied(&server, [127, 0, 0, 2], &[&[&header[..], b"hi"].concat()]);
    assert_eq!(said, "192.0.2.1 123 198.51.100.2 25\nhi");
    assert_eq!(nameless(&server.line_of("tcpserver: pid")), "tcpserver: pid P from 192.0.2.1");
    let ok = "tcpserver: ok P 0:198.51.100.2:25 :192.0.2.1::123";
    assert_eq!(nameless(&server.line_of("tcpserver: ok")), ok);
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x07\0\x08";
    let said = proxied(&server, [127, 0, 0, 2], &[&binary[..20], &binary[20..], b"more"]);
    assert_eq!(said, "2001:db8::1 7 ::1 8\nmore");
    let said = proxied(&server, [127, 0, 0, 2], &[b"PROXY UNKNOWN\r\n"]);
    assert!(said.starts_with("127.0.0.2 "), "{said}");
}

#[test]
fn a_header_of_anybody_else_is_the_programs_to_judge() {
    let cdb = rules("strangers", "127.0.0.2:allow\n127.0.0.3:deny\n");
    let server = start(&["-RHl0", "-A60", "-a", &cdb], &["sh", "-c", "echo $TCPREMOTEIP; cat"]);
    for last in [1, 3] {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.2 123 25\r\n";
        let said = proxied(&server, [127, 0, 0, last], &[header]);
        assert_eq!(said, format!("127.0.0.{last}\n{}", String::from_utf8_lossy(header)));
    }
}

#[test]
fn a_proxy_without_a_header_is_dropped_and_holds_up_nobody() {
    let cdb = rules("silent", "127.0.0.2:allow\n");
    let mut server = start(&["-RHl0", "-c1", "-A1", "-a", &cdb], &["echo", "here"]);
    let silent: Vec<_> = (0..5).map(|_| server.connect_from([127, 0, 0, 2])).collect();
    assert_eq!(talk(&server), "here\n");
    assert!(silent.into_iter().all(|conn| said(conn).is_empty()));
    let late = "tcpserver: warning: dropping connection, proxy 127.0.0.2 did not send its PROXY header in time";
    assert_eq!(server.line(), late);
    let mut server = start(&["-RHl0", "-A60", "-a", &cdb], &["echo", "here"]);
    assert_eq!(proxied(&server, [127, 0, 0, 2], &[b"EHLO x\r\n"]), "");
    assert!(server.line().ends_with("proxy 127.0.0.2 did not begin with a PROXY header"));
    std::fs::remove_file(&*cdb).unwrap();
    assert_eq!(talk(&server), "");
    let line = format!(
        "tcpserver: warning: dropping connection, unable to read {cdb}: file does not exist"
    );
    assert_eq!(server.line(), line);
}

#[test]
fn limits_are_for_the_proxys_clients_and_not_for_the_proxy() {
    let cdb = rules("shares", "127.0.0.2:allow\n");
    let mut server = start(&["-RHl0", "-m1", "-A60", "-a", &cdb], &["cat"]);
    let client = |last: u8| {
        let mut conn = server.connect_from([127, 0, 0, 2]);
        let header = format!("PROXY TCP4 192.0.2.{last} 198.51.100.2 123 25\r\nx");
        conn.write_all(header.as_bytes()).unwrap();
        conn
    };
    let mut held: Vec<TcpStream> = (1..=3).map(client).collect();
    assert!(held.iter_mut().all(|conn| conn.read_exact(&mut [0]).is_ok()));
    assert_eq!(said(client(3)), "");
    assert_eq!(server.line(), "tcpserver: warning: dropping connection, 192.0.2.3 has 1 already");
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

#[test]
fn a_client_that_goes_while_it_has_to_wait_holds_no_place() {
    const WAIT: Duration = Duration::from_secs(60);
    let wait = WAIT.as_secs().to_string();
    let mut server = start(&["-c", "2"], &[BINARY, "rblsmtpd", "-w", &wait, "true"]);
    let begun = Instant::now();
    let gone = [server.connect(), server.connect()];
    gone.iter().for_each(|_| drop(server.line_of("rblsmtpd: ")));
    drop(gone);
    let _stays = server.connect();
    assert!(server.line_of("rblsmtpd: ").ends_with(&format!("greetdelay: {wait}")));
    assert!(begun.elapsed() < WAIT, "it had to wait for those who are gone");
}
