//! Delivery to an mbox file: locked, appended, synced, and cut back if that fails
//! (dot-qmail(5)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use letter::mbox::Quoted;
use store::maildir::Source;

use super::Stop;
use super::environment::Lines;
use crate::mbox_lock::{self, NoLock};

/// Bytes of the letter read at a time.
const PIECE: usize = 64 << 10;

/// Appends the letter to the file `name`.
pub(super) fn deliver(name: &[u8], lines: &Lines, letter: &File) -> Result<(), Stop> {
    let unable = |doing: &[u8], err| Stop::unable(&[doing, name].concat(), &err, "4.2.1");
    let path = Path::new(OsStr::from_bytes(name));
    let file = mbox_lock::append(path).map_err(|why| match why {
        NoLock::Open(err) => unable(b"open ", err),
        NoLock::Lock(err) => unable(b"lock ", err),
        NoLock::Busy => Stop::soft("File has been locked for 30 seconds straight. (#4.3.0)"),
    })?;
    let size = file.metadata().map_err(|err| unable(b"open ", err))?.len();
    let appended = append(&file, lines, letter).and_then(|()| match size {
        0 => sys::file::sync_name(path).map_err(Failure::File),
        _ => Ok(()),
    });
    appended.map_err(|failure| {
        // Behind the lock: nobody has appended anything since.
        let _ = file.set_len(size).and_then(|()| file.sync_all());
        match failure {
            Failure::Letter(err) => Stop::unable(b"read message", &err, "4.3.0"),
            Failure::File(err) => Stop::unable(&[b"write ", name].concat(), &err, "4.3.0"),
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::environment::tests::job;
    use base::time::Moment;
    use std::io::Read;
    use yard::Yard;

    #[test]
    fn a_letter_is_appended_with_its_three_lines() {
        let dir = Yard::new("mbox");
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
    }
}
