//! Finding a program and becoming it (the search every chain loader uses).

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Where programs are sought if there is no `$PATH`.
const PATH: &[u8] = b"/bin:/usr/bin";

/// Everything an exec needs, made beforehand so that a forked child allocates nothing of it.
pub(super) struct Image {
    paths: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    /// The image of `argv`, found as `program`: as it is if it holds a slash, else through our own
    /// `$PATH`.
    pub(super) fn new(
        program: &OsStr,
        argv: &[OsString],
        env: Option<&[(OsString, OsString)]>,
    ) -> io::Result<Self> {
        let paths = candidates(program.as_bytes(), std::env::var_os("PATH").as_deref());
        Ok(Self {
            paths: paths.into_iter().map(c_string).collect::<io::Result<_>>()?,
            argv: argv
                .iter()
                .map(|arg| c_string(arg.as_bytes().to_vec()))
                .collect::<io::Result<_>>()?,
            env: match env {
                Some(env) => pairs(env)?,
                None => pairs(&std::env::vars_os().collect::<Vec<_>>())?,
            },
        })
    }

    /// Becomes the program, trying each path; returns only with the error that decided.
    pub(super) fn exec(&self) -> io::Error {
        first_that_runs(&self.paths, |path| {
            match nix::unistd::execve(path, &self.argv, &self.env) {
                Err(error) => error.into(),
                Ok(never) => impossible(never),
            }
        })
    }
}

/// Tries to become each of some programs; the error that decided.
pub(super) fn first_that_runs(
    paths: &[CString],
    become_it: impl Fn(&CString) -> io::Error,
) -> io::Error {
    crate::sched::let_go();
    let mut remembered = io::Error::from_raw_os_error(nix::libc::ENOENT);
    for path in paths {
        let error = become_it(path);
        match error.kind() {
            ErrorKind::NotFound => {}
            ErrorKind::PermissionDenied | ErrorKind::IsADirectory => remembered = error,
            _ => return error,
        }
    }
    remembered
}

/// An exec that worked does not come back.
fn impossible(never: Infallible) -> io::Error {
    match never {}
}

/// Becomes the program at `path`. Returns only if that failed. `env` `None`: our own environment.
pub fn exec(path: &OsStr, argv: &[OsString], env: Option<&[(OsString, OsString)]>) -> io::Error {
    match Image::new(path, argv, env) {
        Ok(mut image) => {
            image.paths = c_string(path.as_bytes().to_vec()).into_iter().collect();
            image.exec()
        }
        Err(error) => error,
    }
}

/// Becomes the program `argv[0]`, sought through our own `$PATH` unless it holds a slash. Returns
/// only if that failed: ENOENT goes on to the next directory; EACCES, EPERM and EISDIR do too but
/// are the answer if nothing else is found; anything else ends the search. `env` `None`: our own
/// environment.
pub fn exec_search(argv: &[OsString], env: Option<&[(OsString, OsString)]>) -> io::Error {
    let Some(program) = argv.first() else { return ErrorKind::InvalidInput.into() };
    match Image::new(program, argv, env) {
        Ok(image) => image.exec(),
        Err(error) => error,
    }
}

/// The same for a program that is called by another name than the one it is sought by.
pub fn exec_search_as(program: &OsStr, argv: &[OsString]) -> io::Error {
    match Image::new(program, argv, None) {
        Ok(image) => image.exec(),
        Err(error) => error,
    }
}

/// The file that [`exec_search`] would run under this name, as far as that can be told beforehand:
/// the first of its paths that may be run.
pub fn find(program: &OsStr) -> Option<PathBuf> {
    let paths = candidates(program.as_bytes(), std::env::var_os("PATH").as_deref());
    let runs = |path: &PathBuf| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    paths.into_iter().map(|path| PathBuf::from(OsString::from_vec(path))).find(runs)
}

/// The paths to try for a program's name.
pub(super) fn candidates(program: &[u8], path: Option<&OsStr>) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let path = path.map_or(PATH, OsStr::as_bytes);
    path.split(|&byte| byte == b':').map(|dir| in_dir(dir, program)).collect()
}

fn in_dir(dir: &[u8], program: &[u8]) -> Vec<u8> {
    let dir = if dir.is_empty() { b"." } else { dir };
    [dir, b"/", program].concat()
}

fn pairs(env: &[(OsString, OsString)]) -> io::Result<Vec<CString>> {
    env.iter().map(|(name, value)| pair(name, value)).collect()
}

fn pair(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    c_string([name.as_bytes(), b"=", value.as_bytes()].concat())
}

/// A string with a NUL inside cannot be said to the kernel: `InvalidInput`.
pub(super) fn c_string(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_is_taken_as_it_is_and_an_empty_component_is_the_dot() {
        assert_eq!(candidates(b"./run", None), [b"./run".to_vec()]);
        let found = candidates(b"x", Some(OsStr::new("/a::/b")));
        assert_eq!(found, [b"/a/x".to_vec(), b"./x".to_vec(), b"/b/x".to_vec()]);
        assert_eq!(candidates(b"x", None), [b"/bin/x".to_vec(), b"/usr/bin/x".to_vec()]);
    }

    #[test]
    fn a_missing_program_is_not_found_and_a_directory_is_no_program() {
        let missing = exec_search(&["/nonexistent/program".into()], None);
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(find(OsStr::new("/nonexistent/program")), None);
        assert_eq!(find(OsStr::new("/etc/")), None);
        assert!(find(OsStr::new("sh")).is_some_and(|path| path.ends_with("sh")));
        let directory = exec_search(&["/etc/".into()], None);
        assert_eq!(directory.kind(), ErrorKind::PermissionDenied);
    }
}
