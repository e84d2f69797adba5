//! Clients of our own, where smtp-source cannot say it: how long from the dot to the answer, and
//! letters for many domains.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::tally::Trouble;

/// Sends letters over connections that are kept; `to` names the recipient of each. How long each
/// took from the dot to its answer.
pub(super) fn send(
    address: &str,
    letters: u32,
    connections: u32,
    to: &(dyn Fn(u32) -> String + Sync),
) -> Result<Vec<Duration>, Trouble> {
    let next = AtomicU32::new(0);
    let work = || client(address, &next, letters, to);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread died".to_owned())??);
        }
        Ok(all)
    })
}

/// The smallest time that `share` of them do not exceed, in milliseconds.
pub(super) fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
}

/// One connection.
fn client(
    address: &str,
    next: &AtomicU32,
    letters: u32,
    to: &(dyn Fn(u32) -> String + Sync),
) -> Result<Vec<Duration>, Trouble> {
    let mut stream = TcpStream::connect(address).map_err(|e| format!("{address}: {e}"))?;
    let limit =
        stream.set_nodelay(true).and(stream.set_read_timeout(Some(Duration::from_secs(60))));
    limit.map_err(|e| e.to_string())?;
    let mut replies = BufReader::new(stream.try_clone().map_err(|e| e.to_string())?);
    let mut say = |text: &str, code: &str| -> Result<(), Trouble> {
        stream.write_all(text.as_bytes()).map_err(|e| format!("{address}: {e}"))?;
        expect(&mut replies, code)
    };
    say("", "220")?;
    say("HELO bench\r\n", "250")?;
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let body = format!("Subject: bench\r\n\r\n{}.\r\n", line.repeat(63));
    let mut times = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= letters {
            break;
        }
        say("MAIL FROM:<bench@example.net>\r\n", "250")?;
        say(&format!("RCPT TO:<{}>\r\n", to(n)), "250")?;
        say("DATA\r\n", "354")?;
        let begun = Instant::now();
        say(&body, "250")?;
        times.push(begun.elapsed());
    }
    say("QUIT\r\n", "221")?;
    Ok(times)
}

fn expect(replies: &mut impl BufRead, code: &str) -> Result<(), Trouble> {
    let mut line = String::new();
    loop {
        line.clear();
        replies.read_line(&mut line).map_err(|e| e.to_string())?;
        if !line.starts_with(code) {
            return Err(format!("{line:?} where {code} was due"));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
