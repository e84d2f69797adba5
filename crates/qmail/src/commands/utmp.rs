//! Who is logged in where, as `utmp` has it (utmp(5)).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Bytes of a record, as the C library of this processor's Linux writes it.
pub(super) const RECORD: usize = if cfg!(target_arch = "aarch64") { 400 } else { 384 };
/// The type of a record that is a user's login.
const USER: i16 = 7;

/// The terminals, below `/dev`, at which a user is logged in. What is no record, and what names no
/// file below `/dev`, is passed over.
pub(super) fn terminals<'f>(file: &'f [u8], user: &'f [u8]) -> impl Iterator<Item = &'f Path> {
    file.chunks_exact(RECORD).filter_map(move |record| terminal(record, user))
}

fn terminal<'f>(record: &'f [u8], user: &[u8]) -> Option<&'f Path> {
    let kind = i16::from_ne_bytes(*record.first_chunk()?);
    let line = Path::new(OsStr::from_bytes(text(record.get(8..40)?)));
    let name = text(record.get(44..76)?);
    let below = line.components().all(|part| matches!(part, Component::Normal(_)));
    let there = below && !line.as_os_str().is_empty();
    (kind == USER && name == user && !user.is_empty() && there).then_some(line)
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&c| c == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16, line: &[u8], user: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[8..8 + line.len()].copy_from_slice(line);
        record[44..44 + user.len()].copy_from_slice(user);
        record
    }

    #[test]
    fn only_logins_of_the_user_at_a_terminal_count() {
        let long = [b'x'; 32];
        let file = [
            record(USER, b"pts/1", b"joe"),
            record(8, b"pts/2", b"joe"),
            record(USER, b"pts/3", b"joel"),
            record(USER, b"../etc/passwd", b"joe"),
            record(USER, b"/etc/passwd", b"joe"),
            record(USER, b"", b"joe"),
            record(USER, b"tty4", b"joe"),
            record(USER, &long, &long),
            vec![7; RECORD - 1],
        ]
        .concat();
        let of = |user: &'static [u8]| -> Vec<String> {
            terminals(&file, user).map(|path| path.display().to_string()).collect()
        };
        assert_eq!(of(b"joe"), ["pts/1", "tty4"]);
        assert_eq!(of(&[b'x'; 32]), ["x".repeat(32)]);
        assert!(of(&[b'x'; 33]).is_empty() && of(b"").is_empty());
    }
}
