//! The command line of programs that stock calls with nothing, and that have a word or two of ours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Which of `known` the one argument is. Without an option it is none of them, whatever is said: stock
/// does not look.
///
/// # Errors
/// An option that is not known, or another argument beside one: said with the usage on descriptor 2.
/// Who has mistyped `--check` must not take what he sees for its answer. The exit code.
pub(crate) fn one(args: &[OsString], known: &[&'static str]) -> Result<Option<&'static str>, i32> {
    let words = args.get(1..).unwrap_or_default();
    if !words.iter().any(|word| word.as_bytes().starts_with(b"-")) {
        return Ok(None);
    }
    if let [word] = words
        && let Some(flag) = known.iter().find(|flag| word == **flag)
    {
        return Ok(Some(flag));
    }
    let name = args.first().map(|name| name.as_bytes()).unwrap_or_default();
    let name = String::from_utf8_lossy(name.rsplit(|&c| c == b'/').next().unwrap_or_default());
    sys::log::say(format_args!("usage: {name} [ {} ]", known.join(" | ")));
    Err(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_known_and_alone_or_misuse() {
        let of = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            one(&args, &["--check", "--json"])
        };
        assert_eq!((of("x"), of("x word")), (Ok(None), Ok(None)));
        assert_eq!((of("x --check"), of("x --json")), (Ok(Some("--check")), Ok(Some("--json"))));
        for bad in ["x --chekc", "x -v", "x --check --json", "x --json word", "x word --json"] {
            assert_eq!(of(bad), Err(100), "{bad}");
        }
    }
}
