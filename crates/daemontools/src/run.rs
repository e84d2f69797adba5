//! Becoming another program: how every chain loader here ends.

use crate::message::Voice;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use sys::signal::{self, Signal};

/// The environment a child will get, in the order and with the replacement rule of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Our own.
    pub(crate) fn ours() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Removes a variable; the last one moves into its place. A name with `=` means the part
    /// before it.
    pub(crate) fn remove(&mut self, name: &OsStr) {
        let name = name.as_bytes().split(|&byte| byte == b'=').next().unwrap_or_default();
        if let Some(at) = self.0.iter().position(|(each, _)| each.as_bytes() == name) {
            self.0.swap_remove(at);
        }
    }

    /// Sets a variable: the old one goes, the new one comes last.
    pub(crate) fn set(&mut self, name: &OsStr, value: &OsStr) {
        self.remove(name);
        self.0.push((name.to_os_string(), value.to_os_string()));
    }

    /// Its variables.
    pub(crate) fn as_slice(&self) -> &[(OsString, OsString)] {
        &self.0
    }
}

/// Becomes the program `argv[0]`, sought in our own `$PATH`, with room enough if it is one of ours;
/// returns (the exit code) only if that failed, after saying so.
pub(crate) fn run(voice: Voice, argv: &[OsString], env: Option<&Environment>) -> i32 {
    if let Some(child) = argv.first() {
        crate::room::see_to(voice, child);
    }
    become_it(voice, argv, env)
}

/// The same with whatever room there is.
pub(crate) fn become_it(voice: Voice, argv: &[OsString], env: Option<&Environment>) -> i32 {
    // The runtime ignores SIGPIPE in us; the next program must find it as a shell would leave it.
    signal::default(Signal::Pipe);
    let error = sys::spawn::exec_search(argv, env.map(|env| env.0.as_slice()));
    let name = argv.first().map(OsString::as_os_str).unwrap_or_default();
    voice.fatal(&[&"unable to run ", &name], Some(&error))
}

/// Becomes a program of our own, `argv[0]`: the one that lies beside this very binary or, where none
/// does, this binary under that name. `$PATH`'s is only taken where there is no `/proc`: it may be
/// another daemontools's, which knows nothing of what ours have written. Returns only if that failed.
pub(crate) fn become_ours(argv: &[OsString], env: Option<&[(OsString, OsString)]>) -> io::Error {
    let Some(name) = argv.first() else { return ErrorKind::InvalidInput.into() };
    let sibling = std::env::current_exe().ok().map(|me| me.with_file_name(name));
    if let Some(sibling) = sibling.filter(|sibling| sibling.exists()) {
        return sys::spawn::exec(sibling.as_os_str(), argv, env);
    }
    let error = sys::spawn::exec("/proc/self/exe".as_ref(), argv, env);
    if error.kind() == ErrorKind::NotFound {
        return sys::spawn::exec_search(argv, env);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(n, v)| (n.into(), v.into())).collect())
    }

    #[test]
    fn a_new_value_comes_last_and_the_last_takes_the_old_ones_place() {
        let mut all = env(&[("A", "1"), ("B", "2"), ("C", "3")]);
        all.set("A".as_ref(), "9".as_ref());
        assert_eq!(all, env(&[("C", "3"), ("B", "2"), ("A", "9")]));
    }

    #[test]
    fn a_name_with_an_equals_sign_replaces_the_part_before_it() {
        let mut all = env(&[("F", "1"), ("B", "2")]);
        all.set("F=G".as_ref(), "v".as_ref());
        assert_eq!(all, env(&[("B", "2"), ("F=G", "v")]));
    }
}
