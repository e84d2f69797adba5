//! The last step, which only hands can do: numbered records are written and synced and each is said
//! aloud; somebody pulls the plug; afterwards every number that was said must be there.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use super::belief::{is_plain, record_file};
use crate::Trouble;
use crate::permissions::about;
use crate::print::{complain, say};

/// Bytes of a record: its number, written over and over.
const RECORD: usize = 512;
/// Records in the file; the first comes after the last.
const RECORDS: u64 = 65_536;
/// The most of a list of numbers that is read.
const LIST: u64 = 64 << 20;

fn record(number: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    for piece in bytes.chunks_exact_mut(8) {
        piece.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Writes records until somebody pulls the plug. A number is printed when its record is safe: let
/// the output go to another machine.
pub(crate) fn begin(dir: &Path) -> Result<ExitCode, Trouble> {
    let path = record_file(dir);
    let open = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = about(&path, open)?;
    let parent = about(dir, File::open(dir))?;
    let whole = vec![0; RECORD * RECORDS as usize];
    about(&path, file.write_all_at(&whole, 0).and_then(|()| file.sync_all()))?;
    about(dir, parent.sync_all())?;
    complain(format_args!(
        "{}: writing; keep what is printed on another machine, then cut the power",
        path.display()
    ));
    let mut out = std::io::stdout();
    for number in 1_u64.. {
        let at = (number % RECORDS) * RECORD as u64;
        about(&path, file.write_all_at(&record(number), at).and_then(|()| file.sync_data()))?;
        // Whoever listens may go: the numbers already said are what counts.
        if writeln!(out, "{number}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// After the cut: every number in the list must be in its place, or a later one.
pub(crate) fn check(dir: &Path, list: &Path) -> Result<ExitCode, Trouble> {
    let mut text = String::new();
    let opened = about(list, File::open(list))?;
    about(list, opened.take(LIST).read_to_string(&mut text))?;
    // The last line may have been cut short too.
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let said = whole.lines().filter_map(|line| line.trim().parse().ok()).max().unwrap_or(0_u64);
    let path = record_file(dir);
    let file = about(&path, File::open(&path))?;
    if said == 0 || !is_plain(&file) {
        return Err(format!("{}: no numbers, or {} is not ours", list.display(), path.display()));
    }
    let mut lost = 0;
    for number in said.saturating_sub(RECORDS - 1).max(1)..=said {
        lost += u64::from(!about(&path, is_there(&file, number))?);
    }
    let looked = said.min(RECORDS);
    say!("{said} was the last number said; of the last {looked} records {lost} are lost");
    say!(
        "{}",
        if lost == 0 {
            "this disk kept its word this time"
        } else {
            "this disk lies: a sync does not make anything durable"
        }
    );
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the record, or a later one of the same place, is whole.
fn is_there(file: &File, number: u64) -> std::io::Result<bool> {
    let mut bytes = [0; RECORD];
    file.read_exact_at(&mut bytes, (number % RECORDS) * RECORD as u64)?;
    let found = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    Ok(bytes == record(found) && found >= number && found % RECORDS == number % RECORDS)
}
