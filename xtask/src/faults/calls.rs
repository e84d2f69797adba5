//! The file system calls of x86-64 Linux: their numbers, and how one is made to fail.

/// How a call names its file, and so how it is made harmless before it is made to fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// By a path, whose address is in this argument.
    Path(usize),
    /// By a descriptor in this argument.
    Fd(usize),
    /// By a descriptor in the first argument, with a number of bytes in the second.
    Bytes(usize, usize),
    /// By a descriptor that is gone whatever the call returns.
    Close,
}

/// A call.
pub(crate) struct Call {
    pub number: u64,
    pub name: &'static str,
    pub shape: Shape,
}

const fn call(number: u64, name: &'static str, shape: Shape) -> Call {
    Call { number, name, shape }
}

/// Every call that reads or changes a file or a directory.
pub(crate) const CALLS: &[Call] = &[
    call(0, "read", Shape::Bytes(0, 2)),
    call(1, "write", Shape::Bytes(0, 2)),
    call(2, "open", Shape::Path(0)),
    call(3, "close", Shape::Close),
    call(4, "stat", Shape::Path(0)),
    call(5, "fstat", Shape::Fd(0)),
    call(6, "lstat", Shape::Path(0)),
    call(17, "pread64", Shape::Bytes(0, 2)),
    call(18, "pwrite64", Shape::Bytes(0, 2)),
    call(19, "readv", Shape::Fd(0)),
    call(20, "writev", Shape::Fd(0)),
    call(21, "access", Shape::Path(0)),
    call(40, "sendfile", Shape::Bytes(1, 3)),
    call(73, "flock", Shape::Fd(0)),
    call(74, "fsync", Shape::Fd(0)),
    call(75, "fdatasync", Shape::Fd(0)),
    call(77, "ftruncate", Shape::Fd(0)),
    call(80, "chdir", Shape::Path(0)),
    call(82, "rename", Shape::Path(0)),
    call(83, "mkdir", Shape::Path(0)),
    call(84, "rmdir", Shape::Path(0)),
    call(86, "link", Shape::Path(0)),
    call(87, "unlink", Shape::Path(0)),
    call(88, "symlink", Shape::Path(0)),
    call(89, "readlink", Shape::Path(0)),
    call(90, "chmod", Shape::Path(0)),
    call(91, "fchmod", Shape::Fd(0)),
    call(93, "fchown", Shape::Fd(0)),
    call(217, "getdents64", Shape::Fd(0)),
    call(257, "openat", Shape::Path(1)),
    call(258, "mkdirat", Shape::Path(1)),
    call(262, "newfstatat", Shape::Path(1)),
    call(263, "unlinkat", Shape::Path(1)),
    call(264, "renameat", Shape::Path(1)),
    call(265, "linkat", Shape::Path(1)),
    call(266, "symlinkat", Shape::Path(1)),
    call(267, "readlinkat", Shape::Path(1)),
    call(268, "fchmodat", Shape::Path(1)),
    call(269, "faccessat", Shape::Path(1)),
    call(277, "sync_file_range", Shape::Fd(0)),
    call(280, "utimensat", Shape::Path(1)),
    call(285, "fallocate", Shape::Fd(0)),
    call(295, "preadv", Shape::Fd(0)),
    call(296, "pwritev", Shape::Fd(0)),
    call(306, "syncfs", Shape::Fd(0)),
    call(316, "renameat2", Shape::Path(1)),
    call(326, "copy_file_range", Shape::Bytes(0, 4)),
    call(332, "statx", Shape::Path(1)),
    call(439, "faccessat2", Shape::Path(1)),
];

/// A call by its number.
pub(crate) fn find(number: u64) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == number)
}

/// Whether a call moves a number of bytes, so that it can come up short.
pub(crate) fn is_counted(name: &str) -> bool {
    CALLS.iter().any(|call| call.name == name && matches!(call.shape, Shape::Bytes(..)))
}
