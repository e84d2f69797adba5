//! Standard output that may be closed or full: a reader who has seen enough is no trouble, anything
//! else is, and a program that printed nothing must not say that all went well.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

use crate::Trouble;

/// Prints a line and sees that it is out.
///
/// # Errors
/// It could not be written, and not because the reader went away.
pub(crate) fn line(text: Arguments<'_>) -> Result<(), Trouble> {
    match write(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("unable to write to standard output: {error}")),
    }
}

/// [`line`] for what must be read by somebody: a reader who went away is trouble too.
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
