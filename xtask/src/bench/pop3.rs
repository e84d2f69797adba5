//! The load on POP3 servers: clients of our own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::tally::Trouble;

/// Letters in the small mailbox.
pub(super) const SMALL: u32 = 10;
/// Letters and bytes of each in the mailbox for RETR.
pub(super) const BIG: (u32, usize) = (200, 100_000);

/// Sessions per second: login, STAT, UIDL, QUIT; insists on the small mailbox.
pub(super) fn sessions(
    address: &str,
    login: &(String, String),
    sessions: u32,
    at_once: u32,
) -> Result<f64, Trouble> {
    session(address, login)?;
    let left = AtomicU32::new(sessions);
    let begun = Instant::now();
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    threads(at_once, || -> Result<(), Trouble> {
        while take().is_ok() {
            session(address, login)?;
        }
        Ok(())
    })?;
    Ok(f64::from(sessions) / begun.elapsed().as_secs_f64())
}

/// Milliseconds from connecting to the end of UIDL; insists on so many letters.
pub(super) fn listing(
    address: &str,
    login: &(String, String),
    letters: u32,
) -> Result<f64, Trouble> {
    let begun = Instant::now();
    let mut client = Client::login(address, login)?;
    if client.stat()? != letters || client.uidl()? != letters {
        return Err(format!("{address}: not {letters} letters"));
    }
    let took = begun.elapsed().as_secs_f64() * 1e3;
    client.quit()?;
    Ok(took)
}

/// Megabytes per second of RETR, all letters of the mailbox on each of so many connections.
pub(super) fn retrieval(
    address: &str,
    login: &(String, String),
    at_once: u32,
) -> Result<f64, Trouble> {
    let begun = Instant::now();
    let total = std::sync::atomic::AtomicU64::new(0);
    threads(at_once, || {
        let mut client = Client::login(address, login)?;
        for n in 1..=client.stat()? {
            total.fetch_add(client.retr(n)?, Ordering::Relaxed);
        }
        client.quit()
    })?;
    let bytes = total.into_inner();
    if bytes < u64::from(BIG.0) * BIG.1 as u64 * u64::from(at_once) * 9 / 10 {
        return Err(format!("{address}: only {bytes} bytes came"));
    }
    Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

/// Logs in until that is welcome: qmail-pop3d refuses the first login to a mailbox that was replaced
/// under its clean parent, and asks to try again.
pub(super) fn try_again(address: &str, login: &(String, String)) -> Result<(), Trouble> {
    let mut said = Ok(());
    for _ in 0..20 {
        said = Client::login(address, login).and_then(Client::quit);
        if said.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    said
}

fn threads(count: u32, work: impl Fn() -> Result<(), Trouble> + Sync) -> Result<(), Trouble> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread died".to_owned())?)
    })
}

fn session(address: &str, login: &(String, String)) -> Result<(), Trouble> {
    let mut client = Client::login(address, login)?;
    if client.stat()? != SMALL || client.uidl()? != SMALL {
        return Err(format!("{address}: not {SMALL} letters"));
    }
    client.quit()
}

/// One session.
struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
    room: Vec<u8>,
}

impl Client {
    fn login(address: &str, (user, password): &(String, String)) -> Result<Self, Trouble> {
        let trouble = |e: std::io::Error| format!("{address}: {e}");
        let stream = TcpStream::connect(address).map_err(trouble)?;
        stream.set_nodelay(true).map_err(trouble)?;
        stream.set_read_timeout(Some(Duration::from_secs(120))).map_err(trouble)?;
        let lines = BufReader::with_capacity(256 << 10, stream.try_clone().map_err(trouble)?);
        let mut client = Self { stream, lines, room: Vec::new() };
        client.ok()?;
        client.ask(&format!("USER {user}\r\n"))?;
        client.ask(&format!("PASS {password}\r\n"))?;
        Ok(client)
    }

    fn ok(&mut self) -> Result<String, Trouble> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|e| e.to_string())?;
        if line.starts_with("+OK") { Ok(line) } else { Err(format!("{line:?} where +OK was due")) }
    }

    fn ask(&mut self, command: &str) -> Result<String, Trouble> {
        self.stream.write_all(command.as_bytes()).map_err(|e| e.to_string())?;
        self.ok()
    }

    /// How many letters there are.
    fn stat(&mut self) -> Result<u32, Trouble> {
        let said = self.ask("STAT\r\n")?;
        let count = said.split(' ').nth(1).and_then(|n| n.parse().ok());
        count.ok_or_else(|| format!("{said:?} for STAT"))
    }

    /// How many lines the list has.
    fn uidl(&mut self) -> Result<u32, Trouble> {
        self.ask("UIDL\r\n")?;
        let mut lines = 0;
        loop {
            self.room.clear();
            self.lines.read_until(b'\n', &mut self.room).map_err(|e| e.to_string())?;
            match self.room.as_slice() {
                b".\r\n" => return Ok(lines),
                b"" => return Err("the list was cut".into()),
                _ => lines += 1,
            }
        }
    }

    /// Bytes of one letter as they came; looks at the end only, as the client must not be what is
    /// measured.
    fn retr(&mut self, n: u32) -> Result<u64, Trouble> {
        self.ask(&format!("RETR {n}\r\n"))?;
        let (mut total, mut tail) = (0, Vec::new());
        self.room.resize(256 << 10, 0);
        loop {
            let read = self.lines.read(&mut self.room).map_err(|e| e.to_string())?;
            let piece =
                self.room.get(..read).filter(|p| !p.is_empty()).ok_or("a letter was cut")?;
            total += read as u64;
            tail.extend_from_slice(piece.get(read.saturating_sub(5)..).unwrap_or_default());
            tail.drain(..tail.len().saturating_sub(5));
            if tail == b"\r\n.\r\n" {
                return Ok(total);
            }
        }
    }

    fn quit(mut self) -> Result<(), Trouble> {
        self.ask("QUIT\r\n").map(drop)
    }
}
