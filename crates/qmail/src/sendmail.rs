//! queue a letter the way sendmail does

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
pub(crate) fn mailq(_args: &[OsString]) -> i32 {
    111
}
