//! Reading letters to know how long they are on the wire: many at once where there are many, since
//! a disk that is asked for one letter after the other is idle most of the time.

use std::io::{self, Read};
use std::slice::ChunksMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use base::crlf::Length;
use base::limits;

use super::maildir::{Maildir, Places, complain};

/// Letters that a thread takes at a time: neighbours on the disk.
const BATCH: usize = 32;
/// Bytes of a letter read at a time.
const PIECE: usize = 64 << 10;
/// What a thread has of stack; what it reads is elsewhere.
const STACK: usize = 64 << 10;

/// A letter that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// The file's number: files made one after the other lie so on the disk, and have them so.
    pub(super) inode: u64,
    /// Its place in the list.
    pub(super) index: usize,
    /// What was found; `None` if it is gone or cannot be read.
    pub(super) length: Option<u64>,
}

/// Reads the letters, and notes how long they are. The log hears of the first that cannot be read:
/// there may be as many as letters.
pub(super) fn read(maildir: &Maildir, letters: &mut [Unread]) {
    let Ok(places) = maildir.places() else { return };
    letters.sort_unstable_by_key(|letter| (letter.inode, letter.index));
    let threads = threads(letters.len());
    let work = Mutex::new(letters.chunks_mut(BATCH));
    let told = AtomicBool::new(false);
    let reader = || {
        let mut room = vec![0; PIECE];
        while let Some(batch) = take(&work) {
            for letter in batch {
                let found = measure(maildir, &places, letter.index, &mut room);
                let found = found.inspect_err(|err| {
                    // Gone is what another session may have made it.
                    if err.kind() != io::ErrorKind::NotFound && !told.swap(true, Ordering::Relaxed)
                    {
                        complain("read", &maildir.path_of(letter.index), err);
                    }
                });
                letter.length = found.ok();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let thread = thread::Builder::new().stack_size(STACK);
            // Where no more threads may be had it takes longer, that is all.
            if thread.spawn_scoped(scope, reader).is_err() {
                break;
            }
        }
        reader();
    });
}

/// How many threads are to read so many letters, the one that asks among them.
const fn threads(letters: usize) -> usize {
    if letters > limits::LETTERS_SIZED_ALONE { limits::SIZING_THREADS } else { 1 }
}

/// The next letters that nobody has taken.
fn take<'a>(work: &Mutex<ChunksMut<'a, Unread>>) -> Option<&'a mut [Unread]> {
    work.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// A letter's length on the wire, by reading it.
fn measure(maildir: &Maildir, places: &Places, index: usize, room: &mut [u8]) -> io::Result<u64> {
    let (mut file, mut length) = (maildir.glance(places, index)?, Length::default());
    loop {
        match file.read(room) {
            Ok(0) => return Ok(length.total()),
            Ok(n) => length.feed(room.get(..n).unwrap_or_default()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::{Duration, SystemTime};

    use super::super::maildir::tests::Mailbox;
    use super::*;

    /// More than one thread reads by itself, in both directories, with line ends of every kind.
    const MANY: usize = limits::LETTERS_SIZED_ALONE + 500;

    fn letter(n: usize) -> (String, String) {
        let dir = if n.is_multiple_of(3) { "new" } else { "cur" };
        let text = match n % 7 {
            0 => String::new(),
            1 => "x\r\n.\r\n".repeat(n),
            2 => format!("{}\r", "no end".repeat(n)),
            3 => "y\r\rz".repeat(n),
            // More than is read at a time.
            4 if n < 100 => "line\n".repeat(PIECE / 4),
            _ => "line\nand another\n".repeat(n % 50),
        };
        (format!("{dir}/{}.{n}.elsewhere", 1_000_000 + n), text)
    }

    fn many(test: &str) -> (Mailbox, Vec<Option<u64>>) {
        let files: Vec<_> = (0..MANY).map(letter).collect();
        let lengths = files.iter().map(|(_, text)| {
            let mut length = Length::default();
            length.feed(text.as_bytes());
            Some(length.total())
        });
        let lengths = lengths.collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (&name[..], &text[..])).collect();
        (Mailbox::with(test, &files), lengths)
    }

    fn unread(maildir: &Maildir) -> Vec<Unread> {
        let letters = maildir.letters().iter().enumerate();
        letters.map(|(index, at)| Unread { inode: at.inode, index, length: None }).collect()
    }

    /// What is found, in the order of the list.
    fn lengths(maildir: &Maildir) -> Vec<Option<u64>> {
        let mut letters = unread(maildir);
        read(maildir, &mut letters);
        letters.sort_unstable_by_key(|letter| letter.index);
        letters.into_iter().map(|letter| letter.length).collect()
    }

    #[test]
    fn many_threads_find_what_one_would() {
        let (mail, expected) = many("threads");
        assert_eq!(lengths(&mail.open()), expected);
    }

    #[test]
    fn a_letter_that_is_gone_or_cannot_be_read_has_no_length_and_harms_no_other() {
        let (mail, mut expected) = many("gone");
        let maildir = mail.open();
        for gone in [0, 31, 32, 700, MANY - 1] {
            fs::remove_file(mail.0.join(letter(gone).0)).unwrap();
            expected[gone] = None;
        }
        for unreadable in [1, 1_200] {
            let path = mail.0.join(letter(unreadable).0);
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            expected[unreadable] = None;
        }
        assert_eq!(lengths(&maildir), expected);
        // Both directories gone: nothing is found, and nothing else happens.
        fs::rename(mail.0.join("cur"), mail.0.join("tmp/cur")).unwrap();
        assert_eq!(lengths(&maildir), vec![None; MANY]);
    }

    #[test]
    fn letters_that_vanish_meanwhile_are_found_whole_or_not_at_all() {
        let (mail, expected) = many("vanish");
        let maildir = mail.open();
        let found = thread::scope(|scope| {
            let gone = |n: usize| fs::remove_file(mail.0.join(letter(n).0)).unwrap();
            scope.spawn(move || (0..MANY).rev().step_by(2).for_each(gone));
            lengths(&maildir)
        });
        for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found == expected || found.is_none() && n % 2 == (MANY - 1) % 2, "{n}");
        }
    }

    #[test]
    fn few_letters_are_not_worth_a_thread_and_many_not_more_than_the_bound() {
        assert_eq!([0, 1, limits::LETTERS_SIZED_ALONE].map(threads), [1; 3]);
        let most = limits::SIZING_THREADS;
        assert_eq!([limits::LETTERS_SIZED_ALONE + 1, limits::MAILDROP].map(threads), [most; 2]);
    }

    #[test]
    fn a_letter_that_was_only_counted_does_not_look_read() {
        let mail = Mailbox::with("atime", &[("new/1.a.elsewhere", "x\n")]);
        let path = mail.0.join("new/1.a.elsewhere");
        let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
        let times = FileTimes::new().set_accessed(long_ago).set_modified(long_ago);
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        assert_eq!(lengths(&mail.open()), [Some(3)]);
        assert_eq!(path.metadata().unwrap().accessed().unwrap(), long_ago);
    }
}
