//! `qmail-remote` against a little server that says what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use super::courier::Courier;
use super::hosts::Target;
use super::site::Site;
use super::*;

/// Takes one connection after the other and gives each client these bytes, one piece for each line
/// it sends (`*`: for the letter up to its dot); hangs up when they are used up. Returns what it
/// heard.
fn server(scripts: Vec<Vec<&'static str>>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut heard = String::new();
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            let mut client = BufReader::new(stream);
            for piece in script {
                let (wait, said) = match piece.strip_prefix('*') {
                    Some(said) => ("\r\n.\r\n", said),
                    None => ("\n", piece),
                };
                if client.get_mut().write_all(said.as_bytes()).is_err() {
                    break;
                }
                let begun = heard.len();
                while !heard[begun..].ends_with(wait) {
                    if client.read_line(&mut heard).unwrap_or(0) == 0 {
                        break;
                    }
                }
            }
        }
        heard
    });
    (addr, thread)
}

/// A letter in a file without a name.
fn letter(text: &[u8]) -> Letter {
    Letter::from_start(File::from(fd::memfd("letter", text).unwrap()))
}

fn order() -> Order {
    Order {
        host: b"test".to_vec(),
        sender: b"joe@a.test".to_vec(),
        recipients: vec![b"x@test".to_vec()],
    }
}

/// As long as is waited for servers that do answer, if perhaps slowly.
const LONG: Duration = Duration::from_secs(60);

fn courier(addrs: &[SocketAddr], limit: Duration) -> Courier {
    let site = Site::for_test(limit);
    let targets: Vec<_> = addrs.iter().map(|&addr| Target { preference: 0, addr }).collect();
    Courier::with(site, Tcpto::of(&Home::at("/").unwrap()), b"test".to_vec(), targets)
}

fn one(courier: &mut Courier, text: &[u8]) -> Vec<String> {
    let items = courier.deliver(&order(), &mut letter(text));
    items.into_iter().map(|item| String::from_utf8(item).unwrap()).collect()
}

fn send(addrs: &[SocketAddr], text: &[u8]) -> Vec<String> {
    send_within(addrs, text, LONG)
}

fn send_within(addrs: &[SocketAddr], text: &[u8], limit: Duration) -> Vec<String> {
    let mut courier = courier(addrs, limit);
    let items = one(&mut courier, text);
    courier.leave();
    items
}

const YES: [&str; 5] = ["220 hi\r\n", "250 me\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"];

fn yes(rest: &[&'static str]) -> Vec<&'static str> {
    [&YES[..4], &["*354 go\r\n"], rest].concat()
}

#[test]
fn the_letter_arrives_stuffed_and_with_an_end_to_its_last_line() {
    let (addr, thread) = server(vec![yes(&["250 ok 7\r\n"])]);
    let items = send(&[addr], b"Subject: x\n\n.dot\nbare\rcr\r\nno end");
    assert_eq!(items, ["r", "K127.0.0.1 accepted message.\nRemote host said: 250 ok 7\n"]);
    assert_eq!(
        thread.join().unwrap(),
        "EHLO me.test\r\nMAIL FROM:<joe@a.test>\r\nRCPT TO:<x@test>\r\nDATA\r\n\
         Subject: x\r\n\r\n..dot\r\nbare cr\r\nno end\r\n.\r\nQUIT\r\n"
    );
}

#[test]
fn a_host_that_will_not_do_is_followed_by_the_next() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (addr, thread) = server(vec![
        vec!["421 busy\r\n"],
        vec!["554 never\r\n"],
        vec![],
        vec!["220 hi\r\n", "421 shutting down\r\n"],
        yes(&["250 ok\r\n"]),
    ]);
    let items = send(&[closed, addr, addr, addr, addr, addr], b"x\n");
    assert!(items[1].starts_with("K127.0.0.1 accepted message.\n"), "{items:?}");
    assert!(thread.join().unwrap().ends_with("x\r\n.\r\nQUIT\r\n"));
}

#[test]
fn if_nobody_will_do_the_last_answer_is_reported() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let none = "ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n";
    assert_eq!(send(&[closed], b"x\n"), [none]);
    let (addr, _thread) = server(vec![vec!["421 busy\r\n"]]);
    let items = send(&[closed, addr, closed], b"x\n");
    let busy = "ZConnected to 127.0.0.1 but greeting failed.\nRemote host said: 421 busy\n";
    assert_eq!(items, [busy]);
}

#[test]
fn what_is_lost_behind_the_dot_may_be_a_duplicate_and_nothing_else_may() {
    let died = "ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n";
    let twice = "ZConnected to 127.0.0.1 but connection died. Possible duplicate! (#4.4.2)\n";
    let (addr, _thread) = server(vec![YES[..3].to_vec()]);
    assert_eq!(send(&[addr], b"x\n"), [died]);
    let (addr, _thread) = server(vec![yes(&[])]);
    assert_eq!(send(&[addr], b"x\n"), ["r", twice]);
    let (addr, _thread) = server(vec![yes(&["25x junk\r\n"])]);
    assert_eq!(send(&[addr], b"x\n"), ["r", twice]);
}

#[test]
fn a_server_that_never_finishes_a_reply_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // To the end of a test that fails.
        let begun = std::time::Instant::now();
        while begun.elapsed() < LONG && stream.write_all(b"220-x\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let begun = std::time::Instant::now();
    let died = "ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n";
    assert_eq!(send_within(&[addr], b"x\n", Duration::from_millis(500)), [died]);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_does_not_read_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(YES.concat().as_bytes()).unwrap();
        std::thread::sleep(LONG);
    });
    let died = "ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n";
    let limit = Duration::from_secs(4);
    assert_eq!(send_within(&[addr], &[b'x'; 64 << 20], limit), ["r", died]);
}

#[test]
fn endless_replies_are_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endless = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(&[b'2'; 4_096]).is_ok() {}
    });
    let died = "ZConnected to 127.0.0.1 but connection died. (#4.4.2)\n";
    assert_eq!(send(&[endless], b"x\n"), [died]);
}

#[test]
fn a_report_is_items_with_nuls() {
    let (read, write) = fd::pipe().unwrap();
    assert_eq!(report(write.as_fd(), &[b"r".to_vec(), b"Ka\0b\n".to_vec()]), 0);
    drop(write);
    let mut bytes = Vec::new();
    File::from(read).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"r\0Ka?b\n\0");
}

#[test]
fn an_order_needs_a_host_a_sender_and_a_recipient() {
    assert_eq!(Order::from_text0(b"host\0\0"), None);
    assert_eq!(Order::from_text0(b"host\0\0a@b"), None);
    let order = Order::from_text0(b"host\0\0a@b\0").unwrap();
    assert_eq!((order.sender.len(), order.recipients), (0, vec![b"a@b".to_vec()]));
    let improper = deliver(None, Order::from_args(&["host".into()]), Ok(letter(b"")));
    assert_eq!(improper, [b"DI (qmail-remote) was invoked improperly. (#5.3.5)\n"]);
}
