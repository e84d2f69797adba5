//! show every setting, and say what is wrong with them
//!
//! *Runs as* anybody who may read them; root sees all. *Hears* nobody. *Opens* every file of
//! `control/`, `users/assign`, `users/cdb`. *Speaks to* whoever asked, on descriptor 1.

mod files;
mod json;
mod judge;
mod lines;
mod table;
mod troubles;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use base::plain;
use store::home::Home;

use files::File;
use table::{Absent, Entry, Show, TABLE};

/// `qmail-showctl`: 0, or 111 if the home or `control/` is not there. `--check`: only what is wrong,
/// and 1 if something is. `--json`: all of it for a program. 100 for other options.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let flag = match crate::flag::one(args, &["--check", "--json"]) {
        Ok(flag) => flag,
        Err(code) => return code,
    };
    let (check, json) = (flag == Some("--check"), flag == Some("--json"));
    let Ok(home) = Home::find() else { return oops(Vec::new(), "Unable to chdir to /var/qmail.") };
    let Ok(files) = files::all(&home.path("control")) else {
        let head = if check { Vec::new() } else { head(&home) };
        return oops(head, "Unable to chdir to control.");
    };
    let mut troubles = troubles::all(&home, &files);
    if check {
        troubles.extend(troubles::unknown(&files));
    }
    if json {
        let object = json::object(&home, &files, &troubles) + "\n";
        return sys::fd::write_all(io::stdout(), object.as_bytes()).map_or(111, |()| 0);
    }
    let mut page = if check { Vec::new() } else { page(&home, &files) };
    if !(check || troubles.is_empty()) {
        page.push(b'\n');
    }
    for trouble in &troubles {
        page.extend_from_slice(format!("Oops! {trouble}\n").as_bytes());
    }
    match sys::fd::write_all(io::stdout(), &page) {
        Err(_) => 111,
        Ok(()) => i32::from(check && !troubles.is_empty()),
    }
}

/// The end, behind what could be told before it.
fn oops(mut page: Vec<u8>, why: &str) -> i32 {
    page.extend_from_slice(format!("Oops! {why}\n").as_bytes());
    // If this cannot be written, the exit code says it.
    let _ = sys::fd::write_all(io::stdout(), &page);
    111
}

/// What stock shows, in its order; then our own files; then those that nobody knows.
fn page(home: &Home, files: &BTreeMap<Vec<u8>, File>) -> Vec<u8> {
    let mut out = head(home);
    let shown = |name: &str| files.get(name.as_bytes()).filter(|file| file.is_there());
    let me = shown("me").and_then(File::line).unwrap_or_default();
    for entry in TABLE {
        out.extend_from_slice(format!("\n{}: ", entry.name).as_bytes());
        match entry.show {
            Show::Compiled => out.extend_from_slice(compiled(files)),
            _ => show(&mut out, entry, shown(entry.name), &me, shown("rcpthosts").is_some()),
        }
    }
    for name in files.keys().filter(|name| table::entry(name).is_none()) {
        out.push(b'\n');
        put(&mut out, name);
        out.extend_from_slice(b": I have no idea what this file does.\n");
    }
    out
}

fn head(home: &Home) -> Vec<u8> {
    let mut out = b"qmail home directory: ".to_vec();
    put(&mut out, store::home::bytes(home.root()));
    out.extend_from_slice(
        b".\nuser-ext delimiter: -.\npaternalism (in decimal): 2.\n\
          silent concurrency limit: 120.\nsubdirectory split: 23.\n",
    );
    let ids = home.roles().map(|r| {
        let [a, d, l] = [&r.alias, &r.qmaild, &r.qmaill].map(|ids| ids.uid);
        let [p, q, rr, s] = [&r.qmailp, &r.qmailq, &r.qmailr, &r.qmails].map(|ids| ids.uid);
        let o = home.owner();
        format!(
            "user ids: {a}, {d}, {l}, {o}, {p}, {q}, {rr}, {s}.\ngroup ids: {}, {}.\n",
            r.nofiles, r.qmail
        )
    });
    out.extend_from_slice(ids.unwrap_or_default().as_bytes());
    out
}

/// One file as it is in force.
fn show(out: &mut Vec<u8>, entry: &Entry, file: Option<&File>, me: &[u8], listed: bool) {
    let Some(text) = file.map(File::text) else {
        out.extend_from_slice(b"(Default.) ");
        absent(out, entry, me, listed);
        return;
    };
    let Some(text) = text else {
        out.extend_from_slice(b"Oops! Trouble reading this file.\n");
        return;
    };
    let before = match entry.show {
        Show::More if !listed => "No rcpthosts; doesn't matter that morercpthosts has ",
        _ => entry.before,
    };
    match entry.show {
        Show::Line | Show::Number(_) => {
            let line = lines::first(text);
            let number = matches!(entry.show, Show::Number(_));
            let line = if number { lines::digits(line) } else { line };
            if number && line.is_empty() {
                out.extend_from_slice(b"(Default.) ");
                return absent(out, entry, me, listed);
            }
            sentence(out, before, line, entry.after);
        }
        Show::List | Show::More | Show::Compiled => {
            out.push(b'\n');
            let routes = entry.name == lines::WITH_SECRETS;
            for line in lines::list(text) {
                match lines::secret(line).filter(|_| routes) {
                    // Who asks for help shows this page around.
                    Some((open, _)) => sentence(out, before, &[open, b"***"].concat(), entry.after),
                    None => sentence(out, before, line, entry.after),
                }
            }
        }
    }
}

fn absent(out: &mut Vec<u8>, entry: &Entry, me: &[u8], listed: bool) {
    match (entry.absent, entry.show) {
        (Absent::Me, _) if !me.is_empty() => sentence(out, entry.before, me, entry.after),
        (Absent::Me, _) => sentence(out, entry.before, entry.name.as_bytes(), entry.after),
        (Absent::Text(text), Show::Line) => {
            sentence(out, entry.before, text.as_bytes(), entry.after);
        }
        (Absent::Text(_), Show::More) if !listed => {
            out.extend_from_slice(b"No rcpthosts; morercpthosts is irrelevant.\n");
        }
        (Absent::Text(text), Show::Number(default)) => {
            let text = if text.is_empty() { default } else { text };
            sentence(out, entry.before, text.as_bytes(), entry.after);
        }
        (Absent::Text(text), _) => out.extend_from_slice(format!("{text}\n").as_bytes()),
    }
}

fn sentence(out: &mut Vec<u8>, before: &str, said: &[u8], after: &str) {
    out.extend_from_slice(before.as_bytes());
    put(out, said);
    out.extend_from_slice(after.as_bytes());
    out.push(b'\n');
}

/// `morercpthosts.cdb`: whether it is as new as what it was made of.
fn compiled(files: &BTreeMap<Vec<u8>, File>) -> &'static [u8] {
    let of = |name: &str| {
        files.get(name.as_bytes()).filter(|file| file.is_there()).map(|file| file.changed)
    };
    match (of("morercpthosts"), of("morercpthosts.cdb")) {
        (None, None) => b"(Default.) No effect.\n",
        (None, Some(_)) => b"Oops! morercpthosts.cdb exists but morercpthosts doesn't.\n",
        (Some(_), None) => b"Oops! morercpthosts exists but morercpthosts.cdb doesn't.\n",
        (Some(text), Some(cdb)) if cdb < text => {
            b"Oops! morercpthosts.cdb is older than morercpthosts.\n"
        }
        _ => b"Modified recently enough; hopefully up to date.\n",
    }
}

/// What a terminal would not show as itself becomes `?`.
fn put(out: &mut Vec<u8>, text: &[u8]) {
    plain::put(out, text, b'?');
}

/// A path for a message.
fn name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
