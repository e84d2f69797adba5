//! queue a letter under a subject
//!
//! *Runs as* whoever calls it · *hears* the letter's body on descriptor 0 · *opens* nothing ·
//! *speaks to* qmail-inject

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::feed::feed;
use super::{Stop, end, program, words};

const USAGE: &str = "mailsubj: usage: mailsubj subject recipient ...";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("mailsubj", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let [subject, recipients @ ..] = args else { return Err(Stop::Usage(USAGE)) };
    if recipients.is_empty() {
        return Err(Stop::Usage(USAGE));
    }
    let inject = program("qmail-inject")?.into_os_string();
    feed(&inject, &[], &header(subject, recipients), |_| 111)
}

/// The header. qmail-inject reads the recipients from it, and takes blanks for commas.
fn header(subject: &OsString, recipients: &[OsString]) -> Vec<u8> {
    let mut header = one_line(b"Subject:", [subject]);
    header.extend(one_line(b"To:", recipients));
    header.push(b'\n');
    header
}

/// A field of one line: what a caller was given by a stranger makes no field of its own.
fn one_line<'a>(name: &[u8], words: impl IntoIterator<Item = &'a OsString>) -> Vec<u8> {
    let mut line = name.to_vec();
    for word in words {
        line.push(b' ');
        line.extend(word.as_bytes().iter().map(|&c| if c == b'\n' { b' ' } else { c }));
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_two_fields_whatever_the_words_are() {
        let header = header(&"a b\nBcc: x@y\n".into(), &["a@b".into(), "c d".into()]);
        assert_eq!(header, b"Subject: a b Bcc: x@y \nTo: a@b c d\n\n");
    }
}
