//! The file system's own rate: letters written into a Maildir and made durable by a sync of the
//! file system for every hundred.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use crate::tally::Trouble;

/// Letters made durable by one sync.
const BATCH: u32 = 100;

/// Letters of 4 KB per second, one process and nothing beside it.
pub(super) fn rate(dir: &Path, letters: u32) -> Result<f64, Trouble> {
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
