//! multilog's fence and splogger's, with somebody inside who tries to get out. No test harness, so that a fork has
//! one thread.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use probe::{Act, REFUSED, killed, left, refused};
use yard::Yard;

#[path = "../src/fences.rs"]
mod fences;

fn main() {
    let dir = Yard::new("fences-multilog");
    for name in ["main", "alerts", "other"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("current"), "x").unwrap();
    }
    let (main, alerts) = (dir.join("main"), dir.join("alerts"));
    let fence = fences::multilog([main.as_path(), alerts.as_path()].into_iter());
    for kept in [&main, &alerts] {
        left("multilog", &fence, &[Act::Write(kept.join("@1.s")), Act::Remove(kept.join("@1.s"))]);
    }
    let other = dir.join("other/current");
    refused("multilog", &fence, &[Act::Read(other.clone()), Act::Write(other), Act::Udp]);
    refused("multilog", &fence, &[Act::Exec("/bin/true".into()), Act::Fork]);
    refused("multilog", &fence, &REFUSED);
    killed("multilog", &fence);

    // What it writes to is open: its own memory.
    let title = fences::readproctitle();
    refused("readproctitle", &title, &[Act::Read("/etc/passwd".into()), Act::Udp, Act::Fork]);
    refused("readproctitle", &title, &REFUSED);
    killed("readproctitle", &title);

    let between = fences::one_connection();
    refused(
        "recordio",
        &between,
        &[Act::Read("/etc/passwd".into()), Act::Write(dir.join("main/x"))],
    );

    let splogger = fences::splogger();
    let log = dir.join("log");
    let _syslog = std::os::unix::net::UnixListener::bind(&log).unwrap();
    left("splogger", &splogger, &[Act::Unix(log)]);
    let mine = dir.join("main/current");
    refused("splogger", &splogger, &[Act::Read(mine.clone()), Act::Write(mine), Act::Udp]);
    refused("splogger", &splogger, &[Act::Exec("/bin/true".into()), Act::Fork]);
    refused("splogger", &splogger, &REFUSED);
    killed("splogger", &splogger);
}
