//! The settings as one JSON object, for a program: what is in force, and what is wrong.

use std::collections::BTreeMap;

use base::json::{Object, array, string};
use store::home::{Home, bytes};

use super::files::File;
use super::lines;
use super::table::{Absent, Entry, Show, TABLE, entry};

/// Everything `qmail-showctl` knows of the files. Passwords are not in it.
pub(super) fn object(home: &Home, files: &BTreeMap<Vec<u8>, File>, troubles: &[String]) -> String {
    let shown = |name: &str| files.get(name.as_bytes()).filter(|file| file.is_there());
    let me = shown("me").and_then(File::line).unwrap_or_default();
    let settings = TABLE.iter().map(|entry| setting(entry, shown(entry.name), &me));
    let unknown = files.keys().filter(|name| entry(name).is_none());
    let about = Object::new().text("home", bytes(home.root()));
    let about = about.json("settings", &array(settings));
    let about = about.json("unknown", &array(unknown.map(string)));
    about.json("troubles", &array(troubles.iter().map(string))).end()
}

/// One file: whether it is there, and what is in force; `null` where that is no value of a file's.
fn setting(entry: &Entry, file: Option<&File>, me: &[u8]) -> String {
    let about = Object::new().text("name", entry.name).truth("set", file.is_some());
    let value = match (file.map(File::text), entry.show) {
        (None, show) => absent(entry, show, me),
        (Some(None), _) | (_, Show::Compiled) => "null".to_owned(),
        (Some(Some(text)), Show::Line) => string(lines::first(text)),
        (Some(Some(text)), show @ Show::Number(_)) => match lines::digits(lines::first(text)) {
            b"" => absent(entry, show, me),
            digits => number(digits),
        },
        (Some(Some(text)), Show::List | Show::More) => list(entry.name, text),
    };
    about.json("value", &value).end()
}

fn absent(entry: &Entry, show: Show, me: &[u8]) -> String {
    match (entry.absent, show) {
        (Absent::Me, _) if !me.is_empty() => string(me),
        (Absent::Me, _) => string(entry.name),
        (Absent::Text(""), Show::Number(default)) => number(default.as_bytes()),
        (Absent::Text(text), Show::Number(_)) => number(text.as_bytes()),
        (Absent::Text(text), Show::Line) if entry.name != "me" => string(text),
        _ => "null".to_owned(),
    }
}

/// Digits, as a number if there are not too many.
fn number(digits: &[u8]) -> String {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    number.map_or_else(|| string(digits), |number| number.to_string())
}

fn list(name: &str, text: &[u8]) -> String {
    let open = |line: &[u8]| match lines::secret(line).filter(|_| name == lines::WITH_SECRETS) {
        Some((open, _)) => string([open, b"***"].concat()),
        None => string(line),
    };
    array(lines::list(text).map(open))
}
