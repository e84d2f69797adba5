//! accept TCP connections and run a program for each

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
