//! An I/O error in the words of the daemontools and qmail messages.

use nix::libc;
use std::io::{Error, ErrorKind};

/// The text of `error` as every program of ours prints it after a colon.
///
/// An error of our own making (a frame that ends early, a time limit) gets the text of the
/// kernel's error nearest to it.
pub fn text(error: &Error) -> &'static str {
    base::errno::text(number(error))
}

/// The error's number, or that of the kernel's error nearest to it (`EIO` if there is none).
pub fn number(error: &Error) -> i32 {
    if let Some(number) = error.raw_os_error() {
        return number;
    }
    match error.kind() {
        ErrorKind::TimedOut => libc::ETIMEDOUT,
        ErrorKind::WouldBlock => libc::EAGAIN,
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => libc::EPROTO,
        ErrorKind::InvalidInput => libc::EINVAL,
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::PermissionDenied => libc::EACCES,
        ErrorKind::AlreadyExists => libc::EEXIST,
        ErrorKind::OutOfMemory => libc::ENOMEM,
        ErrorKind::FileTooLarge => libc::EFBIG,
        ErrorKind::BrokenPipe | ErrorKind::WriteZero => libc::EPIPE,
        _ => libc::EIO,
    }
}
