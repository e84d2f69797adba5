//! keep the queue: every letter on disk before it is acknowledged

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
