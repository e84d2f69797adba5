//! What a program of this binary keeps that serves for long and runs nothing.

use std::path::Path;

use sys::sandbox::{Calls, Fence};

/// multilog without processors: its directories. Its status files are open.
pub(crate) fn multilog<'a>(dirs: impl Iterator<Item = &'a Path>) -> Fence {
    dirs.fold(Fence::new(), Fence::writes)
}

/// splogger: the logger's socket, opened anew when the logger is.
pub(crate) fn splogger() -> Fence {
    Fence::new().calls(Calls::UNIX)
}

/// readproctitle: nothing. Its input and its own memory are open.
pub(crate) fn readproctitle() -> Fence {
    Fence::new()
}

/// Who stands between a program and its client (recordio, fixcrio), and rblsmtpd once it refuses: what
/// is open. One lives for one connection, so only files and ports are fenced, which costs nothing.
pub(crate) fn one_connection() -> Fence {
    Fence::new()
}
