//! Options as qmail's and daemontools' programs read them: single letters, clustered; the first
//! operand ends them; `--` ends them and is dropped; a lone `-` is an operand
//! (getopt(3)).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One option met: its letter and, for a letter that takes one, its argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// The letter.
    pub letter: u8,
    /// The argument; empty for a letter without one.
    pub value: OsString,
}

/// A command line the letters do not allow. `Display` is the line for stderr without `PROG: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A letter the program does not know.
    Illegal(u8),
    /// A letter whose argument is missing.
    Missing(u8),
}

impl fmt::Display for Misuse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::Illegal(letter) => write!(out, "illegal option -- {}", char::from(*letter)),
            Misuse::Missing(letter) => {
                write!(out, "option requires an argument -- {}", char::from(*letter))
            }
        }
    }
}

impl Misuse {
    /// `PROG: illegal option -- X` on stderr, PROG being the last component of `args[0]`.
    pub fn complain(self, args: &[OsString]) {
        let name = args.first().map(OsString::as_os_str).unwrap_or_default();
        let name = std::path::Path::new(name).file_name().unwrap_or(name);
        let mut line = name.as_bytes().to_vec();
        line.extend_from_slice(format!(": {self}\n").as_bytes());
        crate::log::put(crate::fd::stderr(), &line);
    }
}

/// Reads the options of `args` (`args[0]` is the program) and returns them in order, with the
/// operands left. `letters` lists the known letters; one followed by `:` takes an argument, which
/// is the rest of its word or the next word.
///
/// # Errors
/// [`Misuse`].
pub fn getopt<'a>(
    args: &'a [OsString],
    letters: &str,
) -> Result<(Vec<Opt>, &'a [OsString]), Misuse> {
    let mut rest = args.get(1..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some((word, after)) = rest.split_first() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            return Ok((found, after));
        }
        let Some(mut cluster) = bytes.strip_prefix(b"-").filter(|more| !more.is_empty()) else {
            break;
        };
        rest = after;
        while let Some((&letter, more)) = cluster.split_first() {
            cluster = more;
            let mut value = OsString::new();
            if takes_argument(letters, letter)? {
                (value, rest) = argument(letter, cluster, rest)?;
                cluster = &[];
            }
            found.push(Opt { letter, value });
        }
    }
    Ok((found, rest))
}

/// Whether a letter takes an argument; an error if it is not among the known.
fn takes_argument(letters: &str, letter: u8) -> Result<bool, Misuse> {
    let known = letters.as_bytes();
    match known.iter().position(|&each| each == letter && each != b':') {
        Some(at) => Ok(known.get(at + 1) == Some(&b':')),
        None => Err(Misuse::Illegal(letter)),
    }
}

/// The argument of a letter: the rest of its word, or the next word.
fn argument<'a>(
    letter: u8,
    cluster: &[u8],
    rest: &'a [OsString],
) -> Result<(OsString, &'a [OsString]), Misuse> {
    if !cluster.is_empty() {
        return Ok((OsString::from_vec(cluster.to_vec()), rest));
    }
    let (word, after) = rest.split_first().ok_or(Misuse::Missing(letter))?;
    Ok((OsStr::to_os_string(word), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn read(line: &str, letters: &str) -> Result<(String, Vec<OsString>), Misuse> {
        let args = words(line);
        let (found, rest) = getopt(&args, letters)?;
        let found = found
            .iter()
            .map(|each| format!("{}{}", char::from(each.letter), each.value.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(",");
        Ok((found, rest.to_vec()))
    }

    #[test]
    fn letters_cluster_and_the_first_operand_ends_them() {
        assert_eq!(read("p -nx file -y", "nxy"), Ok(("n,x".into(), words("file -y"))));
    }

    #[test]
    fn an_argument_is_the_rest_of_the_word_or_the_next_word() {
        assert_eq!(read("p -a5 -a 6 -na7 x", "a:n"), Ok(("a5,a6,n,a7".into(), words("x"))));
    }

    #[test]
    fn two_dashes_end_the_options_and_one_dash_is_an_operand() {
        assert_eq!(read("p -n -- -x", "nx"), Ok(("n".into(), words("-x"))));
        assert_eq!(read("p -n - -x", "nx"), Ok(("n".into(), words("- -x"))));
    }

    #[test]
    fn misuse_names_the_letter() {
        assert_eq!(read("p -z", "nx"), Err(Misuse::Illegal(b'z')));
        assert_eq!(read("p -:", "a:"), Err(Misuse::Illegal(b':')));
        assert_eq!(Misuse::Illegal(b'z').to_string(), "illegal option -- z");
        assert_eq!(read("p -a", "a:"), Err(Misuse::Missing(b'a')));
        assert_eq!(Misuse::Missing(b'a').to_string(), "option requires an argument -- a");
    }
}
