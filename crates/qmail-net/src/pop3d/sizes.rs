//! How long the letters are. Our own names say it; a letter that somebody else delivered is read
//! once, and what was found is remembered beside the Maildir.
//!
//! The memory is a file `qmail-pop3d.sizes`: a mark, a checksum, and for each letter three numbers
//! of eight bytes (a hash of the stem, the inode, the length), in order. The Maildir stays the
//! truth: a file that is missing, damaged, old or somebody's joke costs the reading again.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use base::limits;
use sys::dir::{Dir, How};

use super::lengths::{self, Unread};
use super::maildir::Maildir;
use super::name;

/// The file's name, in the Maildir.
const FILE: &str = "qmail-pop3d.sizes";
/// What it begins with.
const MARK: &[u8; 8] = b"qsizes 1";
/// The mark and the checksum.
const HEAD: usize = 16;
/// One letter's numbers.
const RECORD: usize = 24;
/// So many letters must have been read that it is worth remembering.
const WORTH: usize = 32;

/// A letter whose name does not say its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Foreign {
    /// A hash of the stem, and the inode: neither changes while the letter is there.
    key: (u64, u64),
    /// Its place in the list.
    index: usize,
}

/// The length of every letter, in the order of the list; 0 if it cannot be read.
pub(super) fn of(maildir: &Maildir) -> Vec<u64> {
    let mut sizes = vec![0; maildir.letters().len()];
    let mut foreign = Vec::new();
    for (index, (letter, size)) in maildir.letters().iter().zip(&mut sizes).enumerate() {
        match name::wire(maildir.sizes(letter)) {
            Some(wire) => *size = wire,
            None => {
                let key = (name::fnv(maildir.stem(letter)), letter.inode);
                foreign.push(Foreign { key, index });
            }
        }
    }
    if !foreign.is_empty() {
        foreign.sort_unstable();
        find(maildir, &foreign, &mut sizes);
    }
    sizes
}

/// Fills in the foreign letters' lengths.
fn find(maildir: &Maildir, foreign: &[Foreign], sizes: &mut [u64]) {
    let known = read(maildir).unwrap_or_default();
    let mut records = known.chunks_exact(RECORD).filter_map(record).peekable();
    let mut missing = Vec::new();
    for letter in foreign {
        while records.next_if(|(key, _)| *key < letter.key).is_some() {}
        match (records.peek(), sizes.get_mut(letter.index)) {
            (Some((key, known)), Some(size)) if *key == letter.key => *size = *known,
            _ => missing.push(Unread { inode: letter.key.1, index: letter.index, length: None }),
        }
    }
    if missing.is_empty() {
        return;
    }
    lengths::read(maildir, &mut missing);
    for letter in &missing {
        if let Some(size) = sizes.get_mut(letter.index) {
            *size = letter.length.unwrap_or(0);
        }
    }
    if missing.len() >= WORTH && missing.iter().all(|letter| letter.length.is_some()) {
        let _next_time = write(maildir, foreign, sizes);
    }
}

/// One record: key and length.
fn record(bytes: &[u8]) -> Option<((u64, u64), u64)> {
    let (words, _) = bytes.as_chunks::<8>();
    let [hash, inode, length] = words else { return None };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    Some(((word(hash), word(inode)), word(length)))
}

/// The records that were remembered, if they are whole.
fn read(maildir: &Maildir) -> io::Result<Vec<u8>> {
    let most = limits::MAILDROP.saturating_mul(RECORD).saturating_add(HEAD);
    let file = Dir::open(maildir.path())?.file(FILE, How::Read)?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let (mark, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (sum, records) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let whole = mark == MARK && records.len() % RECORD == 0 && *sum == checksum(records);
    if whole { Ok(bytes.split_off(HEAD)) } else { Err(damaged()) }
}

/// Remembers all foreign letters' lengths: in a new file, put in place at once. It is not synced:
/// half of it after a power cut is damaged, and thereby nothing.
fn write(maildir: &Maildir, foreign: &[Foreign], sizes: &[u64]) -> io::Result<()> {
    let mut bytes = vec![0; HEAD];
    bytes.reserve_exact(foreign.len().saturating_mul(RECORD));
    for letter in foreign {
        let size = sizes.get(letter.index).copied().unwrap_or(0);
        for number in [letter.key.0, letter.key.1, size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    let sum = checksum(bytes.get(HEAD..).unwrap_or_default());
    for (place, byte) in bytes.iter_mut().zip(MARK.iter().chain(&sum)) {
        *place = *byte;
    }
    // In tmp, which is swept of what dies on its way.
    let making = maildir.path().join("tmp").join(format!("{FILE}.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&making);
    let written = file.and_then(|mut file| file.write_all(&bytes));
    let placed = written.and_then(|()| fs::rename(&making, maildir.path().join(FILE)));
    if placed.is_err() {
        let _swept_later = fs::remove_file(&making);
    }
    placed
}

/// Tells damage, not malice: whoever could write the file could as well write letters.
fn checksum(records: &[u8]) -> [u8; 8] {
    let (words, _) = records.as_chunks::<8>();
    let sum = words.iter().fold(records.len() as u64, |sum, word| {
        (sum.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95)
    });
    sum.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::maildir::tests::Mailbox;
    use super::*;

    /// Sizes as a session finds them, in the order of the list.
    fn sizes(mail: &Mailbox) -> Vec<u64> {
        of(&mail.open())
    }

    /// A mailbox with enough foreign letters to be remembered: the first two say `ab` and nothing.
    fn foreign(test: &str) -> Mailbox {
        let names: Vec<String> = (10..60).map(|n| format!("new/{n}.1.vm,S=3,W=1")).collect();
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "x\n")).collect();
        (files[0].1, files[1].1) = ("ab\n", "");
        Mailbox::with(test, &files)
    }

    fn expected() -> Vec<u64> {
        [4, 0].into_iter().chain([3; 48]).collect()
    }

    #[test]
    fn foreign_letters_are_read_once_and_ours_never() {
        let mail = foreign("once");
        assert_eq!(sizes(&mail), expected());
        // From now on nothing of them is looked at.
        fs::write(mail.0.join("new/10.1.vm,S=3,W=1"), "changed in place\n").unwrap();
        fs::rename(mail.0.join("new/11.1.vm,S=3,W=1"), mail.0.join("cur/11.1.vm,S=3,W=1:2,S"))
            .unwrap();
        fs::write(mail.0.join("cur/70.M1Q1R0.h,S=9,W=77:2,"), "x").unwrap();
        let with_ours: Vec<u64> = expected().into_iter().chain([77]).collect();
        assert_eq!(sizes(&mail), with_ours);
        // Another file under an old name is another letter.
        fs::remove_file(mail.0.join("new/10.1.vm,S=3,W=1")).unwrap();
        fs::write(mail.0.join("keep"), "so that the number is not used again").unwrap();
        fs::write(mail.0.join("new/10.1.vm,S=3,W=1"), "four\n").unwrap();
        assert!(matches!(sizes(&mail)[0], 6 | 4));
    }

    #[test]
    fn a_damaged_or_foolish_memory_costs_a_reading_and_nothing_else() {
        let mail = foreign("damaged");
        assert_eq!(sizes(&mail), expected());
        let path = mail.0.join(FILE);
        let good = fs::read(&path).unwrap();
        assert_eq!(good.len(), HEAD + 50 * RECORD);
        for at in [0, 7, 8, 15, 16, 40, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(sizes(&mail), expected());
            assert_eq!(fs::read(&path).unwrap(), good, "it is put right");
        }
        for cut in [0, 5, HEAD, HEAD + 1, HEAD + RECORD] {
            fs::write(&path, &good[..cut]).unwrap();
            assert_eq!(sizes(&mail), expected());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(sizes(&mail), expected());
        assert_eq!(mail.list("tmp"), [""; 0]);
    }

    #[test]
    fn a_few_letters_are_not_worth_a_file() {
        let mail = Mailbox::with("few", &[("new/1.1.vm", "x\n"), ("new/2.1.vm", "y\n")]);
        assert_eq!(sizes(&mail), [3, 3]);
        assert!(!mail.0.join(FILE).exists());
    }
}
