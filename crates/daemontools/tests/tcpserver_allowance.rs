//! Limits that rules give to addresses and networks, MAXCONNIP and MAXCONNC.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod listener;

use listener::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use yard::Yard;

/// A server of `cat` with these rules, which lie in the directory. Nobody knows any name.
fn start(name: &str, options: &str, rules: &[(&str, &str)]) -> (Server, Yard) {
    let dir = Yard::new(&format!("tcpserver-{name}"));
    let cdb = dir.join("rules.cdb");
    std::fs::write(&cdb, base::cdb::build(rules.iter().copied()).unwrap()).unwrap();
    let options = [options, "-x", cdb.to_str().unwrap()];
    let nobody = [("DNSCACHEIP", "127.0.0.1:1")];
    (Server::start("127.0.0.1", &options, &["cat"], &nobody), dir)
}

/// A connection from 127.0.0.N that is served, if it is.
fn hold(server: &Server, last: u8) -> Option<TcpStream> {
    let mut conn = server.connect_from([127, 0, 0, last]);
    let _ = conn.write_all(b"x");
    (conn.read_exact(&mut [0]).is_ok()).then_some(conn)
}

/// Ends a connection, and waits until it is counted out.
fn end(server: &mut Server, conn: Option<TcpStream>) {
    drop(conn.unwrap());
    while !server.line_of("tcpserver: end ").ends_with(" status 0") {}
}

/// Looks at the log's next refusal.
fn refused(server: &mut Server, from: &str, words: &str) {
    let line = server.line_of("tcpserver: deny ");
    let ends = line.contains(&format!(":{from}::")) && line.ends_with(words);
    assert!(ends, "{line}: {from}{words}");
    assert!(server.line_of("tcpserver: end ").ends_with(" status 25600"));
}

#[test]
fn a_rule_allows_its_clients_addresses_so_many_and_another_rule_more() {
    // With a name to look up a process finds out, without one the listener itself.
    for options in ["-vRHl0", "-vRl0"] {
        let rules = [("127.0.0.9", "+MAXCONNIP=3\0"), ("", "+MAXCONNIP=1\0")];
        let (mut server, _dir) = start("address", options, &rules);
        let first = hold(&server, 1);
        assert!(first.is_some() && hold(&server, 1).is_none());
        refused(&mut server, "127.0.0.1", " ip connection limit:1 exceeded");
        let others = [2, 9, 9, 9].map(|last| hold(&server, last));
        assert!(others.iter().all(Option::is_some) && hold(&server, 9).is_none());
        refused(&mut server, "127.0.0.9", " ip connection limit:3 exceeded");
        end(&mut server, first);
        assert!(hold(&server, 1).is_some(), "there is a place again");
    }
}

#[test]
fn a_rule_allows_its_clients_networks_so_many() {
    let (mut server, _dir) = start("network", "-vRHl0", &[("", "+MAXCONNC=2\0+MAXCONIP=9\0")]);
    let held = [hold(&server, 1), hold(&server, 2)];
    assert!(held.iter().all(Option::is_some) && hold(&server, 3).is_none());
    refused(&mut server, "127.0.0.3", " network connection limit:2 exceeded");
}
