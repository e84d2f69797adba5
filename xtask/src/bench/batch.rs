//! The file system's own rate: letters written into a Maildir and made durable by a sync of the
//! file system for every hundred; alone on the machine, and beside the acceptance of as many.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use super::account::Account;
use super::load::Load;
use crate::tally::Trouble;

/// What the file system did in all rounds.
#[derive(Default)]
pub(super) struct Batches {
    /// With nothing beside it.
    pub(super) alone: Account,
    /// While a server accepts as many letters and delivers none: what a delivery without any cost
    /// but the file system's could reach on the same processors.
    pub(super) beside: Account,
}

impl Batches {
    /// One round; `load` goes to a server that holds what it accepts.
    pub(super) fn round(
        &mut self,
        dir: &Path,
        load: Load,
        address: &str,
        to: &str,
    ) -> Result<(), Trouble> {
        self.alone.figures.push(rate(dir, load.letters)?);
        let begun = Instant::now();
        let (written, sent) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| rate(dir, load.letters));
            let sent = load.send(address, to);
            (writer.join(), sent)
        });
        let took = begun.elapsed().as_secs_f64();
        written.map_err(|_| "the writer of batches panicked")??;
        sent?;
        self.beside.figures.push(f64::from(load.letters) / took);
        Ok(())
    }
}

/// Letters made durable by one sync.
const BATCH: u32 = 100;

/// Letters of 4 KB per second, by one thread.
fn rate(dir: &Path, letters: u32) -> Result<f64, Trouble> {
    let dir = dir.join("batch");
    for sub in ["tmp", "new"] {
        std::fs::create_dir_all(dir.join(sub)).map_err(|e| e.to_string())?;
    }
    let root = File::open(&dir).map_err(|e| e.to_string())?;
    let letter = [b'x'; 4_096];
    let begun = Instant::now();
    for n in 0..letters {
        let (tmp, new) = (dir.join(format!("tmp/{n}")), dir.join(format!("new/{n}")));
        File::create(&tmp).and_then(|mut f| f.write_all(&letter)).map_err(|e| e.to_string())?;
        std::fs::rename(&tmp, &new).map_err(|e| e.to_string())?;
        if n % BATCH == BATCH - 1 {
            sys::file::sync_fs(root.as_fd()).map_err(|e| e.to_string())?;
        }
    }
    let rate = f64::from(letters) / begun.elapsed().as_secs_f64();
    let _ = std::fs::remove_dir_all(&dir);
    Ok(rate)
}
