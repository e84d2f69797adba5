//! Hosts that did not take a connection lately: `queue/lock/tcpto`, 64 records of 16 bytes
//! (qmail-tcpto(8)), and `queue/lock/tcpto6`, the same for IPv6 in records of 32. Where they
//! neither are nor can be made nobody is slow.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use store::home::Home;
use sys::{clock, lock};

/// Records in a file.
const RECORDS: usize = 64;
/// The longest record.
const LONGEST: usize = 32;
/// How long the table may stay locked by others; then nobody is slow.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(5);
/// Seconds within which failures count once.
const ONCE: u64 = 120;
/// Failures that are counted.
const MOST: u8 = 10;

/// What cannot be done to a table, and why.
pub(super) type Trouble = (String, io::Error);

/// The two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Stock's: address, count, how it failed, time at 8.
    V4,
    /// Ours: the same with a longer address, time at 24.
    V6,
}

impl Family {
    const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::V4 => "tcpto",
            Self::V6 => "tcpto6",
        }
    }

    /// Bytes of a record, and of those the address's.
    const fn sizes(self) -> (usize, usize) {
        match self {
            Self::V4 => (16, 4),
            Self::V6 => (LONGEST, 16),
        }
    }
}

/// How an attempt to connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// There is somebody.
    Answered,
    /// Nobody, in time.
    TimedOut,
    /// The host is there and nobody listens.
    Refused,
}

impl Attempt {
    /// What an error says about the other side; nothing if it may be ours (no route, no memory).
    pub(super) fn of(err: &io::Error) -> Option<Self> {
        match err.kind() {
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            _ => None,
        }
    }
}

/// A record in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) ip: IpAddr,
    /// Failures, at least one.
    pub(super) count: u8,
    /// The last one was a refusal.
    pub(super) refused: bool,
    /// When that was, in seconds since 1970.
    pub(super) time: u64,
}

impl Entry {
    fn decode(family: Family, record: &[u8]) -> Option<Self> {
        let (address, rest) = record.split_at_checked(family.sizes().1)?;
        let (&[count, refused], time) = rest.split_first_chunk::<2>()?;
        let at = if family == Family::V4 { 2 } else { 6 };
        let (time, _) = time.get(at..)?.split_first_chunk::<4>()?;
        let ip = match family {
            Family::V4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
            Family::V6 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        };
        let time = u64::from(u32::from_le_bytes(*time));
        Some(Self { ip, count, refused: refused == 1, time }).filter(|_| count > 0)
    }

    fn encode(self) -> Vec<u8> {
        let (mut record, gap) = match self.ip {
            IpAddr::V4(ip) => (ip.octets().to_vec(), 2),
            IpAddr::V6(ip) => (ip.octets().to_vec(), 6),
        };
        let size = Family::of(self.ip).sizes().0;
        record.extend([self.count, u8::from(self.refused)]);
        record.resize(record.len().saturating_add(gap), 0);
        record.extend(u32::try_from(self.time).unwrap_or(u32::MAX).to_le_bytes());
        record.resize(size, 0);
        record
    }

    /// Whether it is not worth another attempt at `now`.
    fn is_slow(&self, now: u64) -> bool {
        let patience = u64::from(std::process::id() % 32).saturating_add(60).saturating_mul(64);
        self.count >= 2 && now.saturating_sub(self.time) < patience
    }

    /// Up to when it is worth keeping.
    fn keep_until(entry: Option<&Self>) -> u64 {
        entry.map_or(0, |e| e.time.saturating_add(u64::from(e.count).saturating_mul(1_024)))
    }
}

/// The records of a file.
type Table = [Option<Entry>; RECORDS];

/// The tables of a home.
#[derive(Debug)]
pub(super) struct Tcpto {
    dir: PathBuf,
    /// Somebody held a lock for too long: from then on nobody waits for one. Everybody may read the
    /// tables, and so hold them.
    is_held: Cell<bool>,
}

impl Tcpto {
    /// The tables of a home.
    pub(super) fn of(home: &Home) -> Self {
        Self { dir: home.path("queue/lock"), is_held: Cell::new(false) }
    }

    /// Whether connecting to `ip` failed twice and not long ago: not worth another attempt.
    pub(super) fn is_slow(&self, ip: IpAddr) -> bool {
        let Some((_file, table)) = self.read(Family::of(ip), false) else { return false };
        table.iter().flatten().any(|entry| entry.ip == ip && entry.is_slow(now()))
    }

    /// Takes down how an attempt went.
    pub(super) fn note(&self, ip: IpAddr, attempt: Attempt) {
        let family = Family::of(ip);
        let failed = attempt != Attempt::Answered;
        let Some((file, mut table)) = self.read(family, failed) else { return };
        if let Some((at, entry)) = noted(&mut table, ip, attempt, now()) {
            let record = entry.map_or_else(|| vec![0; family.sizes().0], Entry::encode);
            let offset = u64::try_from(at.saturating_mul(record.len())).unwrap_or(0);
            // If it cannot be written, it will be found out again.
            let _next_time = file.write_all_at(&record, offset);
        }
    }

    /// Forgets every host; where there is no table there is nothing to forget.
    ///
    /// # Errors
    /// A table cannot be opened, locked or written.
    pub(super) fn clear(&self) -> Result<(), Trouble> {
        for family in [Family::V4, Family::V6] {
            let path = self.path(family);
            // Stock names the file by its whole path here, and by its name for qmail-tcpto.
            let unable = |doing: &str| format!("{doing} {}", path.display());
            let file = match OpenOptions::new().write(true).open(&path) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(|err| (unable("write"), err))?,
            };
            locked(&file).map_err(|err| (unable("lock"), err))?;
            let zeros = [0; RECORDS * LONGEST];
            let zeros = zeros.get(..RECORDS.saturating_mul(family.sizes().0)).unwrap_or(&zeros);
            file.write_all_at(zeros, 0).map_err(|err| (unable("write"), err))?;
        }
        Ok(())
    }

    /// Every record in use, in the files' order.
    ///
    /// # Errors
    /// A table that is there cannot be opened, locked or read; or stock's is not there.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Trouble> {
        let mut entries = Vec::new();
        for family in [Family::V4, Family::V6] {
            let file = match File::open(self.path(family)) {
                Err(err) if err.kind() == io::ErrorKind::NotFound && family == Family::V6 => break,
                opened => opened.map_err(|err| ("open tcpto".into(), err))?,
            };
            locked(&file).map_err(|err| ("lock tcpto".into(), err))?;
            let table = table(&file, family).map_err(|err| ("read tcpto".into(), err))?;
            entries.extend(table.into_iter().flatten());
        }
        Ok(entries)
    }

    fn path(&self, family: Family) -> PathBuf {
        self.dir.join(family.file())
    }

    /// A table, locked until the file is dropped; made if it is wanted and can be.
    fn read(&self, family: Family, make: bool) -> Option<(File, Table)> {
        let mut how = OpenOptions::new();
        let how = how.read(true).write(true).create(make).truncate(false).mode(0o644);
        let file = how.open(self.path(family)).ok()?;
        let patience = if self.is_held.get() { Duration::ZERO } else { PATIENCE };
        let locked = lock_within(&file, patience);
        self.is_held.set(locked.is_none());
        locked?;
        let table = table(&file, family).ok()?;
        Some((file, table))
    }
}

/// What a file holds; what it is too short for is not in use.
fn table(file: &File, family: Family) -> io::Result<Table> {
    let size = family.sizes().0;
    let mut bytes = vec![0; RECORDS.saturating_mul(size)];
    sys::at::read(file, &mut bytes, 0)?;
    let mut table = [None; RECORDS];
    for (slot, record) in table.iter_mut().zip(bytes.chunks(size)) {
        *slot = Entry::decode(family, record);
    }
    Ok(table)
}

/// Takes the lock for an administrator, who is told if somebody does not give it up.
fn locked(file: &File) -> io::Result<()> {
    let late = || io::ErrorKind::WouldBlock.into();
    lock_within(file, PATIENCE.saturating_mul(5)).ok_or_else(late)
}

/// Takes the lock if it comes free in time. Whoever may open the file may hold it for ever, and no
/// delivery is to wait for that.
fn lock_within(file: &File, limit: Duration) -> Option<()> {
    let since = clock::monotonic();
    while let Err(err) = lock::try_exclusive(file) {
        let late = clock::monotonic().saturating_sub(since) >= limit;
        if late || err.kind() != io::ErrorKind::WouldBlock {
            return None;
        }
        clock::sleep(TRY);
    }
    Some(())
}

/// Changes the table as an attempt went; the record that changed, and what it is now.
fn noted(
    table: &mut Table,
    ip: IpAddr,
    attempt: Attempt,
    now: u64,
) -> Option<(usize, Option<Entry>)> {
    let known = table.iter().position(|entry| entry.is_some_and(|entry| entry.ip == ip));
    let at = match known {
        Some(at) => at,
        None if attempt == Attempt::Answered => return None,
        None => (0..RECORDS)
            .min_by_key(|&at| Entry::keep_until(table.get(at).and_then(Option::as_ref)))?,
    };
    let slot = table.get_mut(at)?;
    let before = slot.filter(|_| known.is_some());
    *slot = match attempt {
        Attempt::Answered => None,
        _ if before.is_some_and(|entry| now.saturating_sub(entry.time) < ONCE) => return None,
        failed => {
            let count = before.map_or(0, |entry| entry.count).saturating_add(1).min(MOST);
            Some(Entry { ip, count, refused: failed == Attempt::Refused, time: now })
        }
    };
    Some((at, *slot))
}

fn now() -> u64 {
    clock::now().secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use yard::{Kept, Yard};

    const HOSTS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

    /// Tables in a directory of their own, with these failures on record.
    fn tables(count: u8, age: u64) -> Kept<Tcpto> {
        let dir = Yard::new("tcpto");
        for host in HOSTS {
            let ip: IpAddr = host.parse().unwrap();
            let entry = Entry { ip, count, refused: false, time: now() - age };
            std::fs::write(dir.join(Family::of(ip).file()), entry.encode()).unwrap();
        }
        let tables = Tcpto { dir: dir.to_path_buf(), is_held: Cell::new(false) };
        dir.keep(tables)
    }

    fn slow(tables: &Tcpto) -> [bool; 2] {
        HOSTS.map(|host| tables.is_slow(host.parse().unwrap()))
    }

    #[test]
    fn a_record_is_what_stock_writes() {
        let entry =
            Entry { ip: [192, 0, 2, 1].into(), count: 3, refused: false, time: 0x0102_0304 };
        assert_eq!(entry.encode(), [192, 0, 2, 1, 3, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0]);
        for host in HOSTS {
            let entry = Entry { ip: host.parse().unwrap(), count: 1, refused: true, time: 77 };
            assert_eq!(Entry::decode(Family::of(entry.ip), &entry.encode()), Some(entry));
        }
        assert_eq!(Entry::decode(Family::V4, &[0; 16]), None);
        assert_eq!(Entry::decode(Family::V4, &[1; 9]), None);
    }

    #[test]
    fn a_cleared_table_knows_nobody() {
        let tables = tables(2, 10);
        assert_eq!((slow(&tables), tables.entries().unwrap().len()), ([true; 2], 2));
        tables.clear().unwrap();
        assert_eq!((slow(&tables), tables.entries().unwrap().len()), ([false; 2], 0));
        let length = |name| std::fs::metadata(tables.dir.join(name)).unwrap().len();
        assert_eq!((length("tcpto"), length("tcpto6")), (1_024, 2_048));
        std::fs::remove_file(tables.dir.join("tcpto")).unwrap();
        tables.clear().unwrap();
        assert_eq!(tables.entries().unwrap_err().0, "open tcpto");
    }

    #[test]
    fn a_table_somebody_holds_is_done_without() {
        let tables = tables(2, 10);
        let held = File::open(tables.path(Family::V4)).unwrap();
        lock::exclusive(&held).unwrap();
        let tried = File::open(tables.path(Family::V4)).unwrap();
        assert!(lock_within(&tried, Duration::from_millis(20)).is_none());
        tables.is_held.set(true);
        let since = clock::monotonic();
        assert!((0..20).all(|_| tables.read(Family::V4, false).is_none()), "nobody waits twice");
        assert!(clock::monotonic().saturating_sub(since) < PATIENCE);
        drop(held);
        assert_eq!(slow(&tables), [true; 2]);
    }

    #[test]
    fn two_failures_make_a_host_slow_for_an_hour_or_so() {
        for (count, age, want) in [(2, 0, true), (1, 0, false), (2, 3_800, true), (2, 6_000, false)]
        {
            assert_eq!(slow(&tables(count, age)), [want; 2], "{count} {age}");
        }
    }

    #[test]
    fn only_an_answer_clears_a_host_and_a_refusal_counts_like_silence() {
        let tables = tables(1, 300);
        for host in HOSTS {
            let ip = host.parse().unwrap();
            tables.note(ip, Attempt::Refused);
            assert!(tables.is_slow(ip), "{host}");
        }
        assert!(tables.entries().unwrap().iter().all(|entry| entry.refused && entry.count == 2));
        HOSTS.iter().for_each(|host| tables.note(host.parse().unwrap(), Attempt::Answered));
        assert_eq!(slow(&tables), [false; 2]);
        let unreachable = io::Error::from_raw_os_error(101);
        assert_eq!(Attempt::of(&unreachable), None);
    }

    #[test]
    fn failures_within_two_minutes_count_once_and_ten_are_enough() {
        let (mut table, ip) = ([None; RECORDS], HOSTS[0].parse().unwrap());
        let mut fail = |at: u64| {
            noted(&mut table, ip, Attempt::TimedOut, 1_000_000 + at);
            table[0].unwrap().count
        };
        for (minute, want) in [(0, 1), (1, 1), (3, 2), (5, 3)] {
            assert_eq!(fail(minute * 60), want, "{minute}");
        }
        assert_eq!((10..50).map(|hour| fail(hour * 3_600)).last(), Some(10));
    }

    #[test]
    fn a_full_table_forgets_who_was_seen_longest_ago() {
        let mut table = [None; RECORDS];
        for n in 0..RECORDS {
            let ip = Ipv4Addr::new(10, 0, 0, n as u8).into();
            noted(&mut table, ip, Attempt::TimedOut, 1_000 + n as u64);
        }
        let changed = noted(&mut table, HOSTS[0].parse().unwrap(), Attempt::TimedOut, 5_000);
        assert_eq!(changed.map(|(at, _)| at), Some(0));
    }

    #[test]
    fn without_the_file_nobody_is_slow() {
        let table = Tcpto { dir: "/nonexistent".into(), is_held: Cell::new(false) };
        table.note(HOSTS[0].parse().unwrap(), Attempt::TimedOut);
        assert!(!table.is_slow(HOSTS[0].parse().unwrap()));
    }
}
