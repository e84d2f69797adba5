//! The listener that greets in its program's place (`-f`): strangers who say nothing, who say too
//! much too soon, and who are too many. This file is both the test and the program served, as
//! `tcpserver_clean.rs` is. No harness, so that there is one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod listener;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use listener::{Server, myself};
use sys::brood::{self, CleanParent, Greeting, Serve};
use sys::{fd, signal};
use yard::Yard;

fn main() {
    if let Some(sock) = brood::requested() {
        let limits = Serve { max_children: 500, retire_after: 10_000 };
        brood::serve_as(sock, limits, Program).unwrap();
        return;
    }
    a_stranger_who_says_nothing_is_greeted_and_costs_no_process();
    the_program_is_told_what_was_said();
    an_early_talker_is_told_apart_and_told_of();
    silence_has_an_end();
    a_flood_from_one_address_makes_way_for_everybody_else();
    one_neighbourhood_does_not_take_every_place();
    who_comes_when_places_are_short_is_hurried();
    a_rule_can_have_the_program_greet_by_itself();
    who_waits_is_judged_by_the_last_rules_that_could_be_read();
    a_file_of_limits_counts_again_for_those_who_wait();
    an_address_has_its_share_of_silent_and_served_together();
    a_session_counts_although_its_clean_parent_is_gone();
    a_proxys_client_is_greeted_and_served_as_itself();
}

/// The program served: it greets with a stamp, as POP3 does, and does what the client's line says.
struct Program;

impl CleanParent for Program {
    fn greeting(&self) -> Option<Greeting> {
        Greeting::new(b"+OK <\0@test>\r\n")
    }

    fn child(&mut self, payload: &[u8], mut fds: Vec<OwnedFd>) -> i32 {
        let conn = fds.pop().unwrap();
        if payload.windows(9).any(|part| part == b"GREETED=\0") {
            fd::write_all(&conn, b"myself\n").unwrap();
        }
        let mut line = [0; 100];
        let got = fd::read(&conn, &mut line).unwrap();
        match line.get(..got).unwrap() {
            b"parent\n" => {
                let parent = std::os::unix::process::parent_id().to_string();
                fd::write_all(&conn, parent.as_bytes()).unwrap();
            }
            b"hold\n" => {
                fd::write_all(&conn, b"held\n").unwrap();
                let _ = fd::read(&conn, &mut line);
            }
            _ => fd::write_all(&conn, payload).unwrap(),
        }
        0
    }
}

/// A client and what it has read so far.
struct Client(BufReader<TcpStream>);

impl Client {
    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        let _ = self.0.read_to_string(&mut text);
        text
    }

    /// Whether the server has hung up.
    fn is_closed(&mut self) -> bool {
        let conn = self.0.get_mut();
        conn.set_nonblocking(true).unwrap();
        let closed = match conn.read(&mut [0; 1]) {
            Ok(got) => got == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        conn.set_nonblocking(false).unwrap();
        closed
    }
}

fn start(options: &[&str]) -> Server {
    Server::start("0", &[&["-fv"], options].concat(), &myself(), &[])
}

/// A client at an address of this host.
fn from(server: &Server, from: [u8; 4]) -> Client {
    Client(BufReader::new(server.connect_from(from)))
}

fn connect(server: &Server) -> Client {
    from(server, [127, 0, 0, 1])
}

/// Processes below the listener.
fn processes(server: &Server) -> usize {
    let mut count = 0;
    let mut pids = vec![server.child.id()];
    while let Some(pid) = pids.pop() {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let below = std::fs::read_to_string(path).unwrap_or_default();
        pids.extend(below.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
        count += below.split_whitespace().count();
    }
    count
}

fn a_stranger_who_says_nothing_is_greeted_and_costs_no_process() {
    let mut server = start(&[]);
    let mut clients: Vec<Client> = (0..50).map(|_| connect(&server)).collect();
    let mut greetings: Vec<String> = clients.iter_mut().map(Client::line).collect();
    assert!(greetings.iter().all(|line| line.starts_with("+OK <") && line.ends_with("@test>\r\n")));
    greetings.sort_unstable();
    greetings.dedup();
    assert_eq!(greetings.len(), 50);
    assert_eq!(processes(&server), 1);
    drop(clients);
    let line = server.line_of("tcpserver: silent");
    assert!(line.starts_with("tcpserver: silent 127.0.0.1 ") && line.ends_with(" gone"), "{line}");
}

fn the_program_is_told_what_was_said() {
    let mut server = start(&[]);
    let mut client = connect(&server);
    let greeting = client.line();
    client.say("x\n");
    let told = client.rest();
    assert!(told.contains(&format!("\0GREETED={}\0", greeting.trim_end())), "{told:?}");
    assert!(!told.contains("EARLYTALKER"));
    assert_eq!(server.line_of("tcpserver: status: 1"), "tcpserver: status: 1/40");
    server.line_of("tcpserver: pid ");
    server.line_of("tcpserver: ok ");
    assert!(server.line_of("tcpserver: e").starts_with("tcpserver: end "));
}

fn an_early_talker_is_told_apart_and_told_of() {
    let mut server = start(&["-e60000"]);
    let begun = Instant::now();
    let mut early = connect(&server);
    early.say("x\n");
    assert!(early.line().starts_with("+OK <"));
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(early.rest().contains("\0EARLYTALKER=1\0"));
    assert!(server.line_of("tcpserver: early ").ends_with(" from 127.0.0.1"));
    let server = start(&["-e1500"]);
    let begun = Instant::now();
    let mut patient = connect(&server);
    assert!(patient.line().starts_with("+OK <"));
    assert!(begun.elapsed() >= Duration::from_millis(1_490));
    patient.say("x\n");
    let told = patient.rest();
    assert!(told.contains("\0GREETED=+OK <") && !told.contains("EARLYTALKER"), "{told:?}");
}

fn silence_has_an_end() {
    let mut server = start(&["-w1"]);
    let begun = Instant::now();
    let mut client = connect(&server);
    client.line();
    assert_eq!(client.rest(), "");
    assert!(begun.elapsed().as_secs() >= 1);
    let line = server.line_of("tcpserver: silent");
    assert!(line.starts_with("tcpserver: silent 127.0.0.1 ") && line.ends_with(" late"), "{line}");
}

fn a_flood_from_one_address_makes_way_for_everybody_else() {
    let mut server = start(&["-i60", "-b1000"]);
    let mut early = from(&server, [127, 0, 0, 9]);
    assert!(early.line().starts_with("+OK"));
    let (mut flood, mut took) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        flood.extend((0..30).map(|_| from(&server, [127, 0, 0, 2])));
        // Whoever comes from elsewhere is greeted at once, and not sent away for the flood.
        let begun = Instant::now();
        let mut other = from(&server, [127, 0, 0, 3]);
        assert!(other.line().starts_with("+OK"));
        took.push(begun.elapsed());
        other.say("x\n");
        assert!(other.rest().contains("TCPREMOTEIP=127.0.0.3"));
    }
    assert!(took.iter().any(|took| *took < Duration::from_secs(1)), "{took:?}");
    let gone = server.line_of("tcpserver: silent");
    assert!(gone.starts_with("tcpserver: silent 127.0.0.2 ") && gone.ends_with(" crowded"));
    flood.iter_mut().for_each(|client| drop(client.line()));
    let there = flood.iter_mut().filter_map(|client| (!client.is_closed()).then_some(())).count();
    assert!((50..=59).contains(&there), "{there}");
    assert!(flood[..100].iter_mut().all(Client::is_closed));
    assert!(!early.is_closed());
}

fn one_neighbourhood_does_not_take_every_place() {
    let server = start(&["-c10", "-b1000"]);
    let mut held: Vec<Client> = (1..=20).map(|last| from(&server, [127, 0, 7, last])).collect();
    // Nine are served; those who wait are served when these have gone.
    for (number, client) in held.iter_mut().enumerate() {
        assert!(client.line().starts_with("+OK"));
        client.say("hold\n");
        assert!(number >= 9 || client.line() == "held\n");
    }
    let mut newcomer = from(&server, [127, 0, 8, 1]);
    newcomer.line();
    newcomer.say("x\n");
    assert!(newcomer.rest().contains("TCPREMOTEIP=127.0.8.1"));
    let mut waiting = held.split_off(9);
    assert!(waiting.iter_mut().all(|client| !client.is_closed()));
    drop(held);
    let next: Vec<String> = waiting.iter_mut().take(9).map(Client::line).collect();
    assert!(next.iter().all(|line| line == "held\n"), "{next:?}");
}

fn who_comes_when_places_are_short_is_hurried() {
    // What tcpserver was started with is nobody's.
    let server = Server::start("0", &["-fv", "-c20"], &myself(), &[("HURRY", "1")]);
    let ask = |last: [u8; 4], line: &str| {
        let mut client = from(&server, last);
        client.line();
        client.say(line);
        client
    };
    let hurried = |net: u8| ask([127, 0, net, 1], "x\n").rest().contains("\0HURRY=1\0");
    let hold = |net: u8| {
        let mut client = ask([127, 0, net, 2], "hold\n");
        assert_eq!(client.line(), "held\n");
        client
    };
    let mut held = vec![hold(7), hold(7), hold(7)];
    assert!(!hurried(7));
    held.push(hold(7));
    assert!(hurried(7), "four of one neighbourhood are many");
    assert!(!hurried(8));
    held.extend((10..16).map(hold));
    assert!(hurried(9), "half of all places are taken");
}

fn a_rule_can_have_the_program_greet_by_itself() {
    let dir = Yard::new("tcpserver-greets");
    let cdb = dir.join("rules.cdb");
    let write = |rules: [(&str, &str); 1]| {
        std::fs::write(&cdb, base::cdb::build(rules).unwrap()).unwrap();
    };
    write([("127.0.0.2", "+GREETED=\0")]);
    let server = start(&["-x", cdb.to_str().unwrap()]);
    assert_eq!(from(&server, [127, 0, 0, 2]).line(), "myself\n");
    assert!(from(&server, [127, 0, 0, 1]).line().starts_with("+OK"));
    // The rules count as they are now.
    write([("127.0.0.1", "+GREETED=\0")]);
    assert_eq!(from(&server, [127, 0, 0, 1]).line(), "myself\n");
    assert!(from(&server, [127, 0, 0, 2]).line().starts_with("+OK"));
}

fn who_waits_is_judged_by_the_last_rules_that_could_be_read() {
    let dir = Yard::new("tcpserver-seated");
    let cdb = dir.join("rules.cdb");
    let write = |rules: [(&str, &str); 1]| {
        std::fs::write(&cdb, base::cdb::build(rules).unwrap()).unwrap();
    };
    write([("127.0.0.1", "+RBLSMTPD=no\0")]);
    let server = start(&["-x", cdb.to_str().unwrap()]);
    let seated = || {
        let mut client = connect(&server);
        assert!(client.line().starts_with("+OK"));
        client
    };
    let (mut first, mut second, mut third) = (seated(), seated(), seated());
    // What is there cannot be read as a file, by root neither; then it is no database.
    std::fs::remove_file(&cdb).unwrap();
    std::fs::create_dir(&cdb).unwrap();
    assert_eq!(connect(&server).rest(), "");
    first.say("what\n");
    assert!(first.rest().contains("\0RBLSMTPD=no\0"));
    std::fs::remove_dir(&cdb).unwrap();
    std::fs::write(&cdb, "damaged").unwrap();
    assert_eq!(connect(&server).rest(), "");
    second.say("what\n");
    assert!(second.rest().contains("\0RBLSMTPD=no\0"));
    // Who is not wanted any more is not served.
    write([("127.0.0.1", "D\0")]);
    assert_eq!(connect(&server).rest(), "");
    third.say("what\n");
    assert_eq!(third.rest(), "");
}

fn a_file_of_limits_counts_again_for_those_who_wait() {
    let dir = Yard::new("tcpserver-zero");
    let file = dir.join("concurrency");
    std::fs::write(&file, "0\n").unwrap();
    let server = start(&["-c", file.to_str().unwrap()]);
    let mut client = connect(&server);
    assert!(client.line().starts_with("+OK"));
    client.say("what\n");
    std::thread::sleep(Duration::from_millis(100));
    assert!(!client.is_closed());
    std::fs::write(&file, "5\n").unwrap();
    assert!(client.rest().contains("TCPREMOTEIP=127.0.0.1"));
}

fn an_address_has_its_share_of_silent_and_served_together() {
    let mut server = start(&["-m2"]);
    let (mut first, mut second) = (connect(&server), connect(&server));
    assert!(first.line().starts_with("+OK") && second.line().starts_with("+OK"));
    first.say("hold\n");
    assert_eq!(first.line(), "held\n");
    assert_eq!(connect(&server).line(), "");
    let text = "tcpserver: warning: dropping connection, 127.0.0.1 has 2 already";
    assert_eq!(server.line_of("tcpserver: warning"), text);
    drop(second);
    server.line_of("tcpserver: silent");
    assert!(connect(&server).line().starts_with("+OK"));
}

fn a_session_counts_although_its_clean_parent_is_gone() {
    let mut server = start(&["-m1"]);
    let mut asking = connect(&server);
    asking.line();
    asking.say("parent\n");
    let parent: u32 = asking.rest().parse().unwrap();
    server.line_of("tcpserver: end ");
    let mut held = connect(&server);
    held.line();
    held.say("hold\n");
    assert_eq!(held.line(), "held\n");
    server.line_of("tcpserver: ok ");
    signal::kill(parent, signal::Signal::Kill).unwrap();
    server.line_of("tcpserver: warning:");
    assert_eq!(connect(&server).line(), "");
    server.line_of("tcpserver: warning: dropping");
    drop(held);
    assert!(server.line_of("tcpserver: end ").ends_with(" status -1"));
    assert!(connect(&server).line().starts_with("+OK"));
}

fn a_proxys_client_is_greeted_and_served_as_itself() {
    let dir = Yard::new("tcpserver-proxied");
    let cdb = dir.join("proxies.cdb");
    std::fs::write(&cdb, base::cdb::build([("127.0.0.2", "")]).unwrap()).unwrap();
    let mut server = start(&["-A1", "-a", cdb.to_str().unwrap()]);
    let mut silent = from(&server, [127, 0, 0, 2]);
    assert_eq!(silent.line(), "", "nobody is greeted before it is known who it is");
    assert!(server.line_of("tcpserver: warning: dropping connection, proxy").ends_with(" in time"));
    let mut server = start(&["-m1", "-A60", "-a", cdb.to_str().unwrap()]);
    let mut client = from(&server, [127, 0, 0, 2]);
    client.say("PROXY TCP4 192.0.2.1 198.51.100.2 123 25\r\n");
    assert!(client.line().starts_with("+OK <"));
    let mut second = from(&server, [127, 0, 0, 2]);
    second.say("PROXY TCP4 192.0.2.1 198.51.100.2 124 25\r\n");
    assert_eq!(second.line(), "", "its share is the client's, not the proxy's");
    client.say("x\n");
    let told = client.rest();
    for variable in
        ["TCPREMOTEIP=192.0.2.1", "TCPREMOTEPORT=123", "TCPLOCALIP=198.51.100.2", "TCPLOCALPORT=25"]
    {
        assert!(told.contains(&format!("{variable}\0")), "{told:?}");
    }
    assert!(server.line_of("tcpserver: ok ").ends_with(":198.51.100.2:25 :192.0.2.1::123"));
}
