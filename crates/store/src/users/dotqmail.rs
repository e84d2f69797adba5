//! Which `.qmail` file rules an extension (dot-qmail(5)).

use std::io;

/// One file name to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name, relative to the account's home.
    pub name: Vec<u8>,
    /// Where in the extension the part begins that `default` stands for, if it stands for one.
    pub default_at: Option<usize>,
}

/// The extension as it stands in file names: lower case, and colons for dots (so that no `..` can
/// be made). A slash stays.
pub fn safe_ext(ext: &[u8]) -> Vec<u8> {
    let mut safe = ext.to_ascii_lowercase();
    for c in &mut safe {
        if *c == b'.' {
            *c = b':';
        }
    }
    safe
}

/// `.qmail`, dash, and the safe extension.
pub fn exact(dash: &[u8], ext: &[u8]) -> Vec<u8> {
    [b".qmail", dash, &safe_ext(ext)].concat()
}

/// The names in the order they are tried: the exact one, then with `default` in the place of ever
/// more of the extension, from its end to its beginning, at each break.
pub fn candidates(dash: &[u8], ext: &[u8]) -> impl Iterator<Item = Candidate> {
    let safe = safe_ext(ext);
    let whole = exact(dash, ext);
    let suffix = whole.ends_with(b"default") && safe.ends_with(b"default");
    let default_at = suffix.then(|| ext.len().saturating_sub(b"default".len()));
    let head = [b".qmail", dash].concat();
    let rest = (0..=safe.len()).rev().filter_map(move |at| {
        let (before, _) = safe.split_at_checked(at)?;
        let breaks = before.is_empty() || before.ends_with(b"-");
        let name = || [&head[..], before, b"default"].concat();
        breaks.then(|| Candidate { name: name(), default_at: Some(at) })
    });
    std::iter::once(Candidate { name: whole, default_at }).chain(rest)
}

/// Whether trying again later may help (stock `error_temp`).
pub fn is_temporary(err: &io::Error) -> bool {
    // EINTR EIO EAGAIN ENOMEM EBUSY ENFILE EMFILE ETXTBSY EFBIG ENOSPC EDEADLK ENOLCK
    // ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS ETIMEDOUT ECONNREFUSED
    // EHOSTDOWN EHOSTUNREACH ESTALE EDQUOT
    const NUMBERS: [i32; 24] = [
        4, 5, 11, 12, 16, 23, 24, 26, 27, 28, 35, 37, 100, 101, 102, 103, 104, 105, 110, 111, 112,
        113, 116, 122,
    ];
    match err.raw_os_error() {
        Some(number) => NUMBERS.contains(&number),
        None => matches!(err.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut),
    }
}

/// Whether an error opening a `.qmail` file means that the file cannot be judged now, rather than
/// that it is not there: a temporary one, and "you may not" (EACCES, EPERM).
pub fn is_unsettled(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::PermissionDenied || is_temporary(err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dash: &[u8], ext: &[u8]) -> Vec<String> {
        candidates(dash, ext).map(|c| String::from_utf8(c.name).unwrap()).collect()
    }

    #[test]
    fn names_are_tried_from_the_longest_on() {
        assert_eq!(names(b"-", b"a-b"), [".qmail-a-b", ".qmail-a-default", ".qmail-default"]);
        assert_eq!(names(b"", b""), [".qmail", ".qmaildefault"]);
        assert_eq!(names(b"-", b"a-"), [".qmail-a-", ".qmail-a-default", ".qmail-default"]);
    }

    #[test]
    fn dots_are_colons_and_capitals_small() {
        assert_eq!(names(b"-", b"P.D.Q")[0], ".qmail-p:d:q");
        assert_eq!(names(b"-", b"../x")[0], ".qmail-::/x");
    }

    #[test]
    fn the_part_default_stands_for_is_known() {
        let at = |ext: &[u8]| candidates(b"-", ext).map(|c| c.default_at).collect::<Vec<_>>();
        assert_eq!(at(b"a-b"), [None, Some(2), Some(0)]);
        assert_eq!(at(b"a-Default"), [Some(2), Some(2), Some(0)]);
    }

    #[test]
    fn a_missing_file_is_settled_and_a_closed_one_is_not() {
        assert!(!is_unsettled(&io::Error::from_raw_os_error(2)));
        assert!(is_unsettled(&io::Error::from_raw_os_error(13)));
        assert!(is_temporary(&io::Error::from_raw_os_error(28)));
    }
}
