//! Several letters over one session, with the test in qmail-rspawn's place.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::limits;
use store::home::Home;
use sys::pass::{self, Kind};
use sys::{fd, poll};

use super::jobs;
use yard::Yard;
use yard::patience::quick_once;

/// What is waited for, and what is said then. Behind the last the connection is closed.
type Script = Vec<(&'static str, &'static str)>;

const HELLO: [(&str, &str); 2] =
    [("", "220 hi\r\n"), ("EHLO me.test\r\n", "250-me\r\n250 PIPELINING\r\n")];
const TAKEN: [(&str, &str); 2] =
    [("DATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n"), ("\r\n.\r\n", "250 ok 7\r\n")];
const REFUSED: [(&str, &str); 1] = [("DATA\r\n", "250 ok\r\n550 no\r\n503 no\r\n")];
const ENVELOPE: &str = "MAIL FROM:<joe@a.test>\r\nRCPT TO:<x@sink.test>\r\nDATA\r\n";
const GOOD: &str = "Rr\0K127.0.0.1 accepted message.\nRemote host said: 250 ok 7\n\0";

fn script(parts: &[&[(&'static str, &'static str)]]) -> Script {
    parts.concat()
}

/// Takes one connection for each script; returns what was heard in each.
fn server(scripts: Vec<Script>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        scripts.iter().map(|script| play(&mut listener.accept().unwrap().0, script)).collect()
    });
    (port, thread)
}

fn play(client: &mut TcpStream, script: &Script) -> String {
    let (mut heard, mut begun) = (Vec::new(), 0);
    for (wanted, said) in script {
        let mut byte = [0];
        while !heard[begun..].ends_with(wanted.as_bytes()) {
            match client.read(&mut byte) {
                Ok(1) => heard.push(byte[0]),
                _ => return String::from_utf8(heard).unwrap(),
            }
        }
        begun = heard.len();
        // A server whose client is gone says nothing more.
        let _gone = client.write_all(said.as_bytes());
    }
    String::from_utf8(heard).unwrap()
}

/// A child of the clean parent, and our end of its channel.
struct Child {
    channel: OwnedFd,
    thread: JoinHandle<i32>,
    home: Yard,
}

impl Child {
    /// Starts with a first letter for `sink.test`, which is at `port`.
    fn start(port: u16, letter: &[u8]) -> Self {
        Self::start_within(port, letter, 60)
    }

    /// The same, and with so many seconds for each answer.
    fn start_within(port: u16, letter: &[u8], seconds: u32) -> Self {
        let home = Yard::new("remote");
        std::fs::create_dir_all(home.join("control")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.join(name), text).unwrap();
        write("control/me", "me.test\n");
        write("control/smtproutes", &format!(":127.0.0.1:{port}\n"));
        write("control/timeoutremote", &format!("{seconds}\n"));
        let (channel, theirs) = pass::pair(Kind::Seqpacket).unwrap();
        let fds = vec![fd::memfd("letter", letter).unwrap(), theirs];
        let of = Home::at(&home).unwrap();
        let thread = std::thread::spawn(move || jobs::serve(Some(&of), &payload("sink.test"), fds));
        Self { channel, thread, home }
    }

    /// Another letter for this host.
    fn job(&self, host: &str, letter: &[u8]) {
        let letter = fd::memfd("letter", letter).unwrap();
        pass::send(&self.channel, &payload(host), &[letter.as_fd()]).unwrap();
    }

    /// The next message; empty at the end.
    fn hear(&self) -> String {
        let wait = Some(Duration::from_secs(60));
        poll::ready(&[self.channel.as_fd()], poll::Interest::READ, wait).unwrap();
        let mut room = vec![0; limits::HANDOVER];
        match pass::recv(&self.channel, &mut room, 0) {
            Ok((length, _)) => String::from_utf8(room[..length].to_vec()).unwrap(),
            Err(err) if err.kind() == ErrorKind::ConnectionReset => String::new(),
            Err(err) => panic!("{err}"),
        }
    }

    /// The report of a job that is taken.
    fn report(&self) -> String {
        assert_eq!(self.hear(), "a");
        self.hear()
    }

    /// Its exit code, once it has ended without another word.
    fn end(self) -> i32 {
        assert_eq!(self.hear(), "");
        self.thread.join().unwrap()
    }
}

fn payload(host: &str) -> Vec<u8> {
    format!("{host}\0joe@a.test\0x@sink.test\0").into_bytes()
}

#[test]
fn letters_to_one_host_share_a_session_and_each_envelope_is_one_piece() {
    let parts: Vec<_> = std::iter::repeat_n(&TAKEN[..], 3).collect();
    let (port, server) =
        server(vec![script(&[&HELLO, &parts.concat(), &[("QUIT\r\n", "221 bye\r\n")]])]);
    let child = Child::start(port, b"one\n");
    assert_eq!(child.report(), GOOD);
    for letter in [&b"two\n"[..], &[b'.'; 200_000]] {
        child.job("Sink.Test", letter);
        assert_eq!(child.report(), GOOD);
    }
    assert_eq!(child.end(), 0);
    let heard = server.join().unwrap().remove(0);
    let dots = ".".repeat(200_001);
    let want = format!(
        "EHLO me.test\r\n{ENVELOPE}one\r\n.\r\n{ENVELOPE}two\r\n.\r\n{ENVELOPE}{dots}\r\n.\r\nQUIT\r\n"
    );
    assert_eq!(heard, want);
}

#[test]
fn a_session_that_no_other_letter_comes_for_is_ended_soon() {
    quick_once("leaving", limits::REMOTE_IDLE * 2, || {
        let (port, _server) =
            server(vec![script(&[&HELLO, &TAKEN, &[("QUIT\r\n", "221 bye\r\n")]])]);
        let child = Child::start(port, b"one\n");
        assert_eq!(child.report(), GOOD);
        let begun = Instant::now();
        assert_eq!(child.end(), 0);
        begun.elapsed()
    });
}

#[test]
fn a_server_that_hangs_up_between_letters_ends_the_child_without_a_word() {
    // Who waits for no reason does it that long.
    quick_once("the end", limits::REMOTE_IDLE, || {
        let (port, _server) = server(vec![script(&[&HELLO, &TAKEN])]);
        let child = Child::start(port, b"one\n");
        assert_eq!(child.report(), GOOD);
        let begun = Instant::now();
        assert_eq!(child.end(), 0);
        begun.elapsed()
    });
}

#[test]
fn a_letter_that_finds_the_session_dead_goes_over_a_new_one() {
    let tired = [("DATA\r\n", "421 enough\r\n")];
    let forgets =
        [("DATA\r\n", "503 who are you?\r\n503 what?\r\n503 what?\r\n"), ("QUIT\r\n", "")];
    let later = [("DATA\r\n", "250 ok\r\n250 ok\r\n421 busy\r\n")];
    let silent = [("DATA\r\n", "")];
    let twice = script(&[&HELLO, &TAKEN, &[]]);
    for end in [&tired[..], &forgets, &later, &silent] {
        let (port, server) = server(vec![script(&[&HELLO, &TAKEN, end]), twice.clone()]);
        let child = Child::start_within(port, b"one\n", if *end == silent { 4 } else { 60 });
        assert_eq!(child.report(), GOOD);
        child.job("sink.test", b"two\n");
        assert_eq!(child.report(), GOOD, "{end:?}");
        assert_eq!(child.end(), 0);
        let heard = server.join().unwrap();
        assert_eq!(heard[1], format!("EHLO me.test\r\n{ENVELOPE}two\r\n.\r\n"));
    }
}

#[test]
fn a_refused_letter_is_followed_by_another_in_the_same_session() {
    let (port, server) = server(vec![script(&[
        &HELLO,
        &REFUSED,
        &[("DATA\r\n", "250 reset\r\n250 ok\r\n250 ok\r\n354 go\r\n"), TAKEN[1]],
    ])]);
    let child = Child::start(port, b"one\n");
    let refused = "Rh127.0.0.1 does not like recipient.\nRemote host said: 550 no\n\0\
                   DGiving up on 127.0.0.1.\n\0";
    assert_eq!(child.report(), refused);
    child.job("sink.test", b"two\n");
    assert_eq!(child.report(), GOOD);
    assert_eq!(child.end(), 0);
    let heard = server.join().unwrap().remove(0);
    assert_eq!(heard, format!("EHLO me.test\r\n{ENVELOPE}RSET\r\n{ENVELOPE}two\r\n.\r\n"));
}

#[test]
fn answers_nobody_asked_for_are_no_answers_to_the_letter() {
    let eager = [("DATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n250 ok 7\r\n")];
    let (port, server) = server(vec![script(&[&HELLO, &eager, &[("never", "")]])]);
    let child = Child::start(port, b"one\n");
    assert_eq!(child.report(), "Rr\0ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n\0");
    assert_eq!(child.end(), 0);
    assert_eq!(server.join().unwrap(), [format!("EHLO me.test\r\n{ENVELOPE}")]);
}

#[test]
fn a_server_that_is_slow_is_waited_for_and_one_that_is_silent_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut slow, _) = listener.accept().unwrap();
        for (wanted, said) in [HELLO, TAKEN].concat() {
            play(&mut slow, &vec![(wanted, "")]);
            for byte in said.bytes() {
                std::thread::sleep(Duration::from_millis(10));
                slow.write_all(&[byte]).unwrap();
            }
        }
        play(&mut slow, &vec![("DATA\r\n", "")]);
        // The new connection gets no greeting either.
        let _second = listener.accept().unwrap();
        std::thread::sleep(Duration::from_secs(60));
    });
    let child = Child::start_within(port, b"one\n", 4);
    assert_eq!(child.report(), GOOD);
    child.job("sink.test", b"two\n");
    assert_eq!(child.report(), "RZConnected to 127.0.0.1 but connection died. (#4.4.2)\n\0");
    assert_eq!(child.end(), 0);
}

#[test]
fn another_host_or_other_settings_are_not_taken() {
    for change in ["host", "settings", "no letter"] {
        let (port, server) = server(vec![script(&[&HELLO, &TAKEN, &[("QUIT\r\n", "")]])]);
        let child = Child::start(port, b"one\n");
        assert_eq!(child.report(), GOOD);
        match change {
            "host" => child.job("other.test", b"two\n"),
            "settings" => {
                std::fs::write(child.home.join("control/smtproutes"), ":127.0.0.1:9\n").unwrap();
                // Settings are looked at ten times a second.
                std::thread::sleep(Duration::from_millis(200));
                child.job("sink.test", b"two\n");
            }
            _ => drop(pass::send(&child.channel, &payload("sink.test"), &[]).unwrap()),
        }
        assert_eq!(child.end(), 0, "{change}");
        assert!(server.join().unwrap()[0].ends_with("one\r\n.\r\nQUIT\r\n"));
    }
}

#[test]
fn a_session_carries_so_many_letters_and_no_more() {
    let most = limits::REMOTE_LETTERS as usize;
    let parts: Vec<_> = std::iter::repeat_n(&TAKEN[..], most).collect();
    let (port, server) = server(vec![script(&[&HELLO, &parts.concat(), &[("QUIT\r\n", "")]])]);
    let child = Child::start(port, b"x\n");
    for _ in 1..most {
        assert_eq!(child.report(), GOOD);
        child.job("sink.test", b"x\n");
    }
    assert_eq!(child.report(), GOOD);
    assert_eq!(child.end(), 0);
    let heard = server.join().unwrap().remove(0);
    assert_eq!(heard.matches(ENVELOPE).count(), most);
    assert!(heard.ends_with("QUIT\r\n"));
}

#[test]
fn what_has_no_home_or_is_no_order_is_reported_all_the_same() {
    for (order, want) in [
        (&b"sink.test\0\0x@y\0"[..], "RZUnable to switch to home directory. (#4.3.0)\n\0"),
        (b"sink.test\0", "RDI (qmail-remote) was invoked improperly. (#5.3.5)\n\0"),
        (b"sink.test\0\0x\0y\0", "RDI (qmail-remote) was invoked improperly. (#5.3.5)\n\0"),
    ] {
        let (channel, theirs) = pass::pair(Kind::Seqpacket).unwrap();
        let fds = vec![fd::memfd("letter", b"x\n").unwrap(), theirs];
        assert_eq!(jobs::serve(None, order, fds), 0);
        for want in ["a", want] {
            let mut room = vec![0; limits::HANDOVER];
            let (length, _) = pass::recv(&channel, &mut room, 0).unwrap();
            assert_eq!(room[..length], *want.as_bytes());
        }
    }
}
