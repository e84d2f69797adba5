//! The constant database: lookups in two reads, replaced whole by a rename.
//!
//! D. J. Bernstein's cdb format, all numbers 32 bits little-endian: 256 pairs (position, slots),
//! the records, the 256 hash tables of (hash, position) slots. Key `k` lies in table
//! `hash(k) % 256`, probed from slot `hash(k) / 256 % slots`.

use alloc::vec::Vec;
use core::fmt;

/// Bytes of the header: 256 pairs.
const HEADER: usize = 2048;
/// Tables in a file.
const TABLES: usize = 256;

/// A file points outside itself, or is too short to be a cdb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("damaged cdb file")
    }
}

impl core::error::Error for Damaged {}

/// The hash of a key: from 5381, `h = (h * 33) ^ byte`.
pub fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |h: u32, &c| h.wrapping_mul(33) ^ u32::from(c))
}

/// A database in memory.
#[derive(Clone, Copy, Debug)]
pub struct Cdb<'a>(&'a [u8]);

impl<'a> Cdb<'a> {
    /// Takes the bytes of a file. Everything inside is checked when it is looked at.
    ///
    /// # Errors
    /// [`Damaged`] if there is no whole header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Damaged> {
        (bytes.len() >= HEADER).then_some(Self(bytes)).ok_or(Damaged)
    }

    /// The value of `key`; the first one written if there are several.
    ///
    /// # Errors
    /// [`Damaged`] if the file points outside itself on the way.
    pub fn get(&self, key: &[u8]) -> Result<Option<&'a [u8]>, Damaged> {
        self.values(key).next().transpose()
    }

    /// All values of `key`, in the order they were written; at most one error, which is the last.
    pub fn values<'k>(&self, key: &'k [u8]) -> Values<'a, 'k> {
        let hash = hash(key);
        let pair = self.pair((hash as usize % TABLES).saturating_mul(8));
        let (table, slots, state) = match pair {
            Ok((table, slots)) => (table, slots, slots),
            Err(Damaged) => (usize::MAX, 1, 1),
        };
        let slot = (hash as usize >> 8).checked_rem(slots).unwrap_or(0);
        Values { cdb: *self, key, hash, table, slots, slot, left: state }
    }

    /// Every record (key and value), in the order they were written.
    pub fn records(&self) -> impl Iterator<Item = Result<(&'a [u8], &'a [u8]), Damaged>> + use<'a> {
        let cdb = *self;
        let end = self.pair(0).map_or(HEADER, |(table, _)| table);
        let mut at = HEADER;
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let record = cdb.record(at);
            at = record.map_or(usize::MAX, |(k, v)| at.saturating_add(8 + k.len() + v.len()));
            Some(record)
        })
    }

    /// Whether every table and every record lies in the file, looked up or not: a file that was cut
    /// short may answer for most keys.
    pub fn is_whole(&self) -> bool {
        let fits = |pair: Result<(usize, usize), Damaged>| {
            let (table, slots) = pair?;
            let end = slots.checked_mul(8).and_then(|room| room.checked_add(table));
            Ok::<bool, Damaged>(end.is_some_and(|end| end <= self.0.len()))
        };
        let tables = (0..TABLES).all(|table| fits(self.pair(table.saturating_mul(8))) == Ok(true));
        tables && self.records().all(|record| record.is_ok())
    }

    /// Two numbers.
    fn pair(&self, at: usize) -> Result<(usize, usize), Damaged> {
        let bytes = self.0.get(at..).and_then(|b| b.first_chunk::<8>()).ok_or(Damaged)?;
        let [a, b, c, d, e, f, g, h] = *bytes;
        let number = |bytes| u32::from_le_bytes(bytes) as usize;
        Ok((number([a, b, c, d]), number([e, f, g, h])))
    }

    /// The record at a position.
    fn record(&self, at: usize) -> Result<(&'a [u8], &'a [u8]), Damaged> {
        let (key, value) = self.pair(at)?;
        let bytes = at.checked_add(8).and_then(|at| self.0.get(at..)).ok_or(Damaged)?;
        let (key, bytes) = bytes.split_at_checked(key).ok_or(Damaged)?;
        Ok((key, bytes.get(..value).ok_or(Damaged)?))
    }
}

/// See [`Cdb::values`].
#[derive(Clone, Debug)]
pub struct Values<'a, 'k> {
    cdb: Cdb<'a>,
    key: &'k [u8],
    hash: u32,
    table: usize,
    slots: usize,
    slot: usize,
    /// Slots not yet looked at: the bound of the walk, whatever the file says.
    left: usize,
}

impl<'a> Values<'a, '_> {
    /// Looks at one slot: `Ok(None)` ends the walk at an empty one.
    fn look(&mut self) -> Result<Option<Option<&'a [u8]>>, Damaged> {
        let at = self.slot.checked_mul(8).and_then(|n| n.checked_add(self.table)).ok_or(Damaged)?;
        let (hash, position) = self.cdb.pair(at)?;
        if position == 0 {
            return Ok(None);
        }
        self.slot = self.slot.saturating_add(1);
        if self.slot >= self.slots {
            self.slot = 0;
        }
        if hash != self.hash as usize {
            return Ok(Some(None));
        }
        let (key, value) = self.cdb.record(position)?;
        Ok(Some((key == self.key).then_some(value)))
    }
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = Result<&'a [u8], Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            self.left = self.left.saturating_sub(1);
            match self.look() {
                Ok(Some(Some(value))) => return Some(Ok(value)),
                Ok(Some(None)) => (),
                Ok(None) => self.left = 0,
                Err(Damaged) => {
                    self.left = 0;
                    return Some(Err(Damaged));
                }
            }
        }
        None
    }
}

/// The file would be over 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig;

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cdb file would be over 4 GiB")
    }
}

impl core::error::Error for TooBig {}

/// Collects records; [`Writer::finish`] gives the file, byte for byte as the original writes it.
#[derive(Clone, Debug)]
pub struct Writer {
    file: Vec<u8>,
    /// (hash, position) of each record, in order.
    slots: Vec<(u32, u32)>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A database without records.
    pub fn new() -> Self {
        Self { file: alloc::vec![0; HEADER], slots: Vec::new() }
    }

    /// Adds a record. A key added twice has both values, the first of which is found.
    ///
    /// # Errors
    /// [`TooBig`] if the file would be; nothing was added.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), TooBig> {
        let position = u32::try_from(self.file.len()).map_err(|_| TooBig)?;
        let key_len = u32::try_from(key.len()).map_err(|_| TooBig)?;
        let value_len = u32::try_from(value.len()).map_err(|_| TooBig)?;
        // The record, its two slots of 8 bytes and those of all before it must stay addressable.
        let tables = self.slots.len().saturating_add(1).saturating_mul(16);
        let size = [8, key.len(), value.len(), tables]
            .iter()
            .fold(self.file.len(), |sum, &n| sum.saturating_add(n));
        u32::try_from(size).map_err(|_| TooBig)?;
        self.file.extend_from_slice(&key_len.to_le_bytes());
        self.file.extend_from_slice(&value_len.to_le_bytes());
        self.file.extend_from_slice(key);
        self.file.extend_from_slice(value);
        self.slots.push((hash(key), position));
        Ok(())
    }

    /// The finished file.
    pub fn finish(self) -> Vec<u8> {
        let Self { mut file, slots } = self;
        let mut tables: Vec<Vec<(u32, u32)>> = alloc::vec![Vec::new(); TABLES];
        for slot in slots {
            if let Some(table) = tables.get_mut(slot.0 as usize % TABLES) {
                table.push(slot);
            }
        }
        let mut header = Vec::with_capacity(HEADER);
        for records in tables {
            let table = lay_out(&records);
            // An empty table points at where it would have stood, as the original's does.
            put_pair(&mut header, narrow(file.len()), narrow(table.len()));
            for (hash, position) in table {
                put_pair(&mut file, hash, position);
            }
        }
        if let Some(slot) = file.get_mut(..HEADER) {
            slot.copy_from_slice(&header);
        }
        file
    }
}

/// Puts records into twice as many slots, each at its hash's slot or the next free one.
fn lay_out(records: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let count = records.len().saturating_mul(2);
    let mut table = alloc::vec![(0, 0); count];
    for &(hash, position) in records {
        let start = (hash as usize >> 8).checked_rem(count).unwrap_or(0);
        let (before, after) = table.split_at_mut(start);
        if let Some(free) = after.iter_mut().chain(before).find(|slot| slot.1 == 0) {
            *free = (hash, position);
        }
    }
    table
}

/// A number that [`Writer::add`] has already made sure fits.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn put_pair(out: &mut Vec<u8>, a: u32, b: u32) {
    out.extend_from_slice(&a.to_le_bytes());
    out.extend_from_slice(&b.to_le_bytes());
}

/// A whole database at once.
///
/// # Errors
/// [`TooBig`] if it would be over 4 GiB.
pub fn build<K, V>(records: impl IntoIterator<Item = (K, V)>) -> Result<Vec<u8>, TooBig>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut writer = Writer::new();
    for (key, value) in records {
        writer.add(key.as_ref(), value.as_ref())?;
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_originals() {
        assert_eq!(hash(b""), 0x0000_1505);
        assert_eq!(hash(b"1.2.3.4"), 0x3c4c_facf);
        assert_eq!(hash(b"127."), 0x7c54_06df);
        assert_eq!(hash(b"=.example.com"), 0xed72_d6d1);
    }

    #[test]
    fn a_file_is_the_originals_byte_for_byte() {
        let file = build([(b"1.2.3.4", b"D\0")]).unwrap();
        assert_eq!(file.len(), 2081);
        let mut want = Vec::new();
        for table in 0..256 {
            put_pair(
                &mut want,
                if table <= 207 { 2065 } else { 2081 },
                if table == 207 { 2 } else { 0 },
            );
        }
        want.extend_from_slice(b"\x07\0\0\0\x02\0\0\x001.2.3.4D\0");
        want.extend_from_slice(b"\xcf\xfa\x4c\x3c\0\x08\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(file, want);
    }

    #[test]
    fn the_empty_key_and_the_empty_file_work() {
        let file = build([(&b"127."[..], &b"+RELAYCLIENT=\0"[..]), (b"", b"")]).unwrap();
        assert_eq!(file.len(), 2114);
        let cdb = Cdb::new(&file).unwrap();
        assert_eq!(cdb.get(b"127."), Ok(Some(&b"+RELAYCLIENT=\0"[..])));
        assert_eq!(cdb.get(b""), Ok(Some(&b""[..])));
        assert_eq!(cdb.get(b"128."), Ok(None));
        let none = build::<&[u8], &[u8]>([]).unwrap();
        assert_eq!(none.len(), 2048);
        assert_eq!(Cdb::new(&none).unwrap().get(b"x"), Ok(None));
        assert_eq!(Cdb::new(&none).unwrap().records().count(), 0);
    }

    #[test]
    fn the_first_of_several_values_is_found_and_all_are_listed() {
        let mut w = Writer::new();
        for n in 0..2000u32 {
            w.add(&n.to_le_bytes(), b"x").unwrap();
            w.add(b"twice", &n.to_le_bytes()).unwrap();
        }
        let file = w.finish();
        let cdb = Cdb::new(&file).unwrap();
        assert_eq!(cdb.get(b"twice"), Ok(Some(&0u32.to_le_bytes()[..])));
        assert_eq!(cdb.values(b"twice").count(), 2000);
        assert!((0..2000u32).all(|n| cdb.get(&n.to_le_bytes()) == Ok(Some(&b"x"[..]))));
        assert_eq!(cdb.records().filter(Result::is_ok).count(), 4000);
    }

    #[test]
    fn a_damaged_file_is_reported_and_never_followed_outside() {
        assert_eq!(Cdb::new(&[0; 2047]).err(), Some(Damaged));
        let good = build([(b"key", b"value")]).unwrap();
        let full = Cdb::new(&good).unwrap().get(b"key");
        assert_eq!(full, Ok(Some(&b"value"[..])));
        for cut in 2048..good.len() {
            let got = Cdb::new(&good[..cut]).unwrap().get(b"key");
            assert!(got == Err(Damaged) || got == full, "{cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xff;
            let cdb = Cdb::new(&bad).unwrap();
            assert!(cdb.get(b"key").is_err() || cdb.values(b"key").count() <= 1);
            assert!(cdb.records().count() <= bad.len());
        }
    }
}
