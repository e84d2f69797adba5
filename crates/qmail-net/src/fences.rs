//! What each program of this binary keeps once it has started. Closed in clean parents, before the
//! first stranger is heard; children are in the same fence.

use std::path::{Path, PathBuf};

use sys::sandbox::{Calls, Fence};

/// What of the home qmail-smtpd and qmail-qmtpd read.
pub(crate) const SMTPD: [&str; 2] = ["control", "users"];
/// What of the home qmail-remote reads or writes.
pub(crate) const REMOTE: [&str; 2] = ["control", "queue/lock"];

/// qmail-smtpd: settings, users (`/etc/passwd` is replaced as a whole, so its directory), queued.
pub(crate) fn smtpd(home: &Path) -> Fence {
    let dirs = SMTPD.iter().map(|dir| home.join(dir));
    let users = dirs.fold(Fence::new(), Fence::reads_and_links).reads("/etc");
    users.calls(Calls::UNIX.and(Calls::FORK))
}

/// qmail-qmqpd: queued.
pub(crate) fn qmqpd() -> Fence {
    Fence::new().calls(Calls::UNIX.and(Calls::FORK))
}

/// qmail-popup that asks qmail-pspawn: its socket.
pub(crate) fn popup() -> Fence {
    Fence::new().calls(Calls::UNIX.and(Calls::FORK))
}

/// qmail-pop3d: one Maildir, which it may read by several threads.
pub(crate) fn pop3d(maildir: &Path) -> Fence {
    Fence::new().writes_and_links(maildir).calls(Calls::FORK.and(Calls::THREADS))
}

/// qmail-remote: settings, the DNS and how to ask it, the table of slow hosts, servers.
pub(crate) fn remote(home: &Path) -> Fence {
    let [settings, lock] = REMOTE.map(|dir| home.join(dir));
    let settings = Fence::new().reads_and_links(settings).reads("/etc");
    let dns = settings.reads(resolv_conf().parent().unwrap_or(Path::new("/etc")));
    // The resolver wants to know our domain and a random number, in its own way.
    let dns = dns.reads("/proc/sys/kernel/hostname").reads("/dev/random").reads("/dev/urandom");
    let out = dns.writes(lock).connects().calls(Calls::FORK);
    if home.join("control/outgoingip").exists() { out.connects_from() } else { out }
}

/// Where `/etc/resolv.conf` really is: often it is a link into `/run`.
fn resolv_conf() -> PathBuf {
    std::fs::canonicalize("/etc/resolv.conf").unwrap_or_default()
}
