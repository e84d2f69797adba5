//! Programs that a test writes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Makes an executable file of a text, at once in place of what was there. Another process writes it:
/// what other tests fork just then would hold a file of ours open, and what is open for writing cannot
/// be executed.
///
/// # Panics
/// It cannot be made.
pub fn script(path: &Path, text: &str) {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf %s \"$1\" > \"$0\""]).arg(&new).arg(text);
    let made = writer.status().is_ok_and(|status| status.success())
        && fs::set_permissions(&new, Permissions::from_mode(0o755)).is_ok()
        && fs::rename(&new, path).is_ok();
    assert!(made, "{} cannot be made", path.display());
}
