//! Becoming somebody else for good. Only root can try; anybody else checks what stays allowed. No
//! test harness, so that a fork has one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

use sys::spawn::{self, Fork, Status};
use sys::user::{self, Ids};

fn main() {
    staying_who_one_is_is_allowed_to_anybody();
    in_a_child(who_keeps_to_itself_does_so_in_forked_children_too);
    if user::euid() == 0 {
        in_a_child(dropping_is_for_good);
        in_a_child(a_gid_then_a_uid_are_for_good_too);
        in_a_child(who_is_not_root_becomes_nobody_else);
        in_a_child(a_command_runs_as_the_ids_it_was_given);
    } else {
        yard::skipped("only root can become somebody else");
    }
}

/// Runs a check that changes the process in a process of its own.
fn in_a_child(check: fn()) {
    match spawn::fork().unwrap() {
        Fork::Child => {
            check();
            spawn::exit(0)
        }
        Fork::Parent(pid) => assert_eq!(spawn::wait(pid).unwrap(), Status::Exited(0)),
    }
}

/// The line of `/proc/self/status` that begins so, without blanks doubled.
fn status(start: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(start)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn somebody() -> Ids {
    Ids { uid: 47_790, gid: 42_107, groups: vec![42_108] }
}

fn staying_who_one_is_is_allowed_to_anybody() {
    let ids = Ids { uid: user::euid(), gid: user::egid(), groups: Vec::new() };
    in_a_child_of(&ids);
}

fn in_a_child_of(ids: &Ids) {
    match spawn::fork().unwrap() {
        Fork::Child => spawn::exit(i32::from(user::drop_to(ids).is_err())),
        Fork::Parent(pid) => assert_eq!(spawn::wait(pid).unwrap(), Status::Exited(0)),
    }
}

fn dropping_is_for_good() {
    user::drop_to(&somebody()).unwrap();
    assert_eq!(status("Uid:"), "Uid: 47790 47790 47790 47790");
    assert_eq!(status("Gid:"), "Gid: 42107 42107 42107 42107");
    assert_eq!(status("Groups:"), "Groups: 42108");
    assert!(user::set_uid(0).is_err());
}

fn a_gid_then_a_uid_are_for_good_too() {
    user::set_gid(42_107).unwrap();
    user::set_uid(47_790).unwrap();
    assert_eq!(status("Groups:"), "Groups: 42107");
    assert!(user::set_uid(0).is_err() && user::set_gid(0).is_err());
}

fn who_is_not_root_becomes_nobody_else() {
    user::drop_to(&somebody()).unwrap();
    user::drop_to(&somebody()).unwrap();
    let other = Ids { uid: 47_791, ..somebody() };
    assert!(user::drop_to(&other).is_err());
}

fn who_keeps_to_itself_does_so_in_forked_children_too() {
    use rustix::process::{DumpableBehavior, dumpable_behavior};
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
    sys::process::keep_to_itself().unwrap();
    in_a_child(|| assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable));
    assert!(std::env::current_exe().is_ok(), "and still finds itself");
}

fn a_command_runs_as_the_ids_it_was_given() {
    let (out, end) = sys::fd::pipe().unwrap();
    let command = spawn::Command::new("id").arg("-u").fd(end, 1).ids(somebody());
    let pid = command.spawn().unwrap();
    drop(command);
    assert_eq!(spawn::wait(pid).unwrap(), Status::Exited(0));
    assert_eq!(sys::fd::read_to_end(&out, 100).unwrap(), b"47790\n");
}
