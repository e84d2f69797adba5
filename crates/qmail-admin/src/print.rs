//! Standard output that may be closed or full: a reader who has seen enough is no trouble, anything
//! else is, and a program that printed nothing must not say that all went well.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

use base::plain;

use crate::Trouble;

/// Prints a line and sees that it is out. Whatever was put into it, it stays one line, and a terminal
/// what it was.
///
/// # Errors
/// It could not be written, and not because the reader went away.
pub(crate) fn line(text: Arguments<'_>) -> Result<(), Trouble> {
    told(write(format_args!("{}", one_line(text))))
}

/// [`line`] for lines that are all our own, or of which nothing but ours ends one.
///
/// # Errors
/// As [`line`].
pub(crate) fn lines(text: Arguments<'_>) -> Result<(), Trouble> {
    let text = text.to_string();
    let each: Vec<String> = text.split('\n').map(|line| one_line(format_args!("{line}"))).collect();
    told(write(format_args!("{}", each.join("\n"))))
}

/// Says a line on descriptor 2, as [`line`] does; with that closed too there is nobody left to tell.
pub(crate) fn complain(text: Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("{}\n", one_line(text)).as_bytes());
}

/// What is shown of a line: names in it may be a stranger's choice. Our own tabs stay.
pub(crate) fn one_line(text: Arguments<'_>) -> String {
    let shown = |char| if char == '\t' { char } else { plain::visible(char) };
    text.to_string().chars().map(shown).collect()
}

fn told(written: std::io::Result<()>) -> Result<(), Trouble> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("unable to write to standard output: {error}")),
    }
}

/// Prints a line as it is: a reader who went away is trouble too.
pub(crate) fn write(text: Arguments<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_fmt(text)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The first line that nobody heard of what had to be done all the same.
static UNHEARD: OnceLock<Trouble> = OnceLock::new();

/// [`line`] for what is said while something is done: it is done also if nobody can be told, and
/// [`heard`] knows.
pub(crate) fn announce(text: Arguments<'_>) {
    if let Err(why) = line(text) {
        let _ = UNHEARD.set(why);
    }
}

/// Whether everything could be told.
///
/// # Errors
/// Why the first line could not be written.
pub(crate) fn heard() -> Result<(), Trouble> {
    UNHEARD.get().cloned().map_or(Ok(()), Err)
}

/// Prints a line of what is being done; what prevents it is the program's last word.
macro_rules! tell {
    ($($words:tt)*) => { $crate::print::announce(format_args!($($words)*)) };
}
pub(crate) use tell;

/// Prints a line, or ends the function with what prevented it.
macro_rules! say {
    ($($words:tt)*) => { $crate::print::line(format_args!($($words)*))? };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_neither_ends_a_line_nor_steers_a_terminal() {
        let name = "a\nqmailctl: all is well\u{1b}[2J\u{202e}";
        let shown = one_line(format_args!("{name}:\tnot ours"));
        assert_eq!(shown, "a?qmailctl: all is well?[2J?:\tnot ours");
    }
}
