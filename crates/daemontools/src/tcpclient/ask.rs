//! mconnect, tcpcat, who@, date@, finger@, http@: a question to a server, and what it answers.
//!
//! *Runs as* whoever calls them · *hears* the server, mconnect descriptor 0 too · *opens* what
//! tcpclient opens · *speaks to* the server; descriptor 1.

use super::options::Options;
use super::reach;
use super::shown::{Body, put_visible};
use crate::crlf::Change;
use crate::message::TEMPORARY;
use crate::relay::{self, Flow};
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use sys::signal::{self, Signal};

/// What is read at once.
const PIECE: usize = 16 << 10;
/// A failure of those that are pipes of programs is none: they end as the last one does.
const PIPED: i32 = 0;

/// `who@ [host]`: who is logged in (RFC 866).
pub(crate) fn who(args: &[OsString]) -> i32 {
    visible(args, "11", b"")
}

/// `date@ [host]`: what time it is (RFC 867).
pub(crate) fn date(args: &[OsString]) -> i32 {
    visible(args, "13", b"")
}

/// `finger@ [host [user]]`: who somebody is (RFC 1288).
pub(crate) fn finger(args: &[OsString]) -> i32 {
    let user = word(args, 2, "");
    visible(args, "79", &[user.as_bytes(), b"\r\n"].concat())
}

/// `http@ [host [page [port]]]`: a page, without its header.
pub(crate) fn http(args: &[OsString]) -> i32 {
    let (host, page, port) = (word(args, 1, "0"), word(args, 2, ""), word(args, 3, "80"));
    let question = [
        &b"GET /"[..],
        page.as_bytes(),
        b" HTTP/1.0\r\nHost: ",
        host.as_bytes(),
        b":",
        port.as_bytes(),
        b"\r\n\r\n",
    ];
    let mut body = Body::default();
    let asked = ask(host, port, &question.concat(), Change::remove(), |text, out| {
        body.take(text, out);
    });
    asked.map_or(PIPED, |()| {
        let _ = sys::fd::write_all(sys::fd::stdout(), body.end());
        0
    })
}

/// `tcpcat [host [port]]`: whatever a server says (port 17, quote of the day).
pub(crate) fn tcpcat(args: &[OsString]) -> i32 {
    let (host, port) = (word(args, 1, "0"), word(args, 2, "17"));
    let asked = ask(host, port, b"", Change::Nothing, |text, out| out.extend_from_slice(text));
    asked.map_or_else(|code| code, |()| 0)
}

/// `mconnect [host [port]]`: descriptor 0 to a server, with CRs, and what it says to descriptor 1.
pub(crate) fn mconnect(args: &[OsString]) -> i32 {
    let (host, port) = (word(args, 1, "0"), word(args, 2, "25"));
    signal::ignore(Signal::Pipe);
    let ends = reach::connect(&Options::plain(), host, port)
        .and_then(|sock| Ok((sock.try_clone().map_err(|_| TEMPORARY)?, sock)));
    match ends {
        Ok((up, down)) => talk(
            Flow::new(sys::fd::take(0), up.into(), Change::Add),
            Flow::new(down.into(), sys::fd::take(1), Change::Nothing),
        ),
        Err(code) => code,
    }
}

/// `mconnect-io`: the same for a connection on descriptors 6 and 7.
pub(crate) fn mconnect_io(_args: &[OsString]) -> i32 {
    signal::ignore(Signal::Pipe);
    talk(
        Flow::new(sys::fd::take(0), sys::fd::take(7), Change::Add),
        Flow::new(sys::fd::take(6), sys::fd::take(1), Change::Nothing),
    )
}

/// Passes both ways until the server closes; that there is no more input is not the end.
fn talk(up: Flow, down: Flow) -> i32 {
    relay::run(up, down).map_or(TEMPORARY, |()| 0)
}

/// An argument, or what stands for it.
fn word<'a>(args: &'a [OsString], at: usize, default: &'a str) -> &'a OsStr {
    args.get(at).map_or(OsStr::new(default), OsString::as_os_str)
}

/// Asks, and shows the answer such that it does nothing to a terminal.
fn visible(args: &[OsString], port: &str, question: &[u8]) -> i32 {
    let asked = ask(word(args, 1, "0"), OsStr::new(port), question, Change::remove(), put_visible);
    asked.map_or(PIPED, |()| 0)
}

/// Connects, asks, and writes the answer to descriptor 1; the error is an exit code.
fn ask(
    host: &OsStr,
    port: &OsStr,
    question: &[u8],
    change: Change,
    show: impl FnMut(&[u8], &mut Vec<u8>),
) -> Result<(), i32> {
    signal::ignore(Signal::Pipe);
    let sock = reach::connect(&Options::plain(), host, port)?;
    sys::fd::write_all(&sock, question).map_err(|_| TEMPORARY)?;
    pass(&sock, change, show).map_err(|_| TEMPORARY)
}

/// A connection that breaks is the end of the answer.
fn pass(
    sock: &TcpStream,
    mut change: Change,
    mut show: impl FnMut(&[u8], &mut Vec<u8>),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let got = sys::fd::read(sock, &mut piece).unwrap_or(0);
        let (mut text, mut out) = (Vec::new(), Vec::new());
        match piece.get(..got).filter(|piece| !piece.is_empty()) {
            Some(piece) => change.take(piece, &mut text),
            None => change.end(&mut text),
        }
        show(&text, &mut out);
        sys::fd::write_all(sys::fd::stdout(), &out)?;
        if got == 0 {
            return Ok(());
        }
    }
}
