//! What a command showed, held against what was expected. Pure.

use std::fmt::Write as _;

use super::normal::{Places, normalise};
use super::steps::Expected;

/// Stands for any text in an expected line.
const ANY: &str = "<any>";

/// The most lines of one stream that are compared.
const LINES: usize = 2_000;

/// What a command showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Saw {
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: Vec<u8>,
    /// The exit code; 128 and the signal's number for one that was killed.
    pub code: i32,
    /// It was stopped, since it took too long.
    pub late: bool,
}

/// Bytes as lines of printable letters: others as `\xNN`, a backslash doubled, and a single one at
/// the end of a last line that has no line end. Of very many the last says how many are missing, with
/// a single backslash in front: that is as expected by nobody.
pub(crate) fn shown(bytes: &[u8]) -> Vec<String> {
    let mut pieces: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let last = pieces.pop().unwrap_or_default();
    let mut lines: Vec<String> = pieces.into_iter().map(escaped).collect();
    if !last.is_empty() {
        lines.push(escaped(last) + "\\");
    }
    if let Some(missing) = lines.len().checked_sub(LINES).filter(|&missing| missing > 0) {
        lines.truncate(LINES);
        lines.push(format!("\\ {missing} more lines: too many to compare"));
    }
    lines
}

fn escaped(line: &[u8]) -> String {
    let mut text = String::new();
    for &byte in line {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

/// Every difference, as lines to print; none if all is as expected.
pub(crate) fn differences(expected: &Expected, saw: &Saw, places: &Places) -> Vec<String> {
    let mut found = Vec::new();
    if saw.late {
        found.push("took too long and was stopped".to_owned());
    }
    for (name, expected, saw) in
        [("stdout", &expected.out, &saw.out), ("stderr", &expected.err, &saw.err)]
    {
        let (wanted, got) = (normalise(expected, places), normalise(&shown(saw), places));
        let same = wanted.len() == got.len() && wanted.iter().zip(&got).all(|(w, g)| matches(w, g));
        if !same {
            found.push(format!("{name}:"));
            found.extend(diff(&wanted, &got));
        }
    }
    if saw.code != expected.code {
        found.push(format!("exit {}, expected {}", saw.code, expected.code));
    }
    found
}

/// Whether a line is as expected; `<any>` in the expected one is any text.
fn matches(wanted: &str, got: &str) -> bool {
    let Some((head, tail)) = wanted.split_once(ANY) else { return wanted == got };
    let Some(mut rest) = got.strip_prefix(head) else { return false };
    let mut parts = tail.split(ANY).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// `-` what was expected, `+` what came, two blanks what both have.
fn diff(wanted: &[String], got: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut wanted, mut got) = (wanted, got);
    loop {
        match (wanted.split_first(), got.split_first()) {
            (None, None) => return lines,
            (Some((w, ws)), Some((g, gs))) if matches(w, g) => {
                lines.push(format!("    {g}"));
                (wanted, got) = (ws, gs);
            }
            (None, Some((g, gs))) => {
                lines.push(format!("  + {g}"));
                got = gs;
            }
            (Some((w, ws)), g) => {
                // What comes later as expected was preceded by what was not.
                let later = got.iter().position(|line| matches(w, line));
                let sooner = g.and_then(|(g, _)| ws.iter().position(|line| matches(line, g)));
                match (later, sooner, g) {
                    (Some(far), near, Some((g, gs))) if near.is_none_or(|near| far <= near) => {
                        lines.push(format!("  + {g}"));
                        got = gs;
                    }
                    _ => {
                        lines.push(format!("  - {w}"));
                        wanted = ws;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places { home: "/h".into(), scratch: "/t".into() }
    }

    fn saw(out: &str) -> Saw {
        Saw { out: out.into(), ..Saw::default() }
    }

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn bytes_are_shown_so_that_nothing_hides() {
        assert_eq!(shown(b""), lines(&[]));
        assert_eq!(shown(b"a b \n\n"), lines(&["a b ", ""]));
        assert_eq!(shown(b"a\\\r\n\xffx"), lines(&["a\\\\\\x0d", "\\xffx\\"]));
    }

    #[test]
    fn what_is_as_expected_has_no_differences() {
        let expected =
            Expected { out: lines(&["$QMAIL qp 1", "a<any>c<any>"]), ..Expected::default() };
        assert_eq!(differences(&expected, &saw("/h qp 99\nabcd\n"), &places()), lines(&[]));
    }

    #[test]
    fn every_difference_is_told() {
        let expected = Expected { out: lines(&["a", "b", "c"]), code: 100, err: lines(&["x"]) };
        let told = differences(&expected, &saw("a\nnew\nb\n"), &places());
        let wanted = [
            "stdout:",
            "    a",
            "  + new",
            "    b",
            "  - c",
            "stderr:",
            "  - x",
            "exit 0, expected 100",
        ];
        assert_eq!(told, lines(&wanted));
        let late = Saw { late: true, ..Saw::default() };
        assert_eq!(differences(&Expected::default(), &late, &places()).len(), 1);
    }

    #[test]
    fn more_lines_than_are_compared_are_a_difference() {
        let many = "x\n".repeat(LINES);
        let expected = Expected { out: vec!["x".to_owned(); LINES], ..Expected::default() };
        assert_eq!(differences(&expected, &saw(&many), &places()), lines(&[]));
        let told = differences(&expected, &saw(&(many + "x\ny\n")), &places());
        assert_eq!(told.last().unwrap(), "  + \\ 2 more lines: too many to compare");
    }

    #[test]
    fn a_missing_line_end_is_a_difference() {
        let expected = Expected { out: lines(&["a"]), ..Expected::default() };
        assert_eq!(differences(&expected, &saw("a"), &places()).len(), 3);
    }
}
