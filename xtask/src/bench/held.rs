//! Connections that have said something, held: each was handed to a clean parent of qmail-smtpd, which
//! has forked a process for it. Ours alone.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use sys::rlimit::{self, Resource};

use super::Peer;
use super::census::Census;
use super::idle::{Strangers, greeting, used};
use super::ours::Ours;
use crate::tally::Trouble;

/// Connections that come when all those are there.
const MORE: usize = 21;

/// Measures and prints.
pub(super) fn report(dir: &Path, count: u32) -> Result<(), Trouble> {
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let mut ours = Ours::start(dir)?;
    // Far more places than are taken, so that nobody has to hurry.
    ours.restart_after(|home| {
        let file = home.join("control/concurrencyincoming");
        let written = std::fs::write(&file, format!("{}\n", u64::from(count) * 10));
        written.map_err(|e| format!("{}: {e}", file.display()))
    })?;
    let address = ours.smtp().unwrap_or_default().to_owned();
    until_greeted(&address)?;
    println!("\nheld: {count} connections after EHLO, {}", limits());
    let (before, begun) = ((Census::of(ours.pid()), used()), Instant::now());
    let strangers = Strangers::come(&address, count, b"EHLO bench\r\n")?;
    let took = begun.elapsed().as_secs_f64();
    let machine = used().saturating_sub(before.1);
    let times = more(&address)?;
    let after = Census::of(ours.pid());
    let each = |kb: u64| kb as f64 / f64::from(count);
    println!(
        "  {} processes more, all there after {took:.1} s ({:.0} a second); {:.1} KiB of ours each, \
         {:.1} KiB of the machine's each with both ends' sockets and the clients; {MORE} more are \
         greeted and answered in {:.1} ms each (median; {:.1} at most)",
        after.processes.saturating_sub(before.0.processes),
        f64::from(count) / took,
        each(after.memory.saturating_sub(before.0.memory)),
        each(machine),
        super::median(&times),
        times.iter().copied().fold(0.0, f64::max),
    );
    drop(strangers);
    let begun = Instant::now();
    while Census::of(ours.pid()).processes > before.0.processes + MORE as u64 {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err("processes are left when their clients are gone".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("  all gone {:.1} s after their clients", begun.elapsed().as_secs_f64());
    Ok(())
}

/// What the machine lets us have.
fn limits() -> String {
    let file = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let soft = |what| rlimit::get(what).map_or(0, |(_, hard)| hard);
    format!(
        "where there may be {} processes, {} of a user, and {} descriptors in each",
        file("/proc/sys/kernel/pid_max"),
        file("/proc/sys/kernel/threads-max"),
        soft(Resource::Nofile)
    )
}

/// Milliseconds from the connection to the answer to EHLO, one client after the other.
fn more(address: &str) -> Result<Vec<f64>, Trouble> {
    let mut times = Vec::new();
    for _ in 0..MORE {
        let begun = Instant::now();
        let stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
        greeting(&stream)?;
        std::io::Write::write_all(&mut &stream, b"EHLO bench\r\n").map_err(|e| e.to_string())?;
        let mut room = [0; 512];
        std::io::Read::read(&mut &stream, &mut room).map_err(|e| e.to_string())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Waits for a server that has just been started.
fn until_greeted(address: &str) -> Result<(), Trouble> {
    let begun = Instant::now();
    while !TcpStream::connect(address).is_ok_and(|stream| greeting(&stream).is_ok()) {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("nobody is greeted".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
