//! The load: smtp-source for letters, our own threads for POP3.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{CONNECTIONS, Peer};
use crate::tally::Trouble;

/// The length of a letter in bytes.
const LETTER: &str = "4096";
/// How long a measurement may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Letters acknowledged per second.
pub(super) fn accept(
    address: &str,
    to: &str,
    letters: u32,
    keep_connection: bool,
) -> Result<f64, Trouble> {
    let begun = Instant::now();
    send(address, to, letters, keep_connection)?;
    Ok(f64::from(letters) / begun.elapsed().as_secs_f64())
}

/// Letters acknowledged and visible in the mailbox, per second.
pub(super) fn until_delivered(
    address: &str,
    peer: &dyn Peer,
    letters: u32,
) -> Result<f64, Trouble> {
    let begun = Instant::now();
    send(address, peer.recipient(), letters, true)?;
    while peer.delivered() < letters {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{}: only {} delivered", peer.name(), peer.delivered()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(f64::from(letters) / begun.elapsed().as_secs_f64())
}

fn send(address: &str, to: &str, letters: u32, keep_connection: bool) -> Result<(), Trouble> {
    let mut source = Command::new("/usr/sbin/smtp-source");
    source.args(["-s", &CONNECTIONS.to_string(), "-m", &letters.to_string(), "-l", LETTER]);
    source.args(["-f", "bench@example.net", "-t", to]);
    if keep_connection {
        source.arg("-d");
    }
    let out = source.arg(format!("inet:{address}")).stdin(Stdio::null()).output();
    let out = out.map_err(|e| format!("smtp-source: {e}"))?;
    if out.status.success() {
        Ok(())
    } else {
        Err(format!("smtp-source to {address}: {}", String::from_utf8_lossy(&out.stderr)))
    }
}

/// POP3 sessions per second.
pub(super) fn pop3(
    address: &str,
    login: &(String, String),
    sessions: u32,
    at_once: u32,
) -> Result<f64, Trouble> {
    session(address, login)?;
    let left = AtomicU32::new(sessions);
    let begun = Instant::now();
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    let work = || -> Result<(), Trouble> {
        while take().is_ok() {
            session(address, login)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread died".to_owned())?)
    })?;
    Ok(f64::from(sessions) / begun.elapsed().as_secs_f64())
}

/// Login, STAT, UIDL, QUIT; insists on ten letters.
fn session(address: &str, (user, password): &(String, String)) -> Result<(), Trouble> {
    let stream = TcpStream::connect(address).map_err(|e| format!("{address}: {e}"))?;
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut lines = BufReader::new(&stream);
    ok(&mut lines)?;
    for command in [format!("USER {user}\r\n"), format!("PASS {password}\r\n")] {
        say(&stream, &command)?;
        ok(&mut lines)?;
    }
    say(&stream, "STAT\r\n")?;
    let stat = ok(&mut lines)?;
    if !stat.starts_with("+OK 10 ") {
        return Err(format!("{address}: {stat}"));
    }
    say(&stream, "UIDL\r\n")?;
    while ok_or_data(&mut lines)? != ".\r\n" {}
    say(&stream, "QUIT\r\n")?;
    ok(&mut lines).map(drop)
}

fn say(mut stream: &TcpStream, command: &str) -> Result<(), Trouble> {
    stream.write_all(command.as_bytes()).map_err(|e| e.to_string())
}

fn ok_or_data(lines: &mut impl BufRead) -> Result<String, Trouble> {
    let mut line = String::new();
    match lines.read_line(&mut line).map_err(|e| e.to_string())? {
        0 => Err("the connection was closed".into()),
        _ => Ok(line),
    }
}

fn ok(lines: &mut impl BufRead) -> Result<String, Trouble> {
    let line = ok_or_data(lines)?;
    if line.starts_with("+OK") { Ok(line) } else { Err(line) }
}
