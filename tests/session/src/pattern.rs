//! Matching a server's line against what the file wants.

/// Whether `line` is what `pattern` says: `<time>` and `<pid>` stand for digits, `<any>` for
/// anything (also nothing); every other byte stands for itself.
pub(crate) fn matches(pattern: &[u8], line: &[u8]) -> bool {
    for digits in [&b"<time>"[..], b"<pid>"] {
        if let Some(rest) = pattern.strip_prefix(digits) {
            let count = line.iter().take_while(|c| c.is_ascii_digit()).count();
            return count > 0 && line.get(count..).is_some_and(|line| matches(rest, line));
        }
    }
    if let Some(rest) = pattern.strip_prefix(b"<any>") {
        return (0..=line.len()).any(|at| line.get(at..).is_some_and(|line| matches(rest, line)));
    }
    match (pattern.split_first(), line.split_first()) {
        (None, None) => true,
        (Some((want, pattern)), Some((got, line))) => want == got && matches(pattern, line),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_for_digits_or_anything() {
        assert!(matches(b"250 ok <time> qp <pid>", b"250 ok 1795355129 qp 11757"));
        assert!(!matches(b"250 ok <time> qp <pid>", b"250 ok  qp 1"));
        assert!(!matches(b"250 ok <time> qp <pid>", b"250 ok 1 qp 1 "));
        assert!(matches(b"451 <any>.", b"451 See https://cr.yp.to/docs/smtplf.html."));
        assert!(!matches(b"250 ok", b"250 ok "));
    }
}
