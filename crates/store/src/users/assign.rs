//! `users/assign` and its compiled form `users/cdb` (qmail-users(5)).
//!
//! Keys: `!local\0` for an exact assignment, `!prefix` for a wildcard, both in lower case; the
//! empty key holds every byte a wildcard ends with. Values: user, uid, gid, home, dash and ext,
//! each but the last with a NUL.

use std::collections::BTreeSet;
use std::fmt;

use base::cdb::{Cdb, Damaged, TooBig, Writer};

use super::Account;

/// `users/assign` cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignError {
    /// The line with this number is not `=local:user:uid:gid:home:dash:ext:` or
    /// `+prefix:user:uid:gid:home:dash:pre:`.
    Line(usize),
    /// The line with this number has uid 0, as whom nothing is ever delivered.
    Root(usize),
    /// There is no last line with a single dot, so the file may have been cut short.
    NoDot,
    /// It is too much for the format.
    TooBig,
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n} is not =local:user:uid:gid:home:dash:ext:"),
            Self::Root(n) => {
                write!(f, "line {n} has uid 0: nothing is delivered as root, name another user")
            }
            Self::NoDot => f.write_str("the last line must be a single dot"),
            Self::TooBig => TooBig.fmt(f),
        }
    }
}

impl std::error::Error for AssignError {}

/// Compiles the text of `users/assign`.
///
/// # Errors
/// [`AssignError`] naming the first bad line.
pub fn compile(text: &[u8]) -> Result<Vec<u8>, AssignError> {
    let mut cdb = Writer::new();
    let mut ends = BTreeSet::new();
    let mut dot = false;
    let mut keys = BTreeSet::new();
    if text.is_empty() {
        return Err(AssignError::NoDot);
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (n, line) in text.split(|&c| c == b'\n').enumerate() {
        if line == b"." {
            dot = true;
            break;
        }
        let number = n.saturating_add(1);
        let (key, value) = record(line).ok_or(AssignError::Line(number))?;
        if is_root(&value) {
            return Err(AssignError::Root(number));
        }
        if line.starts_with(b"+") {
            ends.extend(key.get(1..).and_then(<[u8]>::last).copied());
        }
        // The first of equal keys counts, and only it is written.
        if keys.insert(key.clone()) {
            cdb.add(&key, &value).map_err(|TooBig| AssignError::TooBig)?;
        }
    }
    if !dot {
        return Err(AssignError::NoDot);
    }
    let ends: Vec<u8> = ends.into_iter().collect();
    cdb.add(b"", &ends).map_err(|TooBig| AssignError::TooBig)?;
    Ok(cdb.finish())
}

/// Key and value of one line.
fn record(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (first, rest) = line.split_first()?;
    if *first == b':' || line.contains(&0) {
        return None;
    }
    let mut fields = rest.split(|&c| c == b':');
    let local = fields.next()?;
    let mut key = [b"!", &local.to_ascii_lowercase()[..]].concat();
    if *first != b'+' {
        key.push(0);
    }
    let values: Vec<&[u8]> = fields.by_ref().take(6).collect();
    for id in [values.get(1)?, values.get(2)?] {
        number(id).ok()?;
    }
    // The sixth value ends in a colon too; what follows it is ignored.
    (values.len() == 6 && fields.next().is_some()).then(|| (key, values.join(&0)))
}

/// Whether a value's uid, its second field, is 0.
fn is_root(value: &[u8]) -> bool {
    value.split(|&c| c == 0).nth(1).is_some_and(|uid| number(uid) == Ok(0))
}

/// The account a compiled file gives `local`; `None` if it gives none.
///
/// # Errors
/// [`Damaged`] if the file is not a compiled `users/assign`.
pub fn find(cdb: &[u8], local: &[u8]) -> Result<Option<Account>, Damaged> {
    let cdb = Cdb::new(cdb)?;
    let ends = cdb.get(b"")?.ok_or(Damaged)?;
    let key = [b"!", &local.to_ascii_lowercase()[..], b"\0"].concat();
    if let Some(value) = cdb.get(&key)? {
        return account(value, b"").map(Some);
    }
    let prefixes = key.split_last().map_or(&key[..], |(_, rest)| rest);
    for len in (1..=prefixes.len()).rev() {
        let Some((prefix, _)) = prefixes.split_at_checked(len) else { continue };
        if len > 1 && !prefix.last().is_some_and(|last| ends.contains(last)) {
            continue;
        }
        if let Some(value) = cdb.get(prefix)? {
            let rest = local.get(len.saturating_sub(1)..).unwrap_or_default();
            return account(value, rest).map(Some);
        }
    }
    Ok(None)
}

/// A value, with the rest of the local part behind its ext.
fn account(value: &[u8], rest: &[u8]) -> Result<Account, Damaged> {
    let mut fields = value.split(|&c| c == 0).map(<[u8]>::to_vec);
    let mut next = || fields.next().ok_or(Damaged);
    let (user, uid, gid) = (next()?, number(&next()?)?, number(&next()?)?);
    let (home, dash, mut ext) = (next()?, next()?, next()?);
    ext.extend_from_slice(rest);
    Ok(Account { user, uid, gid, home, dash, ext })
}

/// A uid or gid. Stock reads leading digits and takes none as 0, which is root: we take no such
/// file.
pub(super) fn number(digits: &[u8]) -> Result<u32, Damaged> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"=Joe.Shmoe:joe:503:78:/home/joe:::\n\
        +joe-:joe:503:78:/home/joe:-::\n\
        +j:jay:504:78:/home/jay:-:pre-:\n\
        +:alias:7790:2108:/var/qmail/alias:-::\n\
        =joe.shmoe:other:1:1:/o:::\n.\nignored\n";

    fn got(local: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let a = find(&compile(TEXT).unwrap(), local).unwrap().unwrap();
        (a.user, a.dash, a.ext)
    }

    #[test]
    fn exact_beats_prefix_longer_beats_shorter_and_the_first_of_equals_counts() {
        let want = |u: &[u8], d: &[u8], e: &[u8]| (u.to_vec(), d.to_vec(), e.to_vec());
        assert_eq!(got(b"JOE.shmoe"), want(b"joe", b"", b""));
        assert_eq!(got(b"joe-A-b"), want(b"joe", b"-", b"A-b"));
        assert_eq!(got(b"Jim"), want(b"jay", b"-", b"pre-im"));
        assert_eq!(got(b"Bob"), want(b"alias", b"-", b"Bob"));
        assert_eq!(got(b""), want(b"alias", b"-", b""));
    }

    #[test]
    fn without_a_catch_all_nobody_is_found() {
        let cdb = compile(b"=joe:joe:1:2:/h:::\n.\n").unwrap();
        assert_eq!(find(&cdb, b"bob").unwrap(), None);
        assert_eq!(find(&Writer::new().finish(), b"bob"), Err(Damaged));
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(compile(b"=joe:joe:1:2:/h::\n.\n"), Err(AssignError::Line(1)));
        assert_eq!(compile(b"=j:j:1:2:/h:::\n\n.\n"), Err(AssignError::Line(2)));
        assert_eq!(compile(b"=j:j:1:2:/h:::\n=j\0k:j:1:2:/h:::\n.\n"), Err(AssignError::Line(2)));
        assert_eq!(compile(b"=j:j:x:2:/h:::\n.\n"), Err(AssignError::Line(1)));
        assert_eq!(compile(b"=j:j:1:2:/h:::\n"), Err(AssignError::NoDot));
        assert_eq!(
            compile(b"=j:j:1:2:/h:::\n+r-:root:00:2:/h:-::\n.\n"),
            Err(AssignError::Root(2))
        );
        assert_eq!(compile(b""), Err(AssignError::NoDot));
        assert!(compile(b".").is_ok());
    }

    #[test]
    fn a_record_is_written_as_stock_writes_it() {
        let (key, value) = record(b"=Joe:joe:1:2:/h:-:x:more:junk").unwrap();
        assert_eq!((&key[..], &value[..]), (&b"!joe\0"[..], &b"joe\x001\x002\0/h\0-\0x"[..]));
        assert_eq!(record(b"+Jo-:u:1:2:/h:-::").unwrap().0, b"!jo-");
    }
}
