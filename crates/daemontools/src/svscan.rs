//! start and watch a supervise for every service

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
