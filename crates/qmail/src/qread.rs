//! list the letters in the queue

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
pub(crate) fn qstat(_args: &[OsString]) -> i32 {
    111
}
