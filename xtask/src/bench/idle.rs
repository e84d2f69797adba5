//! What strangers cost who say nothing, or little; what many sessions leave behind; how soon after
//! its start the server accepts a letter. Ours alone: the limits are absolute.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use sys::rlimit::{self, Resource};

use super::census::{Census, descendants, field};
use super::load::Load;
use super::ours::Ours;
use super::what::Stage;
use super::{Peer, latency};
use crate::tally::Trouble;

/// Strangers who say nothing.
pub(super) const SILENT: u32 = 20_000;
/// Strangers who say EHLO and nothing more.
const POLITE: u32 = 80;
/// How long a server has run before it is started again.
const REST: Duration = Duration::from_secs(2);
/// Connections from one address.
const EACH: u32 = 20;
/// Connections held by one process of ours.
const HELD: u32 = 5_000;
/// Sessions after which nothing may be left.
const SESSIONS: u32 = 100_000;

/// Measures and prints.
pub(super) fn report(dir: &Path) -> Result<(), Trouble> {
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let mut ours = Ours::start(dir)?;
    println!("\nidle: qmail-rs alone");
    start(&mut ours)?;
    silent(&ours)?;
    polite(&ours)?;
    flat(&mut ours)
}

/// From the start of svscan to the answer to the first letter.
fn start(ours: &mut Ours) -> Result<(), Trouble> {
    let mut took = Vec::new();
    for _ in 0..5 {
        // As after any quiet moment: what a server gets ready for its next start is ready.
        std::thread::sleep(REST);
        let begun = ours.restart()?;
        let (address, to) = (ours.smtp().unwrap_or_default().to_owned(), ours.recipient());
        while latency::send(&address, 1, 1, &|_| to.to_owned()).is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err("no letter is accepted".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let all: Vec<String> = took.iter().map(|ms| format!("{ms:.0}")).collect();
    println!(
        "  first letter after start: median {:.0} ms ({})",
        super::median(&took),
        all.join(", ")
    );
    Ok(())
}

/// Strangers who only connect: greeted, and that is all.
fn silent(ours: &Ours) -> Result<(), Trouble> {
    let before = (Census::of(ours.pid()), used());
    let strangers = Strangers::come(ours.smtp().unwrap_or_default(), SILENT, b"")?;
    std::thread::sleep(Duration::from_secs(1));
    let after = (Census::of(ours.pid()), used());
    let begun = Instant::now();
    let one = TcpStream::connect(ours.smtp().unwrap_or_default()).map_err(|e| e.to_string())?;
    greeting(&one)?;
    let greeted = begun.elapsed().as_secs_f64() * 1e3;
    let each = |kb: u64| kb as f64 / f64::from(SILENT);
    println!(
        "  {SILENT} silent connections: {:.2} KiB of ours each ({} processes more), {:.2} KiB of \
         the machine's each with both ends' sockets and the clients; one more is greeted in \
         {greeted:.1} ms",
        each(after.0.memory.saturating_sub(before.0.memory)),
        after.0.processes.saturating_sub(before.0.processes),
        each(after.1.saturating_sub(before.1)),
    );
    drop(strangers);
    Ok(())
}

/// Strangers who have said EHLO: each has a process.
fn polite(ours: &Ours) -> Result<(), Trouble> {
    let strangers = Strangers::come(ours.smtp().unwrap_or_default(), POLITE, b"EHLO bench\r\n")?;
    std::thread::sleep(Duration::from_secs(1));
    let private: Vec<u64> = descendants(ours.pid())
        .into_iter()
        .map(|pid| format!("/proc/{pid}"))
        .filter(|proc| {
            std::fs::read(format!("{proc}/cmdline"))
                .is_ok_and(|c| c.windows(11).any(|w| w == b"qmail-smtpd"))
        })
        .filter_map(|proc| {
            let part = |name| field(Path::new(&proc), "smaps_rollup", name);
            Some(part("Private_Clean:")? + part("Private_Dirty:")?)
        })
        .collect();
    let sum: u64 = private.iter().sum();
    println!(
        "  {POLITE} connections after EHLO: {:.1} KiB private each ({} processes of qmail-smtpd)",
        sum as f64 / f64::from(POLITE),
        private.len()
    );
    drop(strangers);
    Ok(())
}

/// Many sessions of one letter each, and what is left after.
fn flat(ours: &mut Ours) -> Result<(), Trouble> {
    let address = ours.smtp().unwrap_or_default().to_owned();
    let quarter = Load { letters: SESSIONS / 4, connections: 20, kept: false };
    for n in 0..5 {
        if n > 0 {
            quarter.accepted(&address, ours.recipient())?;
        }
        ours.ready(&Stage::Local)?;
        std::thread::sleep(Duration::from_secs(3));
        let Census { processes, descriptors, memory } = Census::of(ours.pid());
        println!(
            "  after {:6} sessions: {processes} processes, {descriptors} descriptors, {memory} KiB, \
             {} files in queue/",
            n * (SESSIONS / 4),
            ours.queue_files()
        );
    }
    Ok(())
}

/// Kilobytes of the machine that are not free.
pub(super) fn used() -> u64 {
    let meminfo = |name| field(Path::new("/proc"), "meminfo", name).unwrap_or(0);
    meminfo("MemTotal:").saturating_sub(meminfo("MemAvailable:"))
}

pub(super) fn greeting(stream: &TcpStream) -> Result<(), Trouble> {
    let limit = stream.set_read_timeout(Some(Duration::from_secs(30)));
    limit.map_err(|e| e.to_string())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(|e| e.to_string())?;
    if line.starts_with("220") { Ok(()) } else { Err(format!("{line:?} where 220 was due")) }
}

/// Processes of ours that hold connections.
pub(super) struct Strangers(Vec<Child>);

impl Strangers {
    /// They connect to the address, are greeted, and say the words.
    pub(super) fn come(address: &str, count: u32, words: &[u8]) -> Result<Self, Trouble> {
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut children = Vec::new();
        for first in (0..count).step_by(HELD as usize) {
            let mut command = Command::new(&me);
            command.args(["strangers", "--address", address, "--first", &first.to_string()]);
            command.args(["--count", &HELD.min(count - first).to_string()]);
            command.args(["--words", &String::from_utf8_lossy(words)]);
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            children.push(child.map_err(|e| e.to_string())?);
        }
        let mut strangers = Self(children);
        for child in &mut strangers.0 {
            let mut ready = [0; 6];
            let read = child.stdout.as_mut().map(|out| out.read_exact(&mut ready));
            if !matches!(read, Some(Ok(()))) {
                return Err("the strangers did not all get their greeting".into());
            }
        }
        Ok(strangers)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// Hold connections until the input ends; for the benchmark.
#[derive(Args)]
pub(crate) struct Hold {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    first: u32,
    #[arg(long)]
    count: u32,
    #[arg(long)]
    words: String,
}

impl Hold {
    /// Connects from several addresses, hears each greeting, says the words, says that all are
    /// there, and waits.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let (_, hard) = rlimit::get(Resource::Nofile).map_err(|e| e.to_string())?;
        rlimit::set_soft(Resource::Nofile, hard).map_err(|e| e.to_string())?;
        let mut held: Vec<OwnedFd> = Vec::new();
        for n in self.first..self.first + self.count {
            let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + n / EACH);
            let from = Some(SocketAddr::from((from, 0)));
            let stream = sys::net::connect(self.address, from, Duration::from_secs(30))
                .map_err(|e| format!("connection {n}: {e}"))?;
            greeting(&stream)?;
            if !self.words.is_empty() {
                (&stream).write_all(self.words.as_bytes()).map_err(|e| e.to_string())?;
                let mut room = [0; 512];
                (&stream).read(&mut room).map_err(|e| e.to_string())?;
            }
            held.push(stream.into());
        }
        println!("ready");
        let mut end = Vec::new();
        std::io::stdin().read_to_end(&mut end).map_err(|e| e.to_string())?;
        Ok(())
    }
}
