//! Hosts that did not answer lately: `queue/lock/tcpto`, 64 records of 16 bytes (spec
//! `qmail-smtp.md` §7.5). The file is stock's, IPv4 alone; where it neither is
//! nor can be made nobody is slow.

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use store::home::Home;
use sys::{clock, lock};

/// One record: address, count, nothing, time, nothing.
type Record = [u8; 16];
/// Records in the file.
const RECORDS: usize = 64;
/// How long the table may stay locked by others; then nobody is slow.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(5);

/// The table.
#[derive(Debug)]
pub(super) struct Tcpto {
    path: PathBuf,
}

impl Tcpto {
    /// The table of a home.
    pub(super) fn of(home: &Home) -> Self {
        Self { path: home.path("queue/lock/tcpto") }
    }

    /// Whether `ip` timed out twice and not long ago: not worth another wait.
    pub(super) fn is_slow(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        let Some((_file, table)) = self.read(false) else { return false };
        let patience = u64::from(std::process::id() % 32).saturating_add(60).saturating_mul(64);
        let slow = |r: &&Record| count(r) >= 2 && now().saturating_sub(time(r)) < patience;
        find(&table, ip).and_then(|at| table.get(at)).filter(slow).is_some()
    }

    /// Takes down how an attempt went: it timed out, or it did not.
    pub(super) fn note(&self, ip: IpAddr, timed_out: bool) {
        let IpAddr::V4(ip) = ip else { return };
        let Some((file, mut table)) = self.read(timed_out) else { return };
        if let Some(at) = noted(&mut table, ip, timed_out, now()) {
            let offset = u64::try_from(at.saturating_mul(16)).unwrap_or(0);
            let _next_time = table.get(at).map(|record| file.write_all_at(record, offset));
        }
    }

    /// Forgets every host; where there is no table there is nothing to forget.
    ///
    /// # Errors
    /// The table cannot be opened, locked or written.
    pub(super) fn clear(&self) -> Result<(), (&'static str, std::io::Error)> {
        let file = match OpenOptions::new().write(true).open(&self.path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|err| ("open tcpto", err))?,
        };
        lock::exclusive(&file).map_err(|err| ("lock tcpto", err))?;
        file.write_all_at(&[0; RECORDS * 16], 0).map_err(|err| ("write tcpto", err))
    }

    /// The table, locked until the file is dropped; made if it is wanted and can be.
    fn read(&self, make: bool) -> Option<(File, [Record; RECORDS])> {
        let mut how = OpenOptions::new();
        let how = how.read(true).write(true).create(make).truncate(false).mode(0o600);
        let file = how.open(&self.path).ok()?;
        lock_within(&file, PATIENCE)?;
        let mut bytes = [0; RECORDS * 16];
        let mut have = 0;
        while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, u64::try_from(have).ok()?).ok()? {
                0 => break,
                n => have = have.saturating_add(n),
            }
        }
        let mut table = [[0; 16]; RECORDS];
        let (records, _) = bytes.as_chunks::<16>();
        table.iter_mut().zip(records).for_each(|(to, from)| *to = *from);
        Some((file, table))
    }
}

/// Takes the lock if it comes free in time. Whoever may open the file may hold it for ever, and no
/// delivery is to wait for that.
fn lock_within(file: &File, limit: Duration) -> Option<()> {
    let since = clock::monotonic();
    while let Err(err) = lock::try_exclusive(file) {
        let late = clock::monotonic().saturating_sub(since) >= limit;
        if late || err.kind() != std::io::ErrorKind::WouldBlock {
            return None;
        }
        clock::sleep(TRY);
    }
    Some(())
}

/// Changes the table as an attempt went; the record that changed.
fn noted(table: &mut [Record; RECORDS], ip: Ipv4Addr, timed_out: bool, now: u64) -> Option<usize> {
    let known = find(table, ip);
    if !timed_out {
        let record = table.get_mut(known?)?;
        set_count(record, 0);
        return known;
    }
    let at = match known {
        Some(at) => at,
        None => oldest(table)?,
    };
    let record = table.get_mut(at)?;
    let tries = if known.is_some() { count(record) } else { 0 };
    if tries > 0 && now.saturating_sub(time(record)) < 120 {
        return None;
    }
    let [a, b, c, d] = ip.octets();
    let [e, f, g, h] = u32::try_from(now).unwrap_or(u32::MAX).to_le_bytes();
    let tries = tries.saturating_add(1).min(10);
    *record = [a, b, c, d, tries, 0, 0, 0, e, f, g, h, 0, 0, 0, 0];
    Some(at)
}

/// The record of an address, in use or not.
fn find(table: &[Record; RECORDS], ip: Ipv4Addr) -> Option<usize> {
    table.iter().position(|record| record.starts_with(&ip.octets()))
}

/// The record to give away: an unused one, else the one forgotten first.
fn oldest(table: &[Record; RECORDS]) -> Option<usize> {
    let age = |record: &Record| match count(record) {
        0 => 0,
        n => time(record).saturating_add(u64::from(n).saturating_mul(1_024)),
    };
    (0..RECORDS).min_by_key(|&at| table.get(at).map_or(u64::MAX, age))
}

const fn count(record: &Record) -> u8 {
    record[4]
}

fn set_count(record: &mut Record, count: u8) {
    record[4] = count;
}

fn time(record: &Record) -> u64 {
    u64::from(u32::from_le_bytes([record[8], record[9], record[10], record[11]]))
}

fn now() -> u64 {
    clock::now().secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn slow(count: u8, age: u64) -> Tcpto {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tcpto-{}-{n}", std::process::id()));
        let mut table = [[0; 16]; RECORDS];
        noted(&mut table, IP, true, now() - age);
        table[0][4] = count;
        std::fs::write(&path, table.concat()).unwrap();
        Tcpto { path }
    }

    #[test]
    fn a_cleared_table_knows_nobody() {
        let table = slow(2, 10);
        assert!(table.is_slow(IpAddr::V4(IP)));
        table.clear().unwrap();
        assert!(!table.is_slow(IpAddr::V4(IP)));
        assert_eq!(std::fs::metadata(&table.path).unwrap().len(), 1_024);
        std::fs::remove_file(&table.path).unwrap();
        table.clear().unwrap();
    }

    #[test]
    fn a_table_somebody_holds_is_done_without() {
        let table = slow(2, 10);
        let held = File::open(&table.path).unwrap();
        lock::exclusive(&held).unwrap();
        let tried = File::open(&table.path).unwrap();
        assert!(lock_within(&tried, Duration::from_millis(20)).is_none());
        drop(held);
        assert!(table.is_slow(IP.into()));
        std::fs::remove_file(&table.path).unwrap();
    }

    #[test]
    fn two_timeouts_make_a_host_slow_for_an_hour_or_so() {
        for (count, age, want) in [(2, 0, true), (1, 0, false), (2, 3_800, true), (2, 6_000, false)]
        {
            let table = slow(count, age);
            assert_eq!(table.is_slow(IP.into()), want, "{count} {age}");
            std::fs::remove_file(&table.path).unwrap();
        }
    }

    #[test]
    fn an_answer_of_any_kind_clears_the_host() {
        let table = slow(5, 0);
        table.note(IP.into(), false);
        assert!(!table.is_slow(IP.into()));
        assert_eq!(std::fs::read(&table.path).unwrap().len(), RECORDS * 16);
        std::fs::remove_file(&table.path).unwrap();
    }

    #[test]
    fn timeouts_within_two_minutes_count_once_and_ten_are_enough() {
        let mut table = [[0; 16]; RECORDS];
        for (minute, want) in [(0, 1), (1, 1), (3, 2), (5, 3)] {
            noted(&mut table, IP, true, 1_000_000 + minute * 60);
            assert_eq!(count(&table[0]), want, "{minute}");
        }
        for hour in 10..50 {
            noted(&mut table, IP, true, 1_000_000 + hour * 3_600);
        }
        assert_eq!(count(&table[0]), 10);
    }

    #[test]
    fn a_full_table_forgets_who_was_seen_longest_ago() {
        let mut table = [[0; 16]; RECORDS];
        for n in 0..RECORDS {
            noted(&mut table, Ipv4Addr::new(10, 0, 0, n as u8), true, 1_000 + n as u64);
        }
        assert_eq!(noted(&mut table, IP, true, 5_000), Some(0));
    }

    #[test]
    fn without_the_file_nobody_is_slow() {
        let table = Tcpto { path: "/nonexistent/tcpto".into() };
        table.note(IP.into(), true);
        assert!(!table.is_slow(IP.into()));
    }
}
