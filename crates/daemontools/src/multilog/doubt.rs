//! Arguments that can hardly be meant as they are taken. Stock says nothing of them; what is done is
//! the same.

use super::script;

/// What becomes of such an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// Nothing: it is empty.
    Empty,
    /// Nothing; what it would have to be.
    Ignored(&'static str),
    /// It is taken for this; why.
    Taken(String, &'static str),
}

impl Odd {
    /// What is said before the argument and behind it.
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Empty => ("ignoring an empty argument", String::new()),
            Self::Ignored(wanted) => ("ignoring ", format!(": {wanted}")),
            Self::Taken(what, why) => ("", format!(" is taken for {what}: {why}")),
        }
    }
}

/// What is odd about the argument `arg`, the `at`th from 0, among those that stock has, and of those
/// that nobody has.
pub(super) fn judge(at: usize, arg: &[u8]) -> Option<Odd> {
    let (first, rest) = match arg.split_first() {
        Some((first, rest)) => (*first, rest),
        None => return Some(Odd::Empty),
    };
    match first {
        b's' => {
            let size = script::size(rest);
            clamped(b's', rest, size, "a size is 4096 to 16777215 bytes, in digits")
        }
        b'n' => {
            let number = script::number(rest);
            clamped(b'n', rest, number, "a number of files is 2 or more, in digits")
        }
        b't' if at > 0 => Some(Odd::Ignored("t is the first action or none")),
        b't' | b'e' if !rest.is_empty() => {
            let letter = char::from(first).to_string();
            Some(Odd::Taken(letter, "nothing belongs behind it"))
        }
        b't' | b'e' | b'+' | b'-' | b'=' | b'.' | b'/' | b'!' => None,
        b'b' | b'a' | b'r' | b'f' | b'l' => None,
        _ => Some(Odd::Ignored("no action begins so; a directory begins with a dot or a slash")),
    }
}

/// Whether the text behind a letter is another number than the one it is taken for, or none.
fn clamped(letter: u8, text: &[u8], taken: u64, why: &'static str) -> Option<Odd> {
    let number = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    let same = number.and_then(|text| text.parse().ok()) == Some(taken);
    (!same).then(|| Odd::Taken(format!("{}{taken}", char::from(letter)), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(at: usize, arg: &str) -> Option<String> {
        judge(at, arg.as_bytes()).map(|odd| {
            let (before, after) = odd.words();
            format!("{before}{arg}{after}")
        })
    }

    #[test]
    fn what_is_taken_for_something_else_is_told_with_what_it_is_taken_for() {
        for (arg, taken) in [
            ("s", "s4096"),
            ("sx", "s4096"),
            ("s1", "s4096"),
            ("s0", "s4096"),
            ("s16777216", "s16777215"),
            ("s1000000k", "s1000000"),
            ("s99999999999999999999", "s16777215"),
            ("s+5000", "s4096"),
            ("n", "n2"),
            ("n0", "n2"),
            ("n1", "n2"),
            ("n10files", "n10"),
            ("tiny", "t"),
            ("errors", "e"),
        ] {
            let want = format!("{arg} is taken for {taken}: ");
            assert!(said(0, arg).is_some_and(|said| said.starts_with(&want)), "{arg}");
        }
    }

    #[test]
    fn what_means_nothing_is_told_and_what_means_something_is_not() {
        for (at, arg) in [(0, "m7"), (1, "t"), (1, "main"), (1, "5")] {
            let want = format!("ignoring {arg}: ");
            assert!(said(at, arg).is_some_and(|said| said.starts_with(&want)), "{arg}");
        }
        assert_eq!(judge(0, b""), Some(Odd::Empty));
        for arg in "t e s4096 s16777215 s099999 n2 n10 !gzip ! ./a /a . - + =x -* b1M a1d r1d f0 l"
            .split(' ')
        {
            assert_eq!(said(0, arg), None, "{arg}");
        }
    }
}
