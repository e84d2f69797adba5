//! Fences: what is kept works, what is not fails, and what nobody honest asks for kills. No test
//! harness, so that a fork has one thread.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use probe::{Act, Outcome, REFUSED, attempt, killed, left, refused};
use sys::sandbox::{Calls, Fence};
use yard::Yard;

fn main() {
    let dir = Yard::new("sandbox");
    for name in ["ours", "other"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("file"), "x").unwrap();
    }
    nothing_is_left_by_an_empty_fence(&dir);
    files_are_fenced(&dir);
    ports_are_fenced();
    unix_sockets_processes_and_programs_are_left_if_they_are_asked_for(&dir);
}

fn paths(dir: &Path, name: &str) -> [PathBuf; 3] {
    [dir.join(name), dir.join(name).join("file"), dir.join(name).join("new")]
}

fn nothing_is_left_by_an_empty_fence(dir: &Path) {
    let fence = Fence::new();
    let [other, file, new] = paths(dir, "other");
    let acts =
        [Act::Read(file), Act::Write(new), Act::List(other), Act::Udp, Act::Fork, Act::Thread];
    refused("an empty fence", &fence, &acts);
    refused("an empty fence", &fence, &REFUSED);
    refused("an empty fence", &fence, &[Act::Exec("/bin/true".into())]);
    killed("an empty fence", &fence);
}

fn files_are_fenced(dir: &Path) {
    let ([ours, file, new], [other, secret, never]) = (paths(dir, "ours"), paths(dir, "other"));
    let reads = Fence::new().reads(&ours).reads(dir.join("nonexistent"));
    left("a reader", &reads, &[Act::Read(file.clone()), Act::List(ours.clone())]);
    refused("a reader", &reads, &[Act::Write(file.clone()), Act::Write(new.clone())]);
    refused("a reader", &reads, &[Act::Read(secret.clone()), Act::List(other.clone())]);
    let writes = Fence::new().writes(&ours);
    left("a writer", &writes, &[Act::Read(file.clone()), Act::Write(new.clone())]);
    left("a writer", &writes, &[Act::Remove(new)]);
    let passwd = "/etc/passwd".into();
    refused(
        "a writer",
        &writes,
        &[Act::Write(secret), Act::Write(never.clone()), Act::Read(passwd)],
    );
    refused("a writer", &writes, &[Act::Device(other.join("device"))]);
    let one = Fence::new().reads(&file);
    left("a reader of one file", &one, &[Act::Read(file)]);
    refused("a reader of one file", &one, &[Act::List(ours)]);
    killed("a writer", &writes);
}

fn ports_are_fenced() {
    let [a, b] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [good, bad] = [a.local_addr().unwrap(), b.local_addr().unwrap()];
    let one = Fence::new().connects_to(&[good.port()]);
    left("a client", &one, &[Act::Connect(good), Act::Udp]);
    refused("a client", &one, &[Act::Connect(bad), Act::Listen, Act::Fork]);
    let any = Fence::new().connects();
    left("a client of anybody", &any, &[Act::Connect(good), Act::Connect(bad)]);
    refused("a client of anybody", &any, &[Act::Listen, Act::Packets]);
    let from = Act::ConnectFrom([127, 0, 0, 7].into(), good);
    refused("a client of anybody", &any, std::slice::from_ref(&from));
    left("a client with an address", &any.clone().connects_from(), &[from]);
    refused("a client with an address", &any.connects_from(), &[Act::Listen, Act::Packets]);
    // A second, tighter fence holds as well.
    assert_eq!(attempt(Some(&Fence::new()), &Act::Connect(good)), Outcome::Failed(1));
}

fn unix_sockets_processes_and_programs_are_left_if_they_are_asked_for(dir: &Path) {
    let path = dir.join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    refused("a reader", &Fence::new().reads(dir), &[Act::Unix(path.clone())]);
    left("a client", &Fence::new().calls(Calls::UNIX), &[Act::Unix(path)]);
    left("a parent", &Fence::new().calls(Calls::FORK), &[Act::Fork]);
    let weaver = Fence::new().calls(Calls::THREADS);
    left("one with threads", &weaver, &[Act::Thread]);
    refused("one with threads", &weaver, &[Act::Fork]);
    let program = std::fs::canonicalize("/bin/true").unwrap();
    let runs = Fence::new().runs(&program).reads("/lib").reads("/lib64").reads("/usr/lib");
    let libraries = runs.clone().runs("/lib").runs("/lib64").runs("/usr/lib");
    left("a runner", &libraries, &[Act::Exec(program)]);
    let other = std::fs::canonicalize("/bin/echo").unwrap();
    refused("a runner", &libraries, &[Act::Exec(other)]);
}
