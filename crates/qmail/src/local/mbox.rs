//! Delivery to an mbox file: locked, appended, synced, and cut back if that fails (spec
//! `qmail-local.md` §4.3).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use store::maildir::Source;

use super::Stop;
use super::environment::Lines;

/// How long the file may stay locked by others.
const LOCKED: Duration = Duration::from_secs(30);
/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(50);
/// Bytes of the letter read at a time.
const PIECE: usize = 64 << 10;

/// Appends the letter to the file `name`.
pub(super) fn deliver(name: &[u8], lines: &Lines, letter: &File) -> Result<(), Stop> {
    let open = |err| Stop::unable(&[b"open ", name].concat(), &err, "4.2.1");
    let mut options = std::fs::OpenOptions::new();
    let opened = options.append(true).create(true).open(OsStr::from_bytes(name));
    let file = opened.map_err(open)?;
    let locked = lock(&file)?;
    let size = file.metadata().map_err(open)?.len();
    let appended = append(&file, lines, letter).and_then(|()| match size {
        0 => keep_name(name).map_err(Failure::File),
        _ => Ok(()),
    });
    appended.map_err(|failure| {
        // What others have appended since must not be cut off: only behind a lock.
        if locked {
            let _ = file.set_len(size).and_then(|()| file.sync_all());
        }
        match failure {
            Failure::Letter(err) => Stop::unable(b"read message", &err, "4.3.0"),
            Failure::File(err) => Stop::unable(&[b"write ", name].concat(), &err, "4.3.0"),
        }
    })
}

/// Makes the name of a file that may be new as durable as its bytes: syncs its directory.
fn keep_name(name: &[u8]) -> io::Result<()> {
    let dir = Path::new(OsStr::from_bytes(name)).parent();
    let dir = dir.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Waits for the lock. False: this file system has none, and the delivery goes on without.
fn lock(file: &File) -> Result<bool, Stop> {
    let until = sys::clock::monotonic().saturating_add(LOCKED);
    loop {
        match sys::lock::try_exclusive(file) {
            Ok(()) => return Ok(true),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Ok(false),
        }
        if sys::clock::monotonic() >= until {
            let text = "File has been locked for 30 seconds straight. (#4.3.0)";
            return Err(Stop::soft(text));
        }
        sys::clock::sleep(TRY);
    }
}

enum Failure {
    Letter(io::Error),
    File(io::Error),
}

fn append(file: &File, lines: &Lines, letter: &File) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(PIECE, file);
    let mut body = Quoted::default();
    let (mut buf, mut at) = (vec![0; PIECE], 0_u64);
    let head = [&lines.from, &lines.return_path, &lines.delivered_to];
    head.into_iter().try_for_each(|line| out.write_all(line)).map_err(Failure::File)?;
    loop {
        let n = letter.read_at(&mut buf, at).map_err(Failure::Letter)?;
        let piece = buf.get(..n).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        out.write_all(&body.feed(piece)).map_err(Failure::File)?;
        at = at.saturating_add(n as u64);
    }
    let end = out.write_all(&body.finish()).and_then(|()| out.flush());
    end.and_then(|()| file.sync_all()).map_err(Failure::File)
}

/// Quotes lines that look like the beginning of the next letter: `>*From ` gets one more `>`.
#[derive(Debug, Default)]
struct Quoted {
    line: Line,
    /// The last byte was no LF.
    open: bool,
}

/// How much of the current line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So far only `>`s, already written, and this many bytes of `From `, not yet written.
    Beginning(usize),
    /// It needs no quoting any more.
    Going,
}

impl Default for Line {
    fn default() -> Self {
        Self::Beginning(0)
    }
}

const FROM: &[u8] = b"From ";

impl Quoted {
    /// The letter's next bytes as they are written.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len().saturating_add(FROM.len()));
        for &byte in bytes {
            self.open = byte != b'\n';
            self.line = match self.line {
                Line::Beginning(0) if byte == b'>' => {
                    out.push(byte);
                    Line::Beginning(0)
                }
                Line::Beginning(n) if FROM.get(n) == Some(&byte) => match n.saturating_add(1) {
                    all if all == FROM.len() => {
                        out.push(b'>');
                        out.extend_from_slice(FROM);
                        Line::Going
                    }
                    some => Line::Beginning(some),
                },
                Line::Beginning(n) => {
                    out.extend_from_slice(FROM.get(..n).unwrap_or_default());
                    Self::go_on(&mut out, byte)
                }
                Line::Going => Self::go_on(&mut out, byte),
            };
        }
        out
    }

    fn go_on(out: &mut Vec<u8>, byte: u8) -> Line {
        out.push(byte);
        if byte == b'\n' { Line::default() } else { Line::Going }
    }

    /// What was held back, the end of a last line without one, and the empty line.
    fn finish(self) -> Vec<u8> {
        let held = match self.line {
            Line::Beginning(n) => FROM.get(..n).unwrap_or_default(),
            Line::Going => b"",
        };
        let end: &[u8] = if self.open { b"\n\n" } else { b"\n" };
        [held, end].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::environment::tests::job;
    use base::time::Moment;
    use std::io::Read;

    fn quoted(text: &[u8], piece: usize) -> Vec<u8> {
        let mut body = Quoted::default();
        let mut out: Vec<u8> = text.chunks(piece).flat_map(|piece| body.feed(piece)).collect();
        out.extend(body.finish());
        out
    }

    #[test]
    fn lines_that_look_like_a_letters_beginning_get_a_mark() {
        let text = b"From a\nFro\n>>From b\n>Fromm\n > From x\nFrom";
        let want = b">From a\nFro\n>>>From b\n>Fromm\n > From x\nFrom\n\n";
        for piece in 1..=text.len() {
            assert_eq!(quoted(text, piece), want, "{piece}");
        }
        assert_eq!(quoted(b"", 1), b"\n");
        assert_eq!(quoted(b"x\n", 1), b"x\n\n");
        // A last line of nothing but marks still gets its end.
        assert_eq!(quoted(b">>", 1), b">>\n\n");
        assert_eq!(quoted(b"From ", 2), b">From \n\n");
    }

    #[test]
    fn a_files_name_is_synced_wherever_it_lies() {
        for name in [&b"./Mailbox"[..], b"Mailbox", b"/Mailbox", b"src/Mailbox"] {
            assert!(keep_name(name).is_ok(), "{name:?}");
        }
        assert!(keep_name(b"./no/such/Mailbox").is_err());
    }

    #[test]
    fn a_letter_is_appended_with_its_three_lines() {
        let dir = std::env::temp_dir().join(format!("mbox-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let name = dir.join("Mailbox");
        std::fs::write(dir.join("letter"), b"Subject: x\n\nFrom here").unwrap();
        let letter = File::open(dir.join("letter")).unwrap();
        let lines = Lines::of(&job(), Moment::default());
        for _ in 0..2 {
            assert!(deliver(name.as_os_str().as_bytes(), &lines, &letter).is_ok());
        }
        let mut text = String::new();
        File::open(&name).unwrap().read_to_string(&mut text).unwrap();
        let one = "From a-b@x Thu Jan 01 00:00:00 1970\nReturn-Path: <\"a b\"@x>\n\
                   Delivered-To: tuser-virt-A.B-C%d@virt.org\nSubject: x\n\n>From here\n\n";
        assert_eq!(text, format!("{one}{one}"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
