//! What takes longer than a second says so, to who sits at a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something may take in silence, and how often it is told of then.
const TICK: Duration = Duration::from_secs(1);

/// Something under way; its line goes away with it.
pub(crate) struct Ticker {
    done: Arc<AtomicUsize>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ticker {
    /// Begins something, as in `counting the letters`, of which there are `of` pieces, if that is
    /// known.
    pub(crate) fn of(what: &str, of: Option<usize>) -> Self {
        let done = Arc::new(AtomicUsize::new(0));
        if !stderr().is_terminal() {
            return Self { done, ticker: None };
        }
        let (stop, stopped) = channel();
        let (what, count) = (what.to_owned(), Arc::clone(&done));
        let thread = std::thread::spawn(move || tick(&what, &count, of, &stopped));
        Self { done, ticker: Some((stop, thread)) }
    }

    /// One more piece is done.
    pub(crate) fn step(&self) {
        self.done.fetch_add(1, Relaxed);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // It ends with its channel; should it have died, there is no line to take away.
            let _ = thread.join();
        }
    }
}

/// Does something that may take a while.
pub(crate) fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let _progress = Ticker::of(what, None);
    work()
}

/// Shows a line each second until told to stop; then takes it away.
fn tick(what: &str, done: &AtomicUsize, of: Option<usize>, stopped: &Receiver<()>) {
    let (since, mut shown) = (Instant::now(), false);
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
        let line = line(what, done.load(Relaxed), of, since.elapsed().as_secs());
        // Whoever does not see it misses nothing else.
        let _ = write!(stderr(), "\r{line}\x1b[K");
        shown = true;
    }
    if shown {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

fn line(what: &str, done: usize, of: Option<usize>, seconds: u64) -> String {
    match (done, of) {
        (0, None) => format!("{what} ({seconds} s)"),
        (_, None) => format!("{what}: {done} ({seconds} s)"),
        (_, Some(of)) => format!("{what}: {done} of {of} ({seconds} s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_line_says_how_far_it_is_and_how_long_it_takes() {
        assert_eq!(line("waiting", 0, None, 3), "waiting (3 s)");
        assert_eq!(line("reading", 7, None, 3), "reading: 7 (3 s)");
        assert_eq!(line("reading", 0, Some(9), 3), "reading: 0 of 9 (3 s)");
    }
}
