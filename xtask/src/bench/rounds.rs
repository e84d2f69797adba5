//! One measurement: every server that can, in turns, round after round.

use std::path::Path;
use std::time::{Duration, Instant};

use super::account::{Account, median};
use super::batch::Batches;
use super::load::Load;
use super::sink::{Dead, Sink, Slow};
use super::what::{Better, Stage, What};
use super::{Bench, Peer, flushes, latency, load, mailbox, pop3};
use crate::tally::Trouble;

/// Connections at a time where the title says no number.
const CONNECTIONS: u32 = 20;
/// Domains behind the slow server.
const DOMAINS: u32 = 200;
/// How long it thinks.
const THINKS: Duration = Duration::from_millis(100);

/// Measures and prints.
pub(super) fn compare(
    what: What,
    bench: &Bench,
    peers: &mut [Box<dyn Peer>],
    dir: &Path,
) -> Result<(), Trouble> {
    let mut accounts: Vec<Account> = peers.iter().map(|_| Account::default()).collect();
    let mut batches = Batches::default();
    for _ in 0..bench.rounds {
        for (peer, account) in peers.iter_mut().zip(&mut accounts) {
            if address(what, peer.as_ref()).is_some() {
                one(what, bench, peer.as_mut(), dir, account)
                    .map_err(|why| format!("{}, {}: {why}", what.title(), peer.name()))?;
            }
        }
        if what == What::Sustained {
            let ours = peers.first_mut().ok_or("nobody to measure")?;
            ours.ready(&Stage::Held)?;
            let (address, to) = (ours.smtp().unwrap_or_default().to_owned(), ours.recipient());
            let load = Load { letters: bench.sustained, connections: CONNECTIONS, kept: true };
            batches.round(dir, load, &address, to)?;
        }
    }
    println!("\n{}", what.title());
    let ours = median(accounts.first().map_or(&[], |a| a.figures.as_slice()));
    for (peer, account) in peers.iter().zip(&accounts).filter(|(_, a)| !a.figures.is_empty()) {
        println!("{}", account.line(&peer.name(), ours, what.better()));
    }
    if what == What::Sustained {
        println!("{}", batches.beside.line("file system's batches, beside", ours, Better::More));
        println!("{}", batches.alone.line("file system's batches, alone", ours, Better::More));
    }
    Ok(())
}

fn address(what: What, peer: &dyn Peer) -> Option<String> {
    let address = if what.is_pop3() { peer.pop3() } else { peer.smtp() };
    address.map(str::to_owned)
}

/// One server, once.
fn one(
    what: What,
    bench: &Bench,
    peer: &mut dyn Peer,
    dir: &Path,
    account: &mut Account,
) -> Result<(), Trouble> {
    let address = address(what, peer).ok_or("it does not serve this")?;
    let many = |letters| Load { letters, connections: CONNECTIONS, kept: true };
    let before = |peer: &mut dyn Peer, stage| -> Result<Option<u64>, Trouble> {
        peer.ready(&stage)?;
        Ok(flushes::count(dir))
    };
    let mut counted = (None, bench.letters);
    let to = peer.recipient();
    let figure = match what {
        What::AcceptMany => {
            counted.0 = before(peer, Stage::Held)?;
            many(bench.letters).accepted(&address, to)?
        }
        What::AcceptOne => {
            counted.0 = before(peer, Stage::Held)?;
            Load { kept: false, ..many(bench.letters) }.accepted(&address, to)?
        }
        What::AcceptCrowd => {
            counted.0 = before(peer, Stage::Held)?;
            Load { connections: 100, ..many(bench.letters) }.accepted(&address, to)?
        }
        What::DotTo250 => {
            peer.ready(&Stage::Held)?;
            let to = |_| to.to_owned();
            let mut times = latency::send(&address, bench.letters, CONNECTIONS, &to)?;
            latency::quantile(&mut times, 0.99)
        }
        What::Local => {
            counted.0 = before(peer, Stage::Local)?;
            many(bench.letters).delivered(&address, peer)?
        }
        What::Sustained => {
            counted = (before(peer, Stage::Local)?, bench.sustained);
            many(bench.sustained).delivered(&address, peer)?
        }
        What::Relay => relay(&address, peer, bench.letters, dir)?,
        What::RelaySlow => slow_relay(&address, peer, bench.letters / 2, false)?,
        What::RelayDead => slow_relay(&address, peer, bench.letters / 2, true)?,
        What::Pop3Small | What::Pop3Warm | What::Pop3Cold | What::Pop3Indexed | What::Retr => {
            by_pop3(what, bench, peer, &address)?
        }
    };
    account.figures.push(figure);
    if let (Some(before), letters) = counted
        && let Some(after) = flushes::count(dir)
    {
        account.flushes.push((after - before) as f64 / f64::from(letters));
    }
    Ok(())
}

/// Letters per second until all are at smtp-sink.
fn relay(address: &str, peer: &mut dyn Peer, letters: u32, dir: &Path) -> Result<f64, Trouble> {
    let sink = Sink::start(dir)?;
    peer.ready(&Stage::Relay(vec![(None, sink.address.clone())]))?;
    let begun = Instant::now();
    Load { letters, connections: CONNECTIONS, kept: true }.send(address, "a@sink.test")?;
    let rate = load::until(begun, letters, || sink.letters());
    rate.map_err(|got| format!("{got} of {letters} arrived"))
}

/// Letters per second until those for the 200 domains are at the slow server; with `dead`, a tenth
/// more are for a domain that never answers.
fn slow_relay(
    address: &str,
    peer: &mut dyn Peer,
    letters: u32,
    dead: bool,
) -> Result<f64, Trouble> {
    let slow = Slow::start(THINKS)?;
    let nowhere = Dead::open([127, 0, 3, 1])?;
    let mut routes: Vec<_> = (0..DOMAINS)
        .map(|n| {
            let ip = format!("127.0.2.{}", n + 1);
            (Some(format!("d{n}.test")), format!("{ip}:{}", slow.port))
        })
        .collect();
    routes.push((Some("dead.test".into()), nowhere.address.to_string()));
    peer.ready(&Stage::Relay(routes))?;
    slow.reset();
    let total = if dead { letters + letters / 10 } else { letters };
    // Every eleventh, so that they come among the others.
    let to = |n: u32| match (dead, n % 11) {
        (true, 10) => "a@dead.test".to_owned(),
        _ => format!("a@d{}.test", n % DOMAINS),
    };
    let begun = Instant::now();
    latency::send(address, total, CONNECTIONS, &to)?;
    let alive = (0..total).filter(|&n| !to(n).contains("dead")).count() as u32;
    let rate = load::until(begun, alive, || slow.letters());
    rate.map_err(|got| format!("{got} of {alive} arrived"))
}

fn by_pop3(what: What, bench: &Bench, peer: &mut dyn Peer, address: &str) -> Result<f64, Trouble> {
    let login = peer.login();
    let small = Stage::Mailbox { letters: pop3::SMALL, bytes: 4_096 };
    let large = Stage::Mailbox { letters: bench.mailbox, bytes: 4_096 };
    match what {
        What::Pop3Small => {
            peer.ready(&small)?;
            pop3::sessions(address, &login, bench.sessions, CONNECTIONS)
        }
        What::Retr => {
            peer.ready(&Stage::Mailbox { letters: pop3::BIG.0, bytes: pop3::BIG.1 })?;
            // Once for the file system's sake.
            pop3::retrieval(address, &login, 1)?;
            pop3::retrieval(address, &login, 4)
        }
        What::Pop3Cold => {
            peer.ready(&large)?;
            mailbox::chill()?;
            pop3::listing(address, &login, bench.mailbox)
        }
        What::Pop3Indexed => {
            peer.ready(&large)?;
            pop3::listing(address, &login, bench.mailbox)?;
            pop3::listing(address, &login, bench.mailbox)
        }
        _ => {
            peer.ready(&large)?;
            pop3::listing(address, &login, bench.mailbox)
        }
    }
}
