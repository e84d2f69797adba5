//! start a service and start it again when it dies

use std::ffi::OsString;

pub(crate) fn main(_args: &[OsString]) -> i32 {
    111
}
