//! Constant databases: the reader over damaged files, and what the writer made.

use base::cdb::{Cdb, build};

use crate::pick::Raw;

/// The most values that are read of one key: a damaged file may repeat itself.
const MOST: usize = 10_000;
/// Records of a file.
const RECORDS: usize = 200;

/// The input is a list of records (a byte of length each) with, behind an empty key, damage: places
/// and new bytes. First the sound file says what was written, then the damaged one says anything,
/// within bounds.
pub fn cdb(data: &[u8]) {
    let mut raw = Raw(data);
    let mut records: Vec<(&[u8], &[u8])> = Vec::new();
    while !raw.is_empty() && records.len() < RECORDS {
        let key = raw.piece();
        if key.is_empty() {
            break;
        }
        records.push((key, raw.piece()));
    }
    let mut file = build(records.iter().copied()).expect("it is not 4 GiB");
    sound(&file, &records);
    damage(&mut file, raw);
    damaged(&file, &records);
}

fn sound(file: &[u8], records: &[(&[u8], &[u8])]) {
    let cdb = Cdb::new(file).expect("our own file");
    let read: Vec<_> = cdb.records().map(|record| record.expect("our own record")).collect();
    assert_eq!(read, records);
    for (key, _) in records {
        let want: Vec<&[u8]> = records.iter().filter(|(k, _)| k == key).map(|(_, v)| *v).collect();
        let got: Vec<&[u8]> = cdb.values(key).map(|value| value.expect("our own value")).collect();
        assert_eq!(got, want);
        assert_eq!(cdb.get(key), Ok(want.first().copied()));
    }
    if records.iter().all(|(key, _)| *key != b"not there") {
        assert_eq!(cdb.get(b"not there"), Ok(None));
    }
}

/// Overwrites bytes, and perhaps cuts the file.
fn damage(file: &mut Vec<u8>, mut raw: Raw<'_>) {
    while !raw.is_empty() {
        let at = usize::from(raw.u16());
        let bytes = raw.piece();
        if bytes.is_empty() {
            file.truncate(at.max(1));
            continue;
        }
        for (slot, byte) in file.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }
}

fn damaged(file: &[u8], records: &[(&[u8], &[u8])]) {
    let Ok(cdb) = Cdb::new(file) else {
        assert!(file.len() < 2048, "a header is a file");
        return;
    };
    // A record takes eight bytes, a slot too: neither walk can be longer than the file.
    assert!(cdb.records().count() <= file.len());
    for (key, _) in records.iter().chain(&[(&b""[..], &b""[..]), (b"not there", b"")]) {
        let values: Vec<_> = cdb.values(key).take(MOST).collect();
        assert!(values.len() <= file.len() / 8 + 1, "more values than slots");
        assert!(values.iter().rev().skip(1).all(Result::is_ok), "an error is not the last");
    }
    let _ = store::users::assign::find(file, b"joe-list");
}
