//! What multilog was told to do: its arguments, one action each, and its patterns.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Bounds and default of a file's size (0.76).
const SIZES: std::ops::RangeInclusive<u64> = 4096..=16_777_215;
const SIZE: u64 = 99_999;
/// Least and default number of files.
const FEWEST: u64 = 2;
const NUMBER: u64 = 10;

/// How one log directory is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    /// The directory as it was named.
    pub(super) dir: OsString,
    /// Bytes of one file at most.
    pub(super) size: u64,
    /// Files at most, `current` included.
    pub(super) number: u64,
    /// What finished files go through.
    pub(super) processor: Option<OsString>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `+pattern`, `-pattern`: a line not so selected that matches becomes so.
    Select(bool, Vec<u8>),
    /// `e`: a selected line's start goes to descriptor 2.
    Alert,
    /// `=file`: a selected line replaces the file's content.
    Status(OsString),
    /// `dir`: a selected line is appended to the log.
    Log(Keep),
}

/// All actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Whether lines get a label.
    pub(super) labels: bool,
    /// The rest, in order.
    pub(super) actions: Vec<Action>,
}

impl Script {
    /// Reads the arguments behind the program's name. Unknown letters are passed over.
    pub(super) fn parse(args: &[OsString]) -> Script {
        let mut script = Script::default();
        let (mut size, mut number, mut processor) = (SIZE, NUMBER, None);
        for (at, arg) in args.iter().enumerate() {
            let Some((first, rest)) = arg.as_bytes().split_first() else { continue };
            match first {
                b't' => script.labels |= at == 0,
                b's' => size = digits(rest).clamp(*SIZES.start(), *SIZES.end()),
                b'n' => number = digits(rest).max(FEWEST),
                b'!' => processor = (!rest.is_empty()).then(|| OsString::from_vec(rest.to_vec())),
                b'+' | b'-' => {
                    script.actions.push(Action::Select(*first == b'+', rest.to_vec()));
                }
                b'e' => script.actions.push(Action::Alert),
                b'=' => {
                    script.actions.push(Action::Status(OsStr::from_bytes(rest).to_os_string()));
                }
                b'.' | b'/' => script.actions.push(Action::Log(Keep {
                    dir: arg.clone(),
                    size,
                    number,
                    processor: processor.clone(),
                })),
                _ => {}
            }
        }
        script
    }
}

/// The digits in front; none is 0, too many is the most.
fn digits(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum: u64, byte| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
}

/// Whether a whole line matches a pattern. A star goes on to the first place of the character
/// behind it and never comes back; at the end it matches anything.
pub(super) fn matches(pattern: &[u8], line: &[u8]) -> bool {
    let (mut pattern, mut line) = (pattern, line);
    while let Some((&wanted, rest)) = pattern.split_first() {
        if wanted == b'*' {
            let Some(next) = rest.first() else { return true };
            let Some(at) = line.iter().position(|byte| byte == next) else { return false };
            line = line.get(at..).unwrap_or_default();
        } else {
            let Some((&found, after)) = line.split_first() else { return false };
            if found != wanted {
                return false;
            }
            line = after;
        }
        pattern = rest;
    }
    line.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Script {
        Script::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn keeps(line: &str) -> Vec<(u64, u64, Option<OsString>)> {
        let of = |action| match action {
            Action::Log(keep) => Some((keep.size, keep.number, keep.processor)),
            Action::Select(..) | Action::Alert | Action::Status(_) => None,
        };
        parse(line).actions.into_iter().filter_map(of).collect()
    }

    #[test]
    fn sizes_numbers_and_processors_bind_to_the_directories_after_them() {
        assert_eq!(
            keeps("./a s5000 n3 !gzip ./b ! s n1 ./c s99999999999999999999 /d"),
            [
                (99_999, 10, None),
                (5000, 3, Some("gzip".into())),
                (4096, 2, None),
                (16_777_215, 2, None)
            ]
        );
    }

    #[test]
    fn a_label_is_only_asked_for_in_the_first_argument() {
        assert!(parse("t ./a").labels);
        assert!(parse("tx").labels);
        assert!(!parse("./a t").labels);
        assert_eq!(parse("zzz  ").actions, []);
    }

    #[test]
    fn a_star_goes_to_the_first_of_the_next_character_and_never_comes_back() {
        for (pattern, line, wanted) in [
            ("hello", "hello", true),
            ("hello", "hello world", false),
            ("hello*", "hello world", true),
            ("*world", "hello world", true),
            ("*b", "abab", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a**b", "a*b", true),
            ("a**b", "ax*yb", true),
            ("a**b", "ab", false),
            ("a**b", "axb", false),
            ("* status: *", "@400 status: local", true),
            ("* starting *", "@400 info starting 1", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), line.as_bytes()), wanted, "{pattern} {line}");
        }
    }
}
