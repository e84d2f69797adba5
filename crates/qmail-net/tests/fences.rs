//! Each program's fence, with somebody inside who tries to get out. No test harness, so that a fork
//! has one thread.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use probe::{Act, REFUSED, killed, left, refused};
use sys::sandbox::Fence;
use yard::Yard;

#[path = "../src/fences.rs"]
mod fences;

fn main() {
    let home = Yard::new("fences-net");
    for dir in ["control", "users", "queue/lock", "queue/log", "Maildir/new", "elsewhere"] {
        std::fs::create_dir_all(home.join(dir)).unwrap();
        std::fs::write(home.join(dir).join("file"), "x").unwrap();
    }
    let linked = home.join("elsewhere/locals");
    std::fs::write(&linked, "x").unwrap();
    std::os::unix::fs::symlink(&linked, home.join("control/locals")).unwrap();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = Act::Connect(sink.local_addr().unwrap());
    let socket = home.join("queue/queued");
    let _queued = UnixListener::bind(&socket).unwrap();
    smtpd(&home, &connect, &socket);
    popup(&home, &connect, &socket);
    qmqpd(&home, &connect, &socket);
    pop3d(&home, &connect, &socket);
    remote(&home, &connect, &socket);
}

fn read(home: &Path, name: &str) -> Act {
    Act::Read(home.join(name))
}

fn write(home: &Path, name: &str) -> Act {
    Act::Write(home.join(name))
}

/// What holds for all that hear strangers.
fn nobody_gets_out(who: &str, fence: &Fence, home: &Path) {
    refused(who, fence, &REFUSED);
    refused(who, fence, &[Act::Exec("/bin/true".into()), Act::Write("/etc/passwd".into())]);
    refused(who, fence, &[write(home, "queue/log/file"), write(home, "control/file")]);
    refused(who, fence, &[write(home, "elsewhere/file"), Act::Device(home.join("device"))]);
    killed(who, fence);
}

fn smtpd(home: &Path, connect: &Act, socket: &Path) {
    let fence = fences::smtpd(home);
    left("smtpd", &fence, &[read(home, "control/file"), read(home, "control/locals")]);
    left("smtpd", &fence, &[read(home, "users/file"), Act::Read("/etc/passwd".into())]);
    left("smtpd", &fence, &[Act::Unix(socket.into()), Act::Fork]);
    refused("smtpd", &fence, &[read(home, "queue/log/file"), Act::List(home.join("Maildir"))]);
    refused("smtpd", &fence, &[write(home, "Maildir/new/file"), connect.clone(), Act::Udp]);
    nobody_gets_out("smtpd", &fence, home);
}

fn popup(home: &Path, connect: &Act, socket: &Path) {
    let fence = fences::popup();
    left("popup", &fence, &[Act::Unix(socket.into()), Act::Fork]);
    refused("popup", &fence, &[read(home, "control/file"), read(home, "users/file")]);
    refused("popup", &fence, &[Act::Read("/etc/passwd".into()), connect.clone(), Act::Udp]);
    nobody_gets_out("popup", &fence, home);
}

fn qmqpd(home: &Path, connect: &Act, socket: &Path) {
    let fence = fences::qmqpd();
    left("qmqpd", &fence, &[Act::Unix(socket.into()), Act::Fork]);
    refused("qmqpd", &fence, &[read(home, "control/file"), read(home, "users/file")]);
    refused("qmqpd", &fence, &[Act::Read("/etc/passwd".into()), connect.clone(), Act::Udp]);
    nobody_gets_out("qmqpd", &fence, home);
}

fn pop3d(home: &Path, connect: &Act, socket: &Path) {
    let fence = fences::pop3d(&home.join("Maildir"));
    let new = PathBuf::from("Maildir/new/another");
    left("pop3d", &fence, &[write(home, "Maildir/new/another"), Act::Remove(home.join(new))]);
    left("pop3d", &fence, &[read(home, "Maildir/new/file"), Act::Fork, Act::Thread]);
    refused("pop3d", &fence, &[read(home, "users/file"), Act::Read("/etc/passwd".into())]);
    refused("pop3d", &fence, &[Act::Unix(socket.into()), connect.clone(), Act::Udp]);
    nobody_gets_out("pop3d", &fence, home);
}

fn remote(home: &Path, connect: &Act, socket: &Path) {
    let fence = fences::remote(home);
    left("remote", &fence, &[read(home, "control/file"), read(home, "control/locals")]);
    left("remote", &fence, &[connect.clone(), Act::Udp, Act::Fork]);
    left("remote", &fence, &[write(home, "queue/lock/tcpto"), Act::Read("/etc/hosts".into())]);
    left("remote", &fence, &[Act::Read("/dev/random".into())]);
    refused("remote", &fence, &[read(home, "users/file"), read(home, "Maildir/new/file")]);
    refused("remote", &fence, &[Act::Unix(socket.into())]);
    nobody_gets_out("remote", &fence, home);
}
