//! Descriptors: a logged service costs us two, which the usual limit of 1024 has no room for. We
//! take as many as we may; our children get what we were given.

use std::io;
use std::sync::OnceLock;
use sys::dir::Dir;
use sys::rlimit::{self, Resource};

/// What reading the directory, looking at a lock and running a program take, and a few more.
const SPARE: usize = 8;

/// The limit we were started with, if we have changed it.
static GIVEN: OnceLock<u64> = OnceLock::new();

/// Takes as many as we may have.
pub(super) fn take() {
    let Ok((soft, hard)) = rlimit::get(Resource::Nofile) else { return };
    if soft < hard && rlimit::set(Resource::Nofile, hard, hard).is_ok() {
        // Set once, before anything is started.
        let _ = GIVEN.set(soft);
    }
}

/// An error if there are not some left, without which we could not even read our directory.
pub(super) fn some_left() -> io::Result<()> {
    let _given_back = (0..SPARE).map(|_| Dir::open(".")).collect::<io::Result<Vec<_>>>()?;
    Ok(())
}

/// Sets the limit back; for a child before it execs.
pub(super) fn give_back() {
    if let Some(soft) = GIVEN.get() {
        let _ = rlimit::set_soft(Resource::Nofile, *soft);
    }
}
