//! Giving up what a process will not need, for good.

use std::io;

/// From now on no exec of this process or its children grants a privilege (set-uid bits,
/// file capabilities). Cannot be undone.
pub fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
