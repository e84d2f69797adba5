//! How often the disk was told to flush its cache, as the kernel counts it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Flushes of the device a directory lies on, since boot; nothing if it is on no block device.
pub(super) fn count(dir: &Path) -> Option<u64> {
    let device = std::fs::metadata(dir).ok()?.dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // Documentation/block/stat.rst: the sixteenth value.
    stat.split_whitespace().nth(15)?.parse().ok()
}
