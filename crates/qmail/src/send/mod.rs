//! deliver the letters of the queue

use std::ffi::OsString;

mod channel;
mod letter;
mod rewrite;
mod schedule;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
