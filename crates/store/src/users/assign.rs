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
    let mut keys = BTreeSet::new();
    each(text, |line, key, value| {
        refuse_root(line, &value)?;
        if key.last() != Some(&0) {
            ends.extend(key.get(1..).and_then(<[u8]>::last).copied());
        }
        // The first of equal keys counts, and only it is written.
        if keys.insert(key.clone()) {
            cdb.add(&key, &value).map_err(|TooBig| AssignError::TooBig)?;
        }
        Ok(())
    })?;
    let ends: Vec<u8> = ends.into_iter().collect();
    cdb.add(b"", &ends).map_err(|TooBig| AssignError::TooBig)?;
    Ok(cdb.finish())
}

/// Judges a text as [`compile`] does; the lines with gid 0, with which nothing is delivered where
/// programs change users.
///
/// # Errors
/// [`AssignError`] naming the first bad line.
pub fn check(text: &[u8]) -> Result<Vec<usize>, AssignError> {
    let mut groups = Vec::new();
    each(text, |line, _, value| {
        refuse_root(line, &value)?;
        if is_root(&value, 2) {
            groups.push(line);
        }
        Ok(())
    })?;
    Ok(groups)
}

/// Whether `cdb` says what the text does: it is what [`compile`] makes of it, or every assignment is
/// found there, as in one that another qmail-newu has made. A damaged one says less.
///
/// # Errors
/// [`AssignError`] naming the first bad line of the text.
pub fn is_compiled(text: &[u8], cdb: &[u8]) -> Result<bool, AssignError> {
    if compile(text)? == cdb {
        return Ok(true);
    }
    let Some(cdb) = Cdb::new(cdb).ok().filter(Cdb::is_whole) else { return Ok(false) };
    let (mut same, mut keys) = (true, BTreeSet::new());
    each(text, |_, key, value| {
        // The first of equal keys counts.
        same = same && (keys.contains(&key) || cdb.get(&key) == Ok(Some(&value)));
        keys.insert(key);
        Ok(())
    })?;
    // What the text does not say any more, and all that nobody asks for by name.
    let known = |record: Result<(&[u8], &[u8]), Damaged>| {
        record.is_ok_and(|(key, _)| key.is_empty() || keys.contains(key))
    };
    Ok(same && cdb.records().all(known))
}

/// The line that counts for a local part, if one does: for who has to name it.
pub fn line_of(text: &[u8], local: &[u8]) -> Option<usize> {
    let whole = [b"!", &local.to_ascii_lowercase()[..], b"\0"].concat();
    let mut best: Option<(usize, usize)> = None;
    let looked = each(text, |line, key, _| {
        // The longest counts, of equals the first.
        if whole.starts_with(&key) && best.is_none_or(|(length, _)| length < key.len()) {
            best = Some((key.len(), line));
        }
        Ok(())
    });
    looked.ok().and(best).map(|(_, line)| line)
}

/// Shows the number, key and value of every line to `take`.
fn each(
    text: &[u8],
    mut take: impl FnMut(usize, Vec<u8>, Vec<u8>) -> Result<(), AssignError>,
) -> Result<(), AssignError> {
    if text.is_empty() {
        return Err(AssignError::NoDot);
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (number, line) in (1..).zip(text.split(|&c| c == b'\n')) {
        if line == b"." {
            return Ok(());
        }
        let (key, value) = record(line).ok_or(AssignError::Line(number))?;
        take(number, key, value)?;
    }
    Err(AssignError::NoDot)
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

fn refuse_root(line: usize, value: &[u8]) -> Result<(), AssignError> {
    if is_root(value, 1) { Err(AssignError::Root(line)) } else { Ok(()) }
}

/// Whether a value's uid (field 1) or gid (field 2) is 0.
fn is_root(value: &[u8], field: usize) -> bool {
    value.split(|&c| c == 0).nth(field).is_some_and(|id| number(id) == Ok(0))
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

    #[test]
    fn a_table_is_what_the_text_says_only_if_it_is_whole() {
        let whole = compile(TEXT).unwrap();
        assert_eq!(is_compiled(TEXT, &whole), Ok(true));
        for cut in [0, 1, 8, 100] {
            let cut = &whole[..whole.len() - 1 - cut];
            assert_eq!(is_compiled(TEXT, cut), Ok(false));
        }
        let more = [b"=ann:ann:5:5:/a:::\n", TEXT].concat();
        assert_eq!(is_compiled(&more, &whole), Ok(false));
        assert_eq!(is_compiled(TEXT, &compile(&more).unwrap()), Ok(false));
        let garbage: Vec<u8> = whole.iter().map(|c| !c).collect();
        assert_eq!(is_compiled(TEXT, &garbage), Ok(false));
        assert_eq!(is_compiled(b"=ann:\n.\n", &whole), Err(AssignError::Line(1)));
    }

    #[test]
    fn a_table_of_the_same_records_in_another_order_is_what_the_text_says() {
        let whole = compile(TEXT).unwrap();
        let mut records: Vec<_> = Cdb::new(&whole).unwrap().records().map(Result::unwrap).collect();
        // Of two records for joe.shmoe the first counts: they keep their order.
        let first = records.iter().position(|(key, _)| key.starts_with(b"!joe.")).unwrap();
        let last = records.iter().rposition(|(key, _)| key.starts_with(b"!joe.")).unwrap();
        records.swap(first, last);
        records.reverse();
        let table = |records: &[_]| base::cdb::build(records.iter().copied()).unwrap();
        assert_ne!(table(&records), whole);
        assert_eq!(is_compiled(TEXT, &table(&records)), Ok(true));
        let without = |name: &[u8]| {
            let kept: Vec<_> = records.iter().filter(|(key, _)| *key != name).copied().collect();
            assert_eq!(kept.len() + 1, records.len());
            is_compiled(TEXT, &table(&kept))
        };
        assert_eq!([without(b"!joe-"), without(b"!j"), without(b"!")], [Ok(false); 3]);
    }

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
    fn root_is_found_by_its_line() {
        assert_eq!(
            check(b"=j:j:1:0:/h:::\n=k:k:1:2:/h:::\n+r-:r:1:00:/h:-::\n.\n"),
            Ok(vec![1, 3])
        );
        assert_eq!(check(b"=j:j:1:0:/h:::\n=k:k:0:0:/h:::\n.\n"), Err(AssignError::Root(2)));
        assert_eq!(check(TEXT), Ok(vec![]));
        let lines = [b"Joe.Shmoe".as_slice(), b"joe-x", b"jo", b"bob"].map(|l| line_of(TEXT, l));
        assert_eq!(lines, [Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(line_of(b"=a:a:1:2:/h:::\n=joe:joe:0:2:/h:::\n.\n", b"joe"), Some(2));
        assert_eq!(line_of(b"=joe:joe:1:2:/h:::\n.\n", b"joe-x"), None);
        assert_eq!(line_of(b"nonsense\n.\n", b"joe"), None);
    }

    #[test]
    fn a_record_is_written_as_stock_writes_it() {
        let (key, value) = record(b"=Joe:joe:1:2:/h:-:x:more:junk").unwrap();
        assert_eq!((&key[..], &value[..]), (&b"!joe\0"[..], &b"joe\x001\x002\0/h\0-\0x"[..]));
        assert_eq!(record(b"+Jo-:u:1:2:/h:-::").unwrap().0, b"!jo-");
    }
}
