//! What qmail-lspawn and qmail-rspawn have in common (stock `spawn.c`): commands in, deliveries
//! side by side, reports out in whatever order they end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use base::outcome::Outcome;
use base::wire::frame;
use base::wire::spawn::{Delivery, MAX_DELIVERY, Report};
use store::client::QueueClient;
use store::home::Home;
use sys::clock;
use sys::fd;
use sys::poll::{self, Interest};
use sys::signal::{Signal, Signals};
use sys::spawn::{self, Status};

/// Deliveries at a time.
const CEILING: u32 = 120;
/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// A verdict and its text, as they go to qmail-send.
pub(crate) type Verdict = (Outcome, Vec<u8>);

/// How the process of a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// So.
    Known(Status),
    /// Nobody will tell: who would have seen it is gone. It may go on until its output ends.
    Lost,
}

/// What one of the two spawners does in its own way.
pub(crate) trait Spawner {
    /// Bytes of one delivery's output that are kept.
    const OUTPUT: usize;

    /// Starts a delivery. It ends when `out` is closed everywhere and [`Spawner::endings`] has
    /// told its ending.
    ///
    /// # Errors
    /// The verdict, if it cannot even be started (or needs no start).
    fn start(
        &mut self,
        slot: u32,
        delivery: &Delivery<'_>,
        letters: &mut Letters,
        out: OwnedFd,
    ) -> Result<(), Verdict>;

    /// Descriptors that become readable when [`Spawner::endings`] has news, beside SIGCHLD.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// The deliveries that have ended since; must not wait.
    fn endings(&mut self) -> Vec<(u32, Ending)>;

    /// What to report of a delivery. `output` may be cut at [`Spawner::OUTPUT`] bytes.
    fn judge(&self, ending: Ending, output: &[u8]) -> Verdict;
}

/// How long a queued that went away may take to come back before deliveries are put off: its
/// supervise starts it again at once, a deferral would cost the letter minutes.
const QUEUED_BACK: Duration = Duration::from_secs(3);
/// How long a queued that is there may take to hand a letter out: it only looks it up, and all other
/// deliveries wait as long.
const HAND_OUT: Duration = Duration::from_secs(10);
/// The pause between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether an error says that nobody answers at queued's socket, rather than that it said no.
fn is_away(err: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let away = [Kind::ConnectionRefused, Kind::NotFound, Kind::BrokenPipe];
    away.contains(&err.kind()) || matches!(err.kind(), Kind::UnexpectedEof | Kind::ConnectionReset)
}

/// The queue's letters, over one connection that is made anew when it breaks.
pub(crate) struct Letters {
    home: Home,
    queued: Option<QueueClient>,
    /// Since when nobody answers: the wait for that is one for all orders, not one for each.
    away_since: Option<Duration>,
}

impl Letters {
    fn new(home: Home) -> Self {
        Self { home, queued: None, away_since: None }
    }

    /// The letter's bytes.
    ///
    /// # Errors
    /// The verdict of stock for a letter that cannot be opened.
    pub(crate) fn open(&mut self, letter: u64) -> Result<OwnedFd, Verdict> {
        loop {
            match self.attempt(letter) {
                Ok(letter) => {
                    self.away_since = None;
                    return Ok(letter);
                }
                Err(err) if is_away(&err) && self.may_be_back() => clock::sleep(AGAIN),
                Err(_) => {
                    let text = b"qmail-spawn unable to open message. (#4.3.0)\n";
                    return Err((Outcome::Later, text.to_vec()));
                }
            }
        }
    }

    /// Whether a queued that does not answer has not been away for long.
    fn may_be_back(&mut self) -> bool {
        let now = clock::monotonic();
        now.saturating_sub(*self.away_since.get_or_insert(now)) < QUEUED_BACK
    }

    fn attempt(&mut self, letter: u64) -> io::Result<OwnedFd> {
        let mut queued = match self.queued.take() {
            Some(queued) => queued,
            None => QueueClient::connect(&self.home)?.patient(HAND_OUT),
        };
        let opened = queued.open(letter);
        if opened.is_ok() {
            self.queued = Some(queued);
        }
        opened.map(|(letter, _size)| letter)
    }
}

/// Deliveries that are children of ours: their slots by pid.
#[derive(Debug, Default)]
pub(crate) struct Children(BTreeMap<u32, u32>);

impl Children {
    /// A child makes the delivery of this slot.
    pub(crate) fn add(&mut self, pid: u32, slot: u32) {
        self.0.insert(pid, slot);
    }

    /// The slots whose child has ended since; does not wait.
    pub(crate) fn endings(&mut self) -> Vec<(u32, Ending)> {
        let mut endings = Vec::new();
        while let Ok(Some((pid, status))) = spawn::reap() {
            endings.extend(self.0.remove(&pid).map(|slot| (slot, Ending::Known(status))));
        }
        endings
    }
}

/// A delivery under way.
struct Running {
    output: Vec<u8>,
    /// Its output; `None` at its end.
    pipe: Option<OwnedFd>,
    ending: Option<Ending>,
}

/// Serves descriptors 0 and 1 until the commands end and all deliveries are done. The exit code.
pub(crate) fn serve<S: Spawner>(name: &str, spawner: impl FnOnce(&Home) -> S) -> i32 {
    let home = match Home::find() {
        Ok(home) => home,
        Err(err) => {
            let _ = writeln!(io::stderr(), "{name}: fatal: {err}");
            return 111;
        }
    };
    let spawner = spawner(&home);
    let letters = Letters::new(home);
    let Ok(signals) = Signals::catch(&[Signal::Chld]) else { return 111 };
    let (running, commands) = (BTreeMap::new(), Vec::new());
    let mut server = Server { spawner, letters, signals, running, commands, hearing: true };
    server.run().map_or(111, |()| 0)
}

struct Server<S> {
    spawner: S,
    letters: Letters,
    signals: Signals,
    running: BTreeMap<u32, Running>,
    commands: Vec<u8>,
    hearing: bool,
}

/// What became readable.
#[derive(Default)]
struct News {
    commands: bool,
    signals: bool,
    endings: bool,
    outputs: Vec<u32>,
}

impl<S: Spawner> Server<S> {
    fn run(&mut self) -> io::Result<()> {
        report(Report::Ceiling(CEILING))?;
        while self.hearing || !self.running.is_empty() {
            let news = self.wait()?;
            for slot in news.outputs {
                self.read_output(slot);
            }
            if news.signals {
                while self.signals.next()?.is_some() {}
            }
            if news.signals || news.endings {
                for (slot, ending) in self.spawner.endings() {
                    if let Some(running) = self.running.get_mut(&slot) {
                        running.ending = Some(ending);
                    }
                }
            }
            self.report_ended()?;
            if news.commands {
                self.hear()?;
            }
        }
        Ok(())
    }

    /// Waits until something can be read.
    fn wait(&self) -> io::Result<News> {
        let mut fds = vec![self.signals.as_fd()];
        if self.hearing {
            fds.push(fd::stdin());
        }
        let open = self.running.iter().filter_map(|(slot, r)| Some((*slot, r.pipe.as_ref()?)));
        let (slots, pipes): (Vec<u32>, Vec<_>) = open.map(|(s, pipe)| (s, pipe.as_fd())).unzip();
        fds.extend(pipes);
        fds.extend(self.spawner.descriptors());
        let ready = poll::ready(&fds, Interest::READ, None)?;
        let mut ready = ready.into_iter();
        Ok(News {
            signals: ready.next().unwrap_or(false),
            commands: self.hearing && ready.next().unwrap_or(false),
            outputs: slots.into_iter().zip(ready.by_ref()).filter(|s| s.1).map(|s| s.0).collect(),
            endings: ready.any(|ready| ready),
        })
    }

    /// Reads some of a delivery's output. What is over the bound is read too, so that the delivery
    /// can go on, and dropped.
    fn read_output(&mut self, slot: u32) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        let Some(pipe) = &running.pipe else { return };
        let mut piece = vec![0; PIECE];
        let n = fd::read(pipe, &mut piece).unwrap_or(0);
        if n == 0 {
            running.pipe = None;
        }
        // One more than is kept, so that it can be seen that there was more.
        let room = S::OUTPUT.saturating_add(1).saturating_sub(running.output.len());
        running.output.extend(piece.iter().take(n.min(room)));
    }

    /// Reports every delivery whose output and process have both ended.
    fn report_ended(&mut self) -> io::Result<()> {
        let (spawner, running) = (&self.spawner, &mut self.running);
        let ended = running.extract_if(.., |_, r| r.pipe.is_none() && r.ending.is_some());
        for (slot, running) in ended {
            let Some(ending) = running.ending else { continue };
            let (outcome, text) = spawner.judge(ending, &running.output);
            report(Report::Ended { slot, outcome: Some(outcome), text: &text })?;
        }
        Ok(())
    }

    /// Takes what commands have come. Nonsense ends us: only qmail-send writes here.
    fn hear(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let n = fd::read(fd::stdin(), &mut piece)?;
        self.hearing = n > 0;
        self.commands.extend(piece.iter().take(n));
        let commands = std::mem::take(&mut self.commands);
        let mut rest = &commands[..];
        let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
        while let Some((frame, used)) = frame::take(rest, MAX_DELIVERY).map_err(malformed)? {
            let delivery = Delivery::decode(frame).map_err(malformed)?;
            if let Err((outcome, text)) = self.start(&delivery) {
                let slot = delivery.slot;
                report(Report::Ended { slot, outcome: Some(outcome), text: &text })?;
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        self.commands = rest.to_vec();
        Ok(())
    }

    fn start(&mut self, delivery: &Delivery<'_>) -> Result<(), Verdict> {
        let later = |text: &str| (Outcome::Later, text.as_bytes().to_vec());
        let slot = delivery.slot;
        if self.running.contains_key(&slot) {
            return Err(later("Internal error: delnum in use. (#4.3.5)\n"));
        }
        if self.running.len() >= CEILING as usize {
            return Err(later("Internal error: delnum too big. (#4.3.5)\n"));
        }
        if !delivery.recipient.contains(&b'@') {
            let text = b"Sorry, address must include host name. (#5.1.3)\n".to_vec();
            return Err((Outcome::Never, text));
        }
        let (pipe, out) =
            fd::pipe().map_err(|_| later("qmail-spawn unable to create pipe. (#4.3.0)\n"))?;
        self.spawner.start(slot, delivery, &mut self.letters, out)?;
        let running = Running { output: Vec::new(), pipe: Some(pipe), ending: None };
        self.running.insert(slot, running);
        Ok(())
    }
}

fn report(report: Report<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    report.encode(&mut bytes);
    fd::write_all(fd::stdout(), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_that_stays_away_is_waited_for_once_and_not_for_every_letter() {
        let nobody = std::env::temp_dir().join(format!("spawn-away-{}", std::process::id()));
        std::fs::create_dir_all(&nobody).unwrap();
        let mut letters = Letters::new(Home::at(&nobody).unwrap());
        let mut waited = || {
            let since = clock::monotonic();
            assert_eq!(letters.open(1).unwrap_err().0, Outcome::Later);
            clock::monotonic().saturating_sub(since)
        };
        assert!(waited() >= QUEUED_BACK);
        assert!(waited() < QUEUED_BACK / 2);
        std::fs::remove_dir_all(&nobody).unwrap();
    }
}
