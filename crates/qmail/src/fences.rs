//! What the programs of this binary keep that serve for long. Those that become users (lspawn,
//! pspawn) or run what users name cannot be fenced; a child that only writes into a Maildir is.

use std::path::Path;

use sys::sandbox::{Calls, Fence};

/// qmail-queued: the queue, and threads that wait for the disk. Its socket listens already.
pub(crate) fn queued(queue: &Path) -> Fence {
    Fence::new().writes_and_links(queue).calls(Calls::THREADS)
}

/// qmail-send: settings, queued, and a process for each bounce on its way there.
pub(crate) fn send(home: &Path) -> Fence {
    let settings = Fence::new().reads_and_links(home.join("control"));
    settings.calls(Calls::UNIX.and(Calls::FORK))
}

/// qmail-clean: queued.
pub(crate) fn clean() -> Fence {
    Fence::new().calls(Calls::UNIX)
}

/// A child of qmail-lspawn that syncs a file system: it has a directory of it open.
pub(crate) fn syncer() -> Fence {
    Fence::new().calls(Calls::WRITE)
}

/// A child of qmail-lspawn that writes into one Maildir. It is in its user's home, whose `.qmail`
/// files it reads again for each delivery.
pub(crate) fn mailbox(maildir: &Path) -> Fence {
    Fence::new().reads(".").writes_and_links(maildir)
}
