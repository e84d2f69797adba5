//! Who may log in: `users/passwords`, lines of `address:hash`, compiled to `users/passwords.cdb`.
//!
//! Both files are readable by their owner alone. A hash names its own method: `$argon2id$` (what
//! [`hash`] makes), `$y$`, `$6$`, `$5$`, `$2b$`. A name that is not there costs as much time as a
//! wrong secret, so that nobody can find out names by the clock.

mod method;
pub mod proofs;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base::cdb::{Cdb, Writer};

pub use method::{hash, is_hash, salt, verify};

use crate::home::Home;

/// The text file, below the home.
pub const TEXT: &str = "users/passwords";
/// The compiled file, below the home.
pub const COMPILED: &str = "users/passwords.cdb";

/// The list of passwords cannot be used.
#[derive(Debug)]
pub enum PasswordsError {
    /// A file cannot be read or written.
    Io(PathBuf, io::Error),
    /// A line of the text is not `address:hash` with a hash of a known method.
    Line(usize),
    /// A line repeats the address of an earlier one.
    Repeated(usize, usize),
    /// The compiled file is damaged or too big.
    Damaged(PathBuf),
}

impl fmt::Display for PasswordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, err) => write!(f, "unable to use {}: {err}", path.display()),
            Self::Line(n) => write!(f, "{TEXT} line {n} is not address:hash with a known hash"),
            Self::Repeated(n, first) => {
                write!(f, "{TEXT} line {n} repeats the address of line {first}")
            }
            Self::Damaged(path) => {
                write!(f, "{} is damaged (mend: run qmail-newu)", path.display())
            }
        }
    }
}

impl std::error::Error for PasswordsError {}

/// A login name as the list knows it: lower case, with `host` if it has no domain.
pub fn canonical(login: &[u8], host: &[u8]) -> Vec<u8> {
    let mut name = login.to_vec();
    if !name.contains(&b'@') {
        name.push(b'@');
        name.extend_from_slice(host);
    }
    name.to_ascii_lowercase()
}

/// Compiles the text; names without a domain get `host`.
///
/// # Errors
/// The first line that is wrong.
pub fn compile(text: &[u8], host: &[u8]) -> Result<Vec<u8>, PasswordsError> {
    let mut cdb = Writer::new();
    let mut lines = BTreeMap::new();
    for (n, line) in text.split(|&c| c == b'\n').enumerate() {
        let n = n.saturating_add(1);
        let line = line.trim_ascii_end();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (address, hash) = entry(line).ok_or(PasswordsError::Line(n))?;
        let address = canonical(address, host);
        cdb.add(&address, hash).map_err(|_| PasswordsError::Damaged(COMPILED.into()))?;
        if let Some(first) = lines.insert(address, n) {
            return Err(PasswordsError::Repeated(n, first));
        }
    }
    Ok(cdb.finish())
}

/// Address and hash of a line. The last colon divides: an address may hold one, a hash does not.
fn entry(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().rposition(|&c| c == b':')?;
    let (address, hash) = line.split_at_checked(colon)?;
    let hash = hash.get(1..)?;
    (!address.is_empty() && !line.contains(&0) && is_hash(hash)).then_some((address, hash))
}

/// Compiles [`TEXT`] into [`COMPILED`] and puts it in place in one step; false if there is no text.
///
/// # Errors
/// [`PasswordsError`]; the old compiled file then stays.
pub fn install(home: &Home, host: &[u8]) -> Result<bool, PasswordsError> {
    let path = home.path(TEXT);
    let text = match std::fs::read(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        read => read.map_err(|err| PasswordsError::Io(path, err))?,
    };
    replace(home, COMPILED, &compile(&text, host)?)?;
    Ok(true)
}

/// Sets, or with `None` removes, the hash of one address in [`TEXT`], and compiles it. Other lines
/// stay as they are.
///
/// # Errors
/// [`PasswordsError`]; nothing is changed if a line is wrong.
pub fn set(
    home: &Home,
    host: &[u8],
    address: &[u8],
    hash: Option<&str>,
) -> Result<(), PasswordsError> {
    let path = home.path(TEXT);
    let old = match std::fs::read(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|err| PasswordsError::Io(path, err))?,
    };
    let wanted = canonical(address, host);
    let mut text = Vec::new();
    for line in old.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
        let ours = entry(line).is_some_and(|(name, _)| canonical(name, host) == wanted);
        if line.starts_with(b"#") || !ours {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    if let Some(hash) = hash {
        text.extend_from_slice(&wanted);
        text.extend_from_slice(format!(":{hash}\n").as_bytes());
    }
    let compiled = compile(&text, host)?;
    replace(home, TEXT, &text)?;
    replace(home, COMPILED, &compiled)
}

/// Writes a file readable by its owner alone, synced, under another name, and moves it in place.
fn replace(home: &Home, below: &str, bytes: &[u8]) -> Result<(), PasswordsError> {
    let path = home.path(below);
    let tmp = home.path(format!("{below}.tmp"));
    let made = sys::file::replace(&path, &tmp, 0o600, bytes);
    made.map_err(|(_, err)| PasswordsError::Io(tmp, err))
}

/// Whether `secret` is the one of `name`, a [`canonical`] name.
///
/// # Errors
/// [`PasswordsError`]: it cannot be told now.
pub fn check(home: &Home, name: &[u8], secret: &[u8]) -> Result<bool, PasswordsError> {
    let path = home.path(COMPILED);
    let cdb = read(&path).map_err(|err| PasswordsError::Io(path.clone(), err))?;
    let known = Cdb::new(&cdb).and_then(|cdb| cdb.get(name));
    let known = known.map_err(|_| PasswordsError::Damaged(path))?;
    Ok(verify(secret, known))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut cdb = Vec::new();
    std::fs::File::open(path)?.read_to_end(&mut cdb)?;
    Ok(cdb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use yard::{Kept, Yard};

    fn home(tag: &str) -> Kept<Home> {
        let dir = Yard::new(&format!("passwords-{tag}"));
        std::fs::create_dir_all(dir.join("users")).unwrap();
        let home = Home::at(&dir).unwrap();
        dir.keep(home)
    }

    #[test]
    fn a_password_that_was_set_fits_and_no_other() {
        let home = home("set");
        let made = hash(b"secret", b"0123456789abcdef").unwrap();
        set(&home, b"me.org", b"Joe", Some(&made)).unwrap();
        set(&home, b"me.org", b"ann@x.org", Some(&made)).unwrap();
        assert!(check(&home, &canonical(b"JOE", b"me.org"), b"secret").unwrap());
        assert!(!check(&home, b"joe@me.org", b"Secret").unwrap());
        assert!(!check(&home, b"nobody@me.org", b"secret").unwrap());
        set(&home, b"me.org", b"joe@ME.org", None).unwrap();
        assert!(!check(&home, b"joe@me.org", b"secret").unwrap());
        assert!(check(&home, b"ann@x.org", b"secret").unwrap());
        for file in [TEXT, COMPILED] {
            let mode = std::fs::metadata(home.path(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        let good = hash(b"x", b"0123456789abcdef").unwrap();
        let text = format!("# c\na@b:{good}\nA@B:{good}\n");
        let said = compile(text.as_bytes(), b"h").unwrap_err().to_string();
        assert_eq!(said, "users/passwords line 3 repeats the address of line 2");
        for bad in ["a@b:secret", "a@b:", ":$6$x$y", "a@b"] {
            assert!(matches!(compile(bad.as_bytes(), b"h"), Err(PasswordsError::Line(1))));
        }
    }

    #[test]
    fn without_a_list_nobody_is_judged() {
        assert!(check(&home("none"), b"a@b", b"x").is_err());
        assert!(!install(&home("none"), b"h").unwrap());
    }
}
