//! Each program's fence, with somebody inside who tries to get out. No test harness, so that a fork
//! has one thread.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use probe::{Act, REFUSED, killed, left, refused};
use yard::Yard;

#[path = "../src/fences.rs"]
mod fences;

fn main() {
    let home = Yard::new("fences");
    for dir in ["control", "users", "queue/log", "Maildir/new", "big"] {
        std::fs::create_dir_all(home.join(dir)).unwrap();
        std::fs::write(home.join(dir).join("file"), "x").unwrap();
    }
    std::os::unix::fs::symlink(home.join("big"), home.join("queue/big")).unwrap();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = Act::Connect(sink.local_addr().unwrap());
    let socket = home.join("queue/queued");
    let _queued = UnixListener::bind(&socket).unwrap();
    let unix = Act::Unix(socket);
    let (file, passwd) = (|name: &str| home.join(name), || "/etc/passwd".into());
    let out = |who: &str, fence: &sys::sandbox::Fence| {
        refused(who, fence, &[connect.clone(), Act::Udp, Act::Read(passwd())]);
        refused(who, fence, &[Act::Exec("/bin/true".into()), Act::Write(passwd())]);
        refused(who, fence, &[Act::Write(file("control/file")), Act::Read(file("users/file"))]);
        refused(who, fence, &REFUSED);
        killed(who, fence);
    };

    let queued = fences::queued(&file("queue"));
    left("queued", &queued, &[Act::Write(file("queue/log/1")), Act::Remove(file("queue/log/1"))]);
    left("queued", &queued, &[Act::Write(file("queue/big/1")), Act::Thread]);
    refused("queued", &queued, &[unix.clone(), Act::Read(file("Maildir/new/file")), Act::Fork]);
    out("queued", &queued);

    let send = fences::send(&home);
    left("send", &send, &[Act::Read(file("control/file")), unix.clone(), Act::Fork]);
    refused(
        "send",
        &send,
        &[Act::Write(file("queue/log/file")), Act::Read(file("queue/log/file"))],
    );
    out("send", &send);

    let clean = fences::clean();
    left("clean", &clean, std::slice::from_ref(&unix));
    refused(
        "clean",
        &clean,
        &[Act::Read(file("control/file")), Act::List(file("queue")), Act::Fork],
    );
    out("clean", &clean);

    let syncer = fences::syncer();
    refused("a syncer", &syncer, &[unix.clone(), Act::Read(file("Maildir/new/file")), Act::Fork]);
    refused(
        "a syncer",
        &syncer,
        &[Act::Write(file("Maildir/new/1")), Act::Remove(file("big/file"))],
    );
    out("a syncer", &syncer);

    let mailbox = fences::mailbox(&file("Maildir"));
    left("a mailbox's worker", &mailbox, &[Act::Write(file("Maildir/new/1"))]);
    refused("a mailbox's worker", &mailbox, &[unix, Act::Write(file("queue/log/file")), Act::Fork]);
    out("a mailbox's worker", &mailbox);
}
