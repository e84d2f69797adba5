//! What multilog was told to do: its arguments, one action each, and its patterns.

use super::amount;
use super::doubt::{self, Odd};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// Bounds and default of a file's size (0.76).
const SIZES: std::ops::RangeInclusive<u64> = 4096..=16_777_215;
const SIZE: u64 = 99_999;
/// Least and default number of files.
const FEWEST: u64 = 2;
const NUMBER: u64 = 10;
/// Finished files that stay on a full disk if nothing else is said: enough to see what happened last.
const FLOOR: u64 = 1;

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
    /// Bytes of all files together, `current` included, at most.
    pub(super) total: Option<u64>,
    /// Finished files older than this go.
    pub(super) age: Option<Duration>,
    /// `current` is ended when its first line is so old.
    pub(super) turn: Option<Duration>,
    /// Finished files that stay when the disk is full and others go.
    pub(super) floor: u64,
    /// Lines are dropped rather than waited with when the disk is full all the same.
    pub(super) lossy: bool,
}

impl Keep {
    /// What holds if nothing is said.
    const fn usual() -> Keep {
        Keep {
            dir: OsString::new(),
            size: SIZE,
            number: NUMBER,
            processor: None,
            total: None,
            age: None,
            turn: None,
            floor: FLOOR,
            lossy: false,
        }
    }

    /// The same for a directory. Of a total a file takes half at most, so that ending one leaves
    /// something.
    fn of(&self, dir: &OsStr) -> Keep {
        let half = self.total.map_or(u64::MAX, |total| total / 2);
        let size = self.size.min(half).max(*SIZES.start());
        Keep { dir: dir.to_os_string(), size, ..self.clone() }
    }
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
    /// Arguments that can hardly be meant as they are taken.
    pub(super) odd: Vec<(OsString, Odd)>,
}

impl Script {
    /// Reads the arguments behind the program's name. Unknown letters are passed over, and of its own
    /// letters anything is taken, as in stock; but it is told.
    pub(super) fn parse(args: &[OsString]) -> Script {
        let mut script = Script::default();
        let mut keep = Keep::usual();
        for (at, arg) in args.iter().enumerate() {
            script.odd.extend(doubt::judge(at, arg.as_bytes()).map(|odd| (arg.clone(), odd)));
            let Some((first, rest)) = arg.as_bytes().split_first() else { continue };
            match first {
                b't' => script.labels |= at == 0,
                b'+' | b'-' => {
                    script.actions.push(Action::Select(*first == b'+', rest.to_vec()));
                }
                b'e' => script.actions.push(Action::Alert),
                b'=' => {
                    script.actions.push(Action::Status(OsStr::from_bytes(rest).to_os_string()));
                }
                b'.' | b'/' => script.actions.push(Action::Log(keep.of(arg))),
                _ => {
                    if let Err(wanted) = set(&mut keep, *first, rest) {
                        script.odd.push((arg.clone(), Odd::Ignored(wanted)));
                    }
                }
            }
        }
        script
    }
}

/// Sets how the directories that follow are kept; what the argument would have to be, if it is not.
fn set(keep: &mut Keep, letter: u8, rest: &[u8]) -> Result<(), &'static str> {
    match letter {
        b's' => keep.size = size(rest),
        b'n' => keep.number = number(rest),
        b'!' => keep.processor = (!rest.is_empty()).then(|| OsString::from_vec(rest.to_vec())),
        b'b' => {
            let least = SIZES.start().saturating_mul(2);
            keep.total = some(amount::bytes(rest)?).map(|total| total.max(least));
        }
        b'a' => keep.age = some(amount::seconds(rest)?).map(Duration::from_secs),
        b'r' => keep.turn = some(amount::seconds(rest)?).map(Duration::from_secs),
        b'f' => keep.floor = amount::number(rest)?,
        b'l' if rest.is_empty() => keep.lossy = true,
        b'l' => return Err("l has nothing behind it"),
        _ => {}
    }
    Ok(())
}

/// The size that the text behind an `s` is taken for.
pub(super) fn size(text: &[u8]) -> u64 {
    amount::digits(text).clamp(*SIZES.start(), *SIZES.end())
}

/// The number of files that the text behind an `n` is taken for.
pub(super) fn number(text: &[u8]) -> u64 {
    amount::digits(text).max(FEWEST)
}

/// Zero is no limit.
fn some(amount: u64) -> Option<u64> {
    (amount > 0).then_some(amount)
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

    fn keeps(line: &str) -> Vec<Keep> {
        let of = |action| match action {
            Action::Log(keep) => Some(keep),
            Action::Select(..) | Action::Alert | Action::Status(_) => None,
        };
        parse(line).actions.into_iter().filter_map(of).collect()
    }

    #[test]
    fn sizes_numbers_and_processors_bind_to_the_directories_after_them() {
        let kept: Vec<_> = keeps("./a s5000 n3 !gzip ./b ! s n1 ./c s99999999999999999999 /d")
            .into_iter()
            .map(|keep| (keep.size, keep.number, keep.processor))
            .collect();
        assert_eq!(
            kept,
            [
                (99_999, 10, None),
                (5000, 3, Some("gzip".into())),
                (4096, 2, None),
                (16_777_215, 2, None)
            ]
        );
    }

    #[test]
    fn caps_bind_to_the_directories_after_them_and_zero_takes_them_away() {
        let kept = keeps("./a b1M a2d r1h f0 l ./b b0 a0 r0 f3 ./c b5 ./d");
        assert_eq!(kept[0], Keep { dir: "./a".into(), ..Keep::usual() });
        let hour = Duration::from_secs(3600);
        let capped = Keep {
            dir: "./b".into(),
            total: Some(1 << 20),
            age: Some(hour * 48),
            turn: Some(hour),
            floor: 0,
            lossy: true,
            ..Keep::usual()
        };
        assert_eq!(kept[1], capped);
        assert_eq!(
            (kept[2].total, kept[2].age, kept[2].turn, kept[2].floor),
            (None, None, None, 3)
        );
        assert_eq!((kept[3].total, kept[3].size), (Some(8192), 4096));
    }

    #[test]
    fn of_a_total_a_file_takes_half_at_most() {
        assert_eq!(keeps("s16777215 b1M ./a")[0].size, 1 << 19);
        assert_eq!(keeps("s5000 b1M ./a")[0].size, 5000);
    }

    #[test]
    fn a_cap_that_is_none_is_told_and_passed_over() {
        let script = parse("./a bmuch a r-1 fx l1 zzz sx n ./b");
        let odd: Vec<_> = script.odd.iter().map(|(arg, _)| arg.to_str().unwrap()).collect();
        assert_eq!(odd, ["bmuch", "a", "r-1", "fx", "l1", "zzz", "sx", "n"]);
        assert_eq!(keeps("bmuch ./b"), keeps("./b"));
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
