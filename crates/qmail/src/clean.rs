//! ask queued to forget what qmail-send has finished

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
