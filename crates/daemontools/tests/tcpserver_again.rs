//! The listener with clean parents whose children serve their client again: who gets the same
//! process, who never does, and until when. This file is both the test and the program served. No
//! harness, so that there is one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod listener;

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use listener::{LONG, Server, myself};
use sys::brood::{self, CleanParent, Greeting, Serve};
use sys::fd;
use sys::watch::Watch;
use yard::Yard;

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];
/// The variable that names the directory whose files the program reads.
const FILES: &str = "TEST_FILES";

fn main() {
    if let Some(sock) = brood::requested() {
        let limits = Serve { max_children: 500, retire_after: 10_000 };
        let files = PathBuf::from(std::env::var_os(FILES).unwrap());
        let watch = Watch::on_contents(&[&files]).unwrap();
        brood::serve_as(sock, limits, Program { watch, served: 0 }).unwrap();
        return;
    }
    patiently(a_client_that_keeps_coming_is_served_by_one_process_until_its_second_is_over);
    patiently(no_other_client_is_served_by_it);
    patiently(a_session_that_ends_badly_is_its_process_s_last);
    patiently(a_killed_child_ends_its_session_once);
    patiently(what_the_program_reads_anew_counts_for_the_next_connection);
}

/// How often the test at hand has been tried, and whether a session was so slow this time that a
/// child's one second may have been over too soon.
static TRIES: AtomicU64 = AtomicU64::new(0);
static SLOW: AtomicBool = AtomicBool::new(false);
/// What one session may take of it.
const QUICK: Duration = Duration::from_millis(100);

/// A busy machine may take a child's one second away, but not each time, and where it was not busy
/// not five times.
fn patiently(test: fn()) {
    let (began, mut failures) = (Instant::now(), 0);
    TRIES.store(0, Ordering::Relaxed);
    while began.elapsed() < LONG {
        TRIES.fetch_add(1, Ordering::Relaxed);
        SLOW.store(false, Ordering::Relaxed);
        if std::panic::catch_unwind(test).is_ok() {
            return;
        }
        failures += u32::from(!SLOW.load(Ordering::Relaxed));
        assert!(failures < 5);
    }
    yard::skipped("a few sessions take this machine more than a second");
}

/// Says who serves, and for which time; then does what the client's line says.
struct Program {
    watch: Watch,
    served: u32,
}

impl CleanParent for Program {
    fn greeting(&self) -> Option<Greeting> {
        Greeting::new(b"hello\r\n")
    }

    fn serves_again(&self) -> bool {
        true
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watch.as_fd())
    }

    fn refresh(&mut self, told: bool) -> bool {
        if told {
            self.watch.drain();
        }
        told
    }

    fn child(&mut self, payload: &[u8], mut fds: Vec<OwnedFd>) -> i32 {
        assert_eq!(fds.len(), 1, "only the connection is the program's");
        let conn = fds.pop().unwrap();
        self.served += 1;
        let port = payload.split(|c| *c == 0).find_map(|v| v.strip_prefix(b"TCPREMOTEPORT="));
        let port = String::from_utf8_lossy(port.unwrap()).into_owned();
        let told = format!("{} {} {port}\n", std::process::id(), self.served);
        fd::write_all(&conn, told.as_bytes()).unwrap();
        let mut line = [0; 100];
        let got = fd::read(&conn, &mut line).unwrap();
        match line.get(..got).unwrap() {
            b"bad\n" => 1,
            b"die\n" => {
                sys::signal::kill(std::process::id(), sys::signal::Signal::Kill).unwrap();
                0
            }
            _ => 0,
        }
    }
}

/// The process that served a client, and for which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    pid: u32,
    times: u32,
}

/// A whole session from an address; its end has been logged.
fn session(server: &mut Server, from: [u8; 4], line: &str) -> Told {
    let began = Instant::now();
    let mut conn = server.connect_from(from);
    conn.write_all(line.as_bytes()).unwrap();
    let port = conn.local_addr().unwrap().port();
    let mut said = String::new();
    conn.read_to_string(&mut said).unwrap();
    let words: Vec<u32> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [pid, times, told_port] = words[..] else { panic!("{said:?}") };
    assert_eq!(told_port, u32::from(port), "it is told of this connection, not the last");
    server.line_of(&format!("tcpserver: pid {pid} from "));
    let end = server.line_of("tcpserver: end ");
    assert!(end.starts_with(&format!("tcpserver: end {pid} ")), "{end}");
    assert_eq!(server.line_of("tcpserver: status"), "tcpserver: status: 0/40");
    SLOW.fetch_or(began.elapsed() > QUICK, Ordering::Relaxed);
    Told { pid, times }
}

fn start() -> (Server, Yard) {
    let files = Yard::new("tcpserver-again");
    let server = Server::start("0", &["-fv"], &myself(), &[(FILES, files.to_str().unwrap())]);
    (server, files)
}

fn a_client_that_keeps_coming_is_served_by_one_process_until_its_second_is_over() {
    let (mut server, _files) = start();
    // The first is a stranger's; the end of its process makes it known.
    let stranger = session(&mut server, HERE, "x\n");
    let first = session(&mut server, HERE, "x\n");
    assert_eq!((stranger.times, first.times), (1, 1));
    assert_ne!(stranger.pid, first.pid);
    assert_eq!(session(&mut server, HERE, "x\n"), Told { times: 2, ..first });
    assert_eq!(session(&mut server, HERE, "x\n"), Told { times: 3, ..first });
    std::thread::sleep(Duration::from_millis(1_100));
    let later = session(&mut server, HERE, "x\n");
    assert_eq!(later.times, 1);
    assert_ne!(later.pid, first.pid);
}

fn no_other_client_is_served_by_it() {
    let (mut server, _files) = start();
    session(&mut server, HERE, "x\n");
    session(&mut server, THERE, "x\n");
    let here = session(&mut server, HERE, "x\n");
    let there = session(&mut server, THERE, "x\n");
    assert_ne!(here.pid, there.pid);
    assert_eq!(session(&mut server, HERE, "x\n"), Told { times: 2, ..here });
    assert_eq!(session(&mut server, THERE, "x\n"), Told { times: 2, ..there });
}

fn a_session_that_ends_badly_is_its_process_s_last() {
    let (mut server, _files) = start();
    session(&mut server, HERE, "x\n");
    let known = session(&mut server, HERE, "x\n");
    assert_eq!(session(&mut server, HERE, "bad\n"), Told { times: 2, ..known });
    assert_ne!(session(&mut server, HERE, "x\n").pid, known.pid);
}

fn a_killed_child_ends_its_session_once() {
    let (mut server, _files) = start();
    session(&mut server, HERE, "x\n");
    let known = session(&mut server, HERE, "x\n");
    assert_eq!(session(&mut server, HERE, "die\n"), Told { times: 2, ..known });
    // The status of each session shows that none was counted out twice.
    let fresh = session(&mut server, HERE, "x\n");
    assert_eq!(fresh.times, 1);
    assert_eq!(session(&mut server, HERE, "x\n").times, 2);
}

fn what_the_program_reads_anew_counts_for_the_next_connection() {
    let (mut server, files) = start();
    session(&mut server, HERE, "x\n");
    let before = session(&mut server, HERE, "x\n");
    std::fs::write(files.join("me"), b"another name\n").unwrap();
    // The clean parent is told by the kernel; how soon is the kernel's business.
    let tries = TRIES.load(Ordering::Relaxed).min(8);
    std::thread::sleep(Duration::from_millis(50) * u32::try_from(tries).unwrap());
    let after = session(&mut server, HERE, "x\n");
    assert_eq!(after.times, 1);
    assert_ne!(after.pid, before.pid);
}
