//! What is wrong with the settings: which file and line, and how to mend it.

use std::collections::BTreeMap;

use base::{limits, route};
use store::control::{Map, Set};
use store::home::Home;
use store::users::Directory;
use store::users::assign::{self, AssignError};

use super::files::{File, What};
use super::table::{MAPS, ROUTES, Show, entry};
use super::{judge, lines, name};

/// Said of one kind of slip in one file at most.
pub(super) const OFTEN: usize = 20;

/// Everything that is wrong, file by file.
pub(super) fn all(home: &Home, files: &BTreeMap<Vec<u8>, File>) -> Vec<String> {
    let mut found = Vec::new();
    for (file_name, file) in files {
        mode(file, &mut found);
        readers(home, file_name, file, &mut found);
        let Some(entry) = entry(file_name) else { continue };
        match file.text() {
            Some(_) if entry.show == Show::Compiled => {}
            Some(text) => {
                contents(entry.name, entry.show, file, text, &mut found);
                found.extend(judge::text(home, entry.name, &name(&file.path), text));
            }
            // Who runs this has no business in it.
            None if is_for_others(file_name, file) => {}
            None => found.extend(unusable(entry.show, file)),
        }
    }
    whole(home, files, &mut found);
    users(home, &mut found);
    found
}

/// Files that no program reads: a name with a slip in it is no setting. Stock's page says so of each, in
/// its own words; `--check` says it in these.
pub(super) fn unknown(files: &BTreeMap<Vec<u8>, File>) -> Vec<String> {
    let unknown = files.iter().filter(|(file_name, _)| entry(file_name).is_none());
    let said = unknown.map(|(_, file)| {
        let path = name(&file.path);
        format!("{path} is no setting that a program of ours reads (mend: rename or remove it)")
    });
    said.take(OFTEN).collect()
}

/// Whether it is a file of passwords that its group may read, and we are not in it.
fn is_for_others(file_name: &[u8], file: &File) -> bool {
    let with_secrets = file_name == lines::WITH_SECRETS.as_bytes();
    with_secrets && file.what == What::Closed && file.mode & 0o040 != 0
}

/// Why a setting is none.
fn unusable(show: Show, file: &File) -> Option<String> {
    let path = name(&file.path);
    let why = match file.what {
        What::Text(_) => return None,
        // A cdb may be longer than what people write.
        What::TooLong if show == Show::Compiled => return None,
        What::TooLong => {
            let most = limits::CONTROL_FILE;
            format!("is longer than {most} bytes: programs refuse the file (mend: shorten it)")
        }
        What::Closed => format!("cannot be read (mend: chmod a+r {path})"),
        What::Broken(why) => format!("cannot be read: {why} (mend: put a plain file there)"),
        What::Other(kind) => {
            format!("is {kind}: programs refuse it (mend: put a plain file there, or remove it)")
        }
        What::Nowhere => {
            let to = name(&std::fs::read_link(&file.path).unwrap_or_default());
            format!(
                "is a link to {to}, where nothing is: it counts as not there (mend: put a file \
                 there, or remove the link)"
            )
        }
    };
    Some(format!("{path} {why}"))
}

/// Only their owner may write the files.
fn mode(file: &File, found: &mut Vec<String>) {
    let path = name(&file.path);
    if file.mode & 0o022 != 0 {
        found.push(format!(
            "{path} may be written by others than its owner (mend: chmod go-w {path})"
        ));
    }
}

/// Several roles read the files; passwords are for one of them.
fn readers(home: &Home, file_name: &[u8], file: &File, found: &mut Vec<String>) {
    let (path, all) = (name(&file.path), file.mode & 0o004 != 0);
    let with_secrets = file_name == lines::WITH_SECRETS.as_bytes();
    if with_secrets && all && file.text().is_some_and(has_secret) {
        found.push(format!(
            "{path} holds a password and everybody may read it (mend: chgrp qmail {path} and chmod 640 {path})"
        ));
    }
    let enough = all || (with_secrets && file.mode & 0o040 != 0);
    if !home.is_private() && file.is_file() && !enough {
        found.push(format!("{path} cannot be read by every program (mend: chmod a+r {path})"));
    }
}

fn has_secret(text: &[u8]) -> bool {
    lines::list(text).any(|line| lines::secret(line).is_some())
}

fn contents(file_name: &str, show: Show, file: &File, text: &[u8], found: &mut Vec<String>) {
    let path = name(&file.path);
    if !text.is_empty() && !text.ends_with(b"\n") {
        let last = text.split(|&c| c == b'\n').count();
        found.push(format!(
            "{path} line {last} has no newline: what is appended next joins it (mend: end the line)"
        ));
    }
    let bad = (1..).zip(text.split(|&c| c == b'\n'));
    let bad =
        bad.filter_map(|(line, text)| spoilt(text).map(|why| format!("{path} line {line} {why}")));
    found.extend(bad.take(OFTEN));
    match show {
        Show::Number(_) => number(&path, text, found),
        Show::Line => line(file_name, &path, text, found),
        Show::List | Show::More if MAPS.contains(&file_name) => {
            map(&path, text, found);
            if ROUTES.contains(&file_name) {
                routes(&path, text, found);
            }
        }
        Show::List | Show::More => list(file_name, &path, text, found),
        Show::Compiled => {}
    }
}

/// What no setting holds.
fn spoilt(line: &[u8]) -> Option<&'static str> {
    if lines::trim(line).ends_with(b"\r") {
        return Some("ends in a CR: programs refuse the file (mend: save it with plain line ends)");
    }
    line.contains(&0).then_some("holds a NUL byte: programs refuse the file (mend: remove it)")
}

fn number(path: &str, text: &[u8], found: &mut Vec<String>) {
    let line = lines::first(text);
    let digits = lines::digits(line);
    if digits.is_empty() && !line.is_empty() {
        found.push(format!("{path} line 1 is not a number: programs refuse the file (mend: write digits, or remove the file)"));
    } else if digits.is_empty() {
        found.push(format!("{path} line 1 is empty: the default is in force (mend: write a number, or remove the file)"));
    } else if digits.len() < line.len() {
        let digits = String::from_utf8_lossy(digits).into_owned();
        found.push(format!(
            "{path} line 1 has more than a number: it is read as {digits} (mend: write only digits)"
        ));
    }
    more(path, text, found);
}

fn line(file_name: &str, path: &str, text: &[u8], found: &mut Vec<String>) {
    let line = lines::first(text);
    // An empty doublebounceto is meant: it makes double bounces vanish.
    if line.is_empty() && file_name != "doublebounceto" {
        found.push(format!(
            "{path} line 1 is empty, and so is the setting (mend: write it, or remove the file)"
        ));
    }
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        found.push(format!("{path} line 1 begins with a blank, which counts (mend: remove it)"));
    }
    if line.starts_with(b"#") {
        found.push(format!(
            "{path} line 1 begins with #, which is no comment here (mend: write the setting first)"
        ));
    }
    more(path, text, found);
}

/// Only the first line of such a file counts.
fn more(path: &str, text: &[u8], found: &mut Vec<String>) {
    if text.split(|&c| c == b'\n').skip(1).any(|line| !lines::trim(line).is_empty()) {
        found.push(format!("{path} line 2: only line 1 counts (mend: remove the others)"));
    }
}

fn list(file_name: &str, path: &str, text: &[u8], found: &mut Vec<String>) {
    if file_name == "defaultdelivery" {
        return;
    }
    let blank =
        lines::numbered(text).filter(|(_, line)| line.starts_with(b" ") || line.starts_with(b"\t"));
    let blank = blank.map(|(n, _)| {
        format!("{path} line {n} begins with a blank, which counts (mend: remove it)")
    });
    found.extend(blank.take(OFTEN));
}

fn map(path: &str, text: &[u8], found: &mut Vec<String>) {
    let mut keys = BTreeMap::new();
    let mut said = Vec::new();
    for (n, line) in lines::numbered(text) {
        let Some(colon) = line.iter().position(|&c| c == b':') else {
            said.push(format!("{path} line {n} has no colon: programs refuse the file (mend: write NAME:VALUE, or remove the line)"));
            continue;
        };
        let (key, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let value = value.get(1..).unwrap_or_default();
        let blank = |c: Option<&u8>| c.is_some_and(|c| b" \t".contains(c));
        if blank(key.first()) || blank(key.last()) || blank(value.first()) {
            said.push(format!("{path} line {n} has a blank beside its name or its colon, which counts (mend: remove it)"));
        }
        if let Some(before) = keys.insert(key.to_ascii_lowercase(), n) {
            said.push(format!("{path} line {before} says nothing: line {n} has the same name, and the last counts (mend: remove one)"));
        }
    }
    found.extend(said.into_iter().take(OFTEN));
}

/// Routes that cannot be meant: letters to whom they count for are put off.
fn routes(path: &str, text: &[u8], found: &mut Vec<String>) {
    let bad = lines::numbered(text).filter_map(|(n, line)| {
        let colon = line.iter().position(|&c| c == b':')?;
        let why = route::read(line.get(colon.saturating_add(1)..)?, 0).err()?;
        Some(format!("{path} line {n}: {why}: letters for it are put off (mend: correct the line)"))
    });
    found.extend(bad.take(OFTEN));
}

/// What several files together say.
fn whole(home: &Home, files: &BTreeMap<Vec<u8>, File>, found: &mut Vec<String>) {
    let path = |file_name: &str| name(&home.path("control").join(file_name));
    let there = |file_name: &str| files.get(file_name.as_bytes()).filter(|file| file.is_there());
    let text = |file_name: &str| there(file_name).and_then(File::text);
    if there("me").is_none() {
        found.push(format!(
            "{} is missing: no mail comes or goes (mend: write this host's name into it)",
            path("me")
        ));
    }
    if there("rcpthosts").is_none() {
        found.push(format!(
            "{} is missing: letters are taken for what is delivered here, and others refused, where \
             stock qmail would relay for everybody (mend: write our domains into it)",
            path("rcpthosts")
        ));
    }
    both(&path("locals"), &path("virtualdomains"), &text, found);
    let changed = |file_name: &str| there(file_name).map(|file| file.changed);
    let (more, cdb) = (path("morercpthosts"), path("morercpthosts.cdb"));
    match (changed("morercpthosts"), changed("morercpthosts.cdb")) {
        (Some(_), None) => found.push(format!("{cdb} is missing: {more} has no effect (mend: qmail-newmrh)")),
        (Some(text), Some(made)) if made < text => {
            found.push(format!("{cdb} is older than {more} (mend: qmail-newmrh)"));
        }
        (None, Some(_)) => found.push(format!("{cdb} is in force, and {more} is not there (mend: write it and run qmail-newmrh, or remove both)")),
        _ => {}
    }
}

/// Domains that are local and virtual: `locals` wins.
fn both<'a>(
    locals: &str,
    virtuals: &str,
    text: &impl Fn(&str) -> Option<&'a [u8]>,
    found: &mut Vec<String>,
) {
    let local = Set::from_lines(text("locals").into_iter().flat_map(lines::list));
    let rows = text("virtualdomains").into_iter().flat_map(lines::numbered);
    let twice = rows.filter_map(|(n, line)| {
        let key = Map::from_lines([line]).iter().next().map(|(key, _)| key.to_vec())?;
        local.contains(&key).then(|| {
            let domain = String::from_utf8_lossy(&key).into_owned();
            format!("{virtuals} line {n}: {domain} is in {locals} too, which wins (mend: remove it from one)")
        })
    });
    found.extend(twice.take(OFTEN));
}

/// `users/assign` and what is made of it.
fn users(home: &Home, found: &mut Vec<String>) {
    let (assign, cdb) = (File::at(home.path("users/assign")), File::at(home.path("users/cdb")));
    let path = name(&home.path("users/assign"));
    let made = name(&home.path("users/cdb"));
    if let Ok(assign) = &assign {
        mode(assign, found);
        readers(home, b"users/assign", assign, found);
        match assign.text().map(assign::check) {
            Some(Err(AssignError::NoDot)) => found.push(format!("{path} does not end in a line with a single dot: it was cut short, or qmail-newu refuses it (mend: add the line)")),
            Some(Err(err)) => found.push(format!("{path} {err}: qmail-newu refuses the file")),
            Some(Ok(lines)) if !home.is_private() => found.extend(lines.into_iter().take(OFTEN).map(|line| {
                format!("{path} line {line} has gid 0: its letters are put off, as nothing is delivered as root (mend: name another group)")
            })),
            // The largest are longer than what is read here.
            Some(Ok(_)) | None => {}
        }
    }
    if let Ok(cdb) = &cdb {
        mode(cdb, found);
        readers(home, b"users/cdb", cdb, found);
    }
    if let Err(err) = Directory::new(home).assigned(b"") {
        found.push(err.to_string());
    }
    match (&assign, &cdb) {
        (Ok(_), Err(_)) => found.push(format!("{made} is missing: {path} has no effect (mend: qmail-newu)")),
        (Ok(assign), Ok(cdb)) if cdb.changed < assign.changed => {
            found.push(format!("{made} is older than {path} (mend: qmail-newu)"));
        }
        (Err(_), Ok(_)) => found.push(format!("{made} is in force, and {path} is not there (mend: write it and run qmail-newu, or remove both)")),
        _ => {}
    }
}
