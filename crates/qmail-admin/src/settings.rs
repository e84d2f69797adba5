//! Whether the programs that qmail-send does not start can use their settings: each file read as its
//! program reads it. qmail-send judges its own (`qmail-send check`).

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::number;
use store::control::Control;
use store::home::Home;
use store::users::routing::Routing;

use crate::scripts::quoted;
use crate::sources;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Line,
    /// The digits that it begins with.
    Number,
    /// A line of digits, as tcpserver reads one (`-m`, `-M`).
    Limit,
    List,
    /// `key:value`.
    Map,
    /// Constant database.
    Table,
}

/// What each program refuses to serve, or to deliver, with: qmail-smtpd and its like, tcpserver,
/// qmail-local, qmail-remote.
const FILES: [(&str, Kind); 18] = [
    ("me", Kind::Line),
    ("smtpgreeting", Kind::Line),
    ("localiphost", Kind::Line),
    ("badmailfrom", Kind::List),
    ("timeoutsmtpd", Kind::Number),
    ("databytes", Kind::Number),
    ("rcpthosts", Kind::List),
    ("morercpthosts.cdb", Kind::Table),
    ("envnoathost", Kind::Line),
    ("locals", Kind::List),
    ("virtualdomains", Kind::Map),
    ("percenthack", Kind::List),
    ("concurrencyaddress", Kind::Limit),
    ("concurrencynetwork", Kind::Limit),
    ("timeoutlocal", Kind::Number),
    ("helohost", Kind::Line),
    ("timeoutconnect", Kind::Number),
    ("timeoutremote", Kind::Number),
];

/// What cannot be used, with how it is mended.
pub(crate) fn unusable(home: &Home) -> Vec<String> {
    let control = Control::new(home);
    let mut found = judged(home, &control, &FILES);
    if found.is_empty() {
        found.extend(Routing::load(&control).err().map(|err| err.to_string()));
    }
    found
}

/// The same, and this host's name: some programs do without, and no mail comes or goes.
pub(crate) fn all(home: &Home) -> Vec<String> {
    let control = Control::new(home);
    let what = match control.line("me") {
        Ok(Some(line)) if line.is_empty() => "line 1 is empty",
        Ok(None) => "does not exist",
        _ => return unusable(home),
    };
    let others: Vec<(&str, Kind)> = FILES.into_iter().filter(|(name, _)| *name != "me").collect();
    let mut found = judged(home, &control, &others);
    let (path, mend) = (control.path("me"), "write this host's name into it");
    found.push(format!("{} {what}: no mail comes or goes (mend: {mend})", path.display()));
    found
}

/// What cannot be used of these files.
fn judged(home: &Home, control: &Control, files: &[(&str, Kind)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, kind) in files {
        found.extend(refused(control, name, *kind));
        let path = control.path(name);
        found.extend(closed(home, &path, &format!("chmod a+r {}", quoted(&path))));
    }
    found
}

/// Why a file's program refuses it.
fn refused(control: &Control, name: &str, kind: Kind) -> Option<String> {
    match kind {
        Kind::Line => control.line(name).map(drop),
        Kind::Number => control.int(name, 0).map(drop),
        Kind::List => control.list(name).map(drop),
        Kind::Map => control.map(name).map(drop),
        Kind::Limit => match control.line(name) {
            Ok(Some(line)) if number::limit(&line).is_none() => {
                let path = control.path(name);
                return Some(format!(
                    "{} line 1 is not a number: write digits, or remove the file",
                    path.display()
                ));
            }
            read => read.map(drop),
        },
        Kind::Table => return damaged(control, name),
    }
    .err()
    .map(|err| err.to_string())
}

fn damaged(control: &Control, name: &str) -> Option<String> {
    let path = control.path(name);
    let why = match sources::plain(&path) {
        Ok(bytes) if sources::is_whole(&bytes) => return None,
        Ok(_) => "it is damaged",
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return None;
        }
        Err(e) => sys::errno::text(&e),
    };
    Some(format!("unable to use {}: {why} (mend: run qmail-newmrh)", path.display()))
}

/// Roles read the file that are neither its owner nor in its group; what is told, with what mends it.
pub(crate) fn closed(home: &Home, path: &Path, mend: &str) -> Option<String> {
    let closed = fs::metadata(path).is_ok_and(|about| about.is_file() && about.mode() & 0o004 == 0);
    (closed && !home.is_private())
        .then(|| format!("{} cannot be read by every program (mend: {mend})", path.display()))
}

#[cfg(test)]
mod tests {
    use yard::Yard;

    use super::*;

    #[test]
    fn what_a_server_refuses_is_known_before_it_is_started_anew() {
        let dir = Yard::new("settings");
        let control = dir.join("control");
        fs::create_dir(&control).unwrap();
        fs::write(control.join("me"), "me.org\n").unwrap();
        let home = Home::at(&dir).unwrap();
        assert_eq!(all(&home), Vec::<String>::new());
        for (name, text) in [
            ("concurrencyaddress", "junk\n"),
            ("concurrencynetwork", "5x\n"),
            ("databytes", "junk\n"),
            ("timeoutsmtpd", "x1\n"),
            ("rcpthosts", "a.org\r\n"),
            ("virtualdomains", "a.org\n"),
            ("morercpthosts.cdb", "garbage"),
        ] {
            fs::write(control.join(name), text).unwrap();
            let found = unusable(&home);
            assert!(found.len() == 1 && found[0].contains(name), "{name}: {found:?}");
            fs::remove_file(control.join(name)).unwrap();
        }
        fs::create_dir(control.join("badmailfrom")).unwrap();
        assert!(unusable(&home)[0].contains("badmailfrom"));
        fs::remove_dir(control.join("badmailfrom")).unwrap();
        for (name, text) in [("concurrencyaddress", " 3 \nx\n"), ("databytes", "")] {
            fs::write(control.join(name), text).unwrap();
        }
        assert_eq!(all(&home), Vec::<String>::new());
        fs::write(control.join("me"), "\n").unwrap();
        assert!(unusable(&home).is_empty() && all(&home)[0].contains("is empty"));
        fs::remove_file(control.join("me")).unwrap();
        let found = all(&home);
        assert!(found.iter().any(|said| said.contains("me does not exist")), "{found:?}");
    }
}
