//! The machine's time zone: a TZif file (RFC 8536, versions 1 to 4) or a POSIX rule in `$TZ`.

use super::rule::Rule;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest zone file read; real ones have under 4 kB.
const FILE: u64 = 256 << 10;
/// Where zones lie.
const ZONES: &str = "/usr/share/zoneinfo";

/// The changes of one place's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    /// When the clock changed (seconds since the epoch, rising), and to which offset.
    changes: Vec<(i64, i64)>,
    /// The offset before the first change.
    first: i64,
    /// What holds after the last change.
    after: Option<Rule>,
}

impl Zone {
    /// UTC.
    pub(super) fn utc() -> Zone {
        Zone { changes: Vec::new(), first: 0, after: Some(Rule::UTC) }
    }

    /// The zone `$TZ` names, or the machine's own if it is unset; UTC if it cannot be read.
    pub(super) fn of_this_machine(tz: Option<&[u8]>) -> Zone {
        let Some(tz) = tz else {
            return Self::load(Path::new("/etc/localtime")).unwrap_or_else(Self::utc);
        };
        let name = tz.strip_prefix(b":").unwrap_or(tz);
        let rule = || Rule::parse(tz).map(|after| Zone { after: Some(after), ..Zone::utc() });
        path(name).and_then(|path| Self::load(&path)).or_else(rule).unwrap_or_else(Self::utc)
    }

    fn load(path: &Path) -> Option<Zone> {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(FILE).read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes)
    }

    /// Seconds east of UTC at a moment.
    pub(super) fn offset(&self, unix: i64) -> i64 {
        let passed = self.changes.partition_point(|&(at, _)| at <= unix);
        match (&self.after, passed.checked_sub(1).and_then(|last| self.changes.get(last))) {
            (Some(rule), _) if passed == self.changes.len() => rule.offset(unix),
            (_, Some(&(_, offset))) => offset,
            (_, None) => self.first,
        }
    }

    /// Reads a TZif file: the 64-bit half if it has one.
    fn parse(bytes: &[u8]) -> Option<Zone> {
        let mut file = Bytes(bytes);
        let old = Header::read(&mut file)?;
        if old.version < b'2' {
            return file.data(&old, 4);
        }
        file.take(old.length(4)?)?;
        let new = Header::read(&mut file)?;
        let mut zone = file.data(&new, 8)?;
        let footer = file.0.strip_prefix(b"\n")?;
        zone.after = footer.split(|&byte| byte == b'\n').next().and_then(Rule::parse);
        Some(zone)
    }
}

/// The file a zone's name stands for; a name must not lead out of the directory.
fn path(name: &[u8]) -> Option<PathBuf> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    if name.starts_with('/') {
        return Some(PathBuf::from(name));
    }
    (!name.contains("..")).then(|| Path::new(ZONES).join(name))
}

/// The counts at the head of each half (RFC 8536 §3.1).
struct Header {
    version: u8,
    utc: usize,
    wall: usize,
    leaps: usize,
    changes: usize,
    kinds: usize,
    chars: usize,
}

impl Header {
    fn read(file: &mut Bytes<'_>) -> Option<Header> {
        file.take(4).filter(|&magic| magic == b"TZif")?;
        let version = *file.take(16)?.first()?;
        Some(Header {
            version,
            utc: file.count()?,
            wall: file.count()?,
            leaps: file.count()?,
            changes: file.count()?,
            kinds: file.count()?,
            chars: file.count()?,
        })
    }

    /// Bytes of the data behind the header, times having `wide` bytes.
    fn length(&self, wide: usize) -> Option<usize> {
        let times = self.changes.checked_mul(wide + 1)?;
        let leaps = self.leaps.checked_mul(wide + 4)?;
        let kinds = self.kinds.checked_mul(6)?;
        [leaps, kinds, self.chars, self.utc, self.wall]
            .iter()
            .try_fold(times, |sum, &each| sum.checked_add(each))
    }
}

/// What is left to read of the file.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn count(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.first_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    }

    fn data(&mut self, header: &Header, wide: usize) -> Option<Zone> {
        let mut data = Bytes(self.take(header.length(wide)?)?);
        let times = data.take(header.changes.checked_mul(wide)?)?;
        let indices = data.take(header.changes)?;
        let kinds = data.take(header.kinds.checked_mul(6)?)?;
        let offset = |index: usize| {
            let kind = kinds.get(index.checked_mul(6)?..)?.first_chunk::<4>()?;
            Some(i64::from(i32::from_be_bytes(*kind)))
        };
        let changes = times
            .chunks_exact(wide)
            .zip(indices)
            .map(|(time, &index)| Some((signed(time), offset(usize::from(index))?)))
            .collect::<Option<Vec<_>>>()?;
        Some(Zone { changes, first: offset(0)?, after: None })
    }
}

/// A big-endian number of 4 or 8 bytes.
fn signed(bytes: &[u8]) -> i64 {
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(wide), _) => i64::from_be_bytes(*wide),
        (None, Some(narrow)) => i64::from(i32::from_be_bytes(*narrow)),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, changes: u32, kinds: u32, chars: u32) -> Vec<u8> {
        let mut bytes = b"TZif".to_vec();
        bytes.push(version);
        bytes.extend([0; 15]);
        for count in [0, 0, 0, changes, kinds, chars] {
            bytes.extend(count.to_be_bytes());
        }
        bytes
    }

    /// One change at second 100, from +1 hour to +2 hours.
    fn file() -> Vec<u8> {
        let mut bytes = header(b'2', 0, 1, 1);
        bytes.extend([0; 7]);
        bytes.extend(header(b'2', 1, 2, 4));
        bytes.extend(100_i64.to_be_bytes());
        bytes.push(1);
        bytes.extend(3600_i32.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(7200_i32.to_be_bytes());
        bytes.extend([1, 0]);
        bytes.extend(b"CET\0\n");
        bytes
    }

    #[test]
    fn before_the_first_change_and_after_the_last_the_right_offset_holds() {
        let mut bytes = file();
        bytes.extend(b"\n");
        let zone = Zone::parse(&bytes).unwrap();
        assert_eq!((zone.offset(99), zone.offset(100)), (3600, 7200));
        let mut bytes = file();
        bytes.extend(b"EST5\n");
        let zone = Zone::parse(&bytes).unwrap();
        assert_eq!((zone.offset(99), zone.offset(100)), (3600, -18_000));
    }

    #[test]
    fn a_damaged_file_is_no_zone_and_never_a_crash() {
        let whole = file();
        for cut in 0..whole.len() - 1 {
            assert_eq!(Zone::parse(&whole[..cut]), None, "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            if let Some(zone) = Zone::parse(&bytes) {
                let _ = zone.offset(1_700_000_000);
            }
        }
    }

    #[test]
    fn a_name_does_not_lead_out_of_the_zones() {
        assert_eq!(path(b"../../etc/passwd"), None);
        assert_eq!(path(b""), None);
        assert_eq!(path(b"Europe/Rome"), Some(Path::new(ZONES).join("Europe/Rome")));
    }
}
