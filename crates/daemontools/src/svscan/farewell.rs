//! How one service and then its log are brought down when svscan is told to end: a pure machine.

use std::path::Path;
use std::time::Duration;

/// What a service gets between TERM and KILL if no file says otherwise, and a log between its end of
/// input and TERM.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most a file can give it.
const MOST: Duration = Duration::from_secs(600);
/// How long it may take to go down when everything does, in milliseconds; supervise does not know of it.
const DOWN: &str = "timeout-down";
/// After how many supervise kills it, whoever told it to go down.
const KILL: &str = "timeout-kill";
/// The others cannot end without this service.
const LAST_OF_ALL: &str = "ends-last";
/// Bytes read of a file.
const LONGEST: usize = 32;
/// What either gets after the harder word, before we go without it.
const LAST: Duration = Duration::from_secs(5);

/// How long a service may take to go down: as its own file says, or as long as its supervise gives it,
/// and a moment more.
pub(super) fn patience(service: &Path) -> Duration {
    lenient(millis(&service.join(DOWN)), millis(&service.join(KILL)))
}

/// Whether a service ends only when the others are down.
pub(super) fn is_last(service: &Path) -> bool {
    std::fs::symlink_metadata(service.join(LAST_OF_ALL)).is_ok()
}

/// The number in a file; none if there is none.
fn millis(path: &Path) -> Option<u32> {
    let text = sys::file::open_read(path).and_then(|file| sys::fd::read_to_end(file, LONGEST));
    String::from_utf8_lossy(&text.ok()?).trim().parse().ok()
}

/// The same for what the files say.
fn lenient(down: Option<u32>, kill: Option<u32>) -> Duration {
    let time = |millis: u32| Duration::from_millis(u64::from(millis));
    match (down, kill) {
        (Some(0), _) | (None, Some(0)) => MOST,
        (Some(down), _) => time(down).min(MOST),
        (None, Some(kill)) => time(kill).saturating_add(Duration::from_secs(1)).min(MOST),
        (None, None) => PATIENCE,
    }
}

/// How long the end of a service and its log takes at most.
pub(super) fn longest(patience: Duration) -> Duration {
    // After the service's own time: its last, then the log's three.
    patience.saturating_add(LAST).saturating_add(PATIENCE).saturating_add(LAST).saturating_add(LAST)
}

/// How far one service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not at all.
    Running,
    /// Told `dx`.
    Stopping(Duration),
    /// Killed.
    Killed(Duration),
    /// The service is gone; its log has met the end of its input and was told `x`.
    Draining(Duration),
    /// The log was told `dx`.
    LogStopping(Duration),
    /// The log was killed.
    LogKilled(Duration),
    /// Nothing is left to wait for.
    Gone,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Write these commands to the service's supervise.
    Service(&'static [u8]),
    /// Close our ends of the pipe and write these commands to the log's supervise.
    Drain(&'static [u8]),
    /// Write these commands to the log's supervise.
    Log(&'static [u8]),
}

impl Stage {
    /// One step; `service` and `log` tell whether their supervises live, `patience` how long the
    /// service may take.
    pub(super) fn step(
        self,
        service: bool,
        log: bool,
        now: Duration,
        patience: Duration,
    ) -> (Stage, Option<Order>) {
        let late = |since: Duration, limit: Duration| now.saturating_sub(since) >= limit;
        match self {
            Stage::Running if service => (Stage::Stopping(now), Some(Order::Service(b"dx"))),
            Stage::Stopping(since) if service && late(since, patience) => {
                (Stage::Killed(now), Some(Order::Service(b"k")))
            }
            Stage::Stopping(_) if service => (self, None),
            Stage::Killed(since) if service && !late(since, LAST) => (self, None),
            Stage::Running | Stage::Stopping(_) | Stage::Killed(_) if log => {
                (Stage::Draining(now), Some(Order::Drain(b"x")))
            }
            Stage::Draining(since) if log && late(since, PATIENCE) => {
                (Stage::LogStopping(now), Some(Order::Log(b"dx")))
            }
            Stage::LogStopping(since) if log && late(since, LAST) => {
                (Stage::LogKilled(now), Some(Order::Log(b"k")))
            }
            Stage::Draining(_) | Stage::LogStopping(_) if log => (self, None),
            Stage::LogKilled(since) if log && !late(since, LAST) => (self, None),
            Stage::Running
            | Stage::Stopping(_)
            | Stage::Killed(_)
            | Stage::Draining(_)
            | Stage::LogStopping(_)
            | Stage::LogKilled(_)
            | Stage::Gone => (Stage::Gone, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Steps once a second with the given lives and lists the orders with their seconds.
    fn play(service_dies: u64, log_dies: u64) -> (Vec<(u64, Order)>, u64) {
        let (mut stage, mut orders) = (Stage::Running, Vec::new());
        for second in 0..100 {
            let (next, order) =
                stage.step(second < service_dies, second < log_dies, secs(1000 + second), PATIENCE);
            orders.extend(order.map(|order| (second, order)));
            stage = next;
            if stage == Stage::Gone {
                return (orders, second);
            }
        }
        (orders, 100)
    }

    #[test]
    fn first_the_service_then_its_log() {
        let orders = vec![(0, Order::Service(b"dx")), (2, Order::Drain(b"x"))];
        assert_eq!(play(2, 3), (orders, 3));
    }

    #[test]
    fn who_does_not_listen_is_killed_and_the_whole_is_bounded() {
        let orders = vec![
            (0, Order::Service(b"dx")),
            (10, Order::Service(b"k")),
            (15, Order::Drain(b"x")),
            (25, Order::Log(b"dx")),
            (30, Order::Log(b"k")),
        ];
        assert_eq!(play(99, 99), (orders, 35));
    }

    #[test]
    fn a_service_gets_the_time_its_file_gives_it_but_not_for_ever() {
        assert_eq!(lenient(None, Some(2500)), Duration::from_millis(3500));
        assert_eq!(lenient(None, Some(0)), MOST);
        assert_eq!(lenient(None, Some(u32::MAX)), MOST);
        assert_eq!(lenient(None, None), PATIENCE);
        assert_eq!(lenient(Some(60_000), Some(2500)), secs(60));
        assert_eq!(lenient(Some(0), Some(2500)), MOST);
        assert_eq!(longest(PATIENCE), secs(35));
        let stopping = Stage::Stopping(secs(1000));
        assert_eq!(stopping.step(true, true, secs(1011), secs(30)), (stopping, None));
        let (stage, order) = stopping.step(true, true, secs(1030), secs(30));
        assert_eq!((stage, order), (Stage::Killed(secs(1030)), Some(Order::Service(b"k"))));
    }

    #[test]
    fn a_service_already_down_only_needs_its_log_told() {
        assert_eq!(play(0, 1), (vec![(0, Order::Drain(b"x"))], 1));
        assert_eq!(play(0, 0), (vec![], 0));
    }
}
