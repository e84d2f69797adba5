//! run a program as another account

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
pub(crate) fn envuidgid(_args: &[OsString]) -> i32 {
    111
}
