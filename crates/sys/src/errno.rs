//! An I/O error in the words of the daemontools and qmail messages.

use nix::libc;
pub use nix::libc::{EAFNOSUPPORT, ELOOP, EMFILE, ENFILE, ENOEXEC, ENOTSOCK, ENXIO};
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

/// Whether it is just this one of the kernel's.
pub fn is(error: &Error, number: i32) -> bool {
    error.raw_os_error() == Some(number)
}

/// Whether the process or the system may open no more files.
pub fn is_no_descriptor(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// Whether something of our own is missing, a descriptor, memory or room for a socket: that passes,
/// and says nothing of the other side.
pub fn is_shortage(error: &Error) -> bool {
    is_no_descriptor(error) || matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_ours_and_a_refusal_is_not() {
        let of = |numbers: &[i32]| -> Vec<bool> {
            numbers.iter().map(|&number| is_shortage(&Error::from_raw_os_error(number))).collect()
        };
        assert_eq!(of(&[EMFILE, ENFILE, libc::ENOMEM, libc::ENOBUFS]), [true; 4]);
        assert_eq!(of(&[libc::ECONNREFUSED, EAFNOSUPPORT, libc::EIO]), [false; 3]);
        assert!(!is_shortage(&ErrorKind::TimedOut.into()));
        assert!(is(&Error::from_raw_os_error(40), ELOOP));
    }
}
