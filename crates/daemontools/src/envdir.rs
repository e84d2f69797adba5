//! envdir: run a program with variables set from the files of a directory.
//!
//! *Runs as* whoever calls it · *hears* nobody · *opens* the files of one directory ·
//! *speaks to* nobody: it becomes the program.

use crate::message::{Piece, TEMPORARY, Voice};
use crate::run::{Environment, run};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use sys::dir::{Dir, How};

const VOICE: Voice = Voice("envdir");
/// Entries of the directory that are looked at.
const ENTRIES: usize = 10_000;
/// Bytes of one file: no kernel takes a longer variable.
const FILE: usize = 1 << 20;

/// `envdir dir child`. Misuse is 111 here, not 100: scripts know it so.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, dir, child @ ..] = args else { return misuse() };
    if child.is_empty() {
        return misuse();
    }
    let mut env = Environment::ours();
    match fill(&mut env, dir) {
        Ok(()) => run(VOICE, child, Some(&env)),
        Err(code) => code,
    }
}

fn misuse() -> i32 {
    VOICE.usage("envdir dir child");
    TEMPORARY
}

/// Takes the directory's variables into the environment. One who may pass through a directory, but
/// not list it, is told so: hence the way into it and back.
fn fill(env: &mut Environment, path: &OsStr) -> Result<(), i32> {
    let here = Dir::open(".")
        .map_err(|e| VOICE.fatal(&[&"unable to switch to current directory"], Some(&e)))?;
    std::env::set_current_dir(path)
        .map_err(|e| VOICE.fatal(&[&"unable to switch to directory ", &path], Some(&e)))?;
    let unread = |e| VOICE.fatal(&[&"unable to read directory ", &path], Some(&e));
    let dir = Dir::open(".").map_err(unread)?;
    let names = dir.names(ENTRIES + 1).map_err(unread)?;
    if names.len() > ENTRIES {
        let text = format!(": more than {ENTRIES} files");
        return Err(VOICE.fatal(&[&"unable to read directory ", &path, &text], None));
    }
    here.enter()
        .map_err(|e| VOICE.fatal(&[&"unable to switch to starting directory"], Some(&e)))?;
    for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
        match content(&dir, name) {
            Ok(bytes) if bytes.is_empty() => env.remove(name),
            Ok(bytes) => env.set(name, &value(&bytes)),
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                let text: [Piece<'_>; 5] =
                    [&"unable to read ", &path, &"/", name, &": larger than a megabyte"];
                return Err(VOICE.fatal(&text, None));
            }
            Err(e) => return Err(VOICE.fatal(&[&"unable to read ", &path, &"/", name], Some(&e))),
        }
    }
    Ok(())
}

/// What a file holds. A link to nothing is an empty file; so is a FIFO nobody writes.
fn content(dir: &Dir, name: &OsStr) -> io::Result<Vec<u8>> {
    match dir.file(name, How::Read) {
        Ok(file) => match sys::fd::read_to_end(&file, FILE) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Vec::new()),
            read => read,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The first line without blanks at its end, NULs turned into newlines.
fn value(bytes: &[u8]) -> OsString {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    let kept = line.iter().take(end);
    OsString::from_vec(kept.map(|&byte| if byte == 0 { b'\n' } else { byte }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_first_line_without_trailing_blanks() {
        assert_eq!(value(b"one \t \ntwo\n"), "one");
        assert_eq!(value(b"  a b\r"), "  a b\r");
        assert_eq!(value(b"a\0b\0\n"), "a\nb\n");
        assert_eq!(value(b"\n"), "");
        assert_eq!(value(b" \t"), "");
    }
}
