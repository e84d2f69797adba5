//! The texts in `users/` that tables are compiled of. Where a text is gone and its table still in force,
//! a text written anew would have one account, and the table made of it none of the others.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use base::cdb::Cdb;
use store::home::Home;
use store::passwords;

use crate::Trouble;

/// The accounts, and what is made of them.
pub(crate) const ACCOUNTS: [&str; 2] = ["users/assign", "users/cdb"];
/// The passwords, likewise.
pub(crate) const PASSWORDS: [&str; 2] = [passwords::TEXT, passwords::COMPILED];

/// Whether the accounts can be written anew without dropping any.
///
/// # Errors
/// Their text is gone, or cut short, while the table has records.
pub(crate) fn accounts(home: &Home) -> Result<(), Trouble> {
    told(home, ACCOUNTS, "no account would be left but those written anew")
}

/// Whether both lists can be written anew.
///
/// # Errors
/// As [`accounts`], of accounts and passwords.
pub(crate) fn all(home: &Home) -> Result<(), Trouble> {
    accounts(home)?;
    told(home, PASSWORDS, "no password would be left but those written anew")
}

fn told(home: &Home, pair: [&str; 2], danger: &str) -> Result<(), Trouble> {
    match lost(home, pair) {
        Some((what, mend)) => Err(format!("{what}: {danger} (mend: {mend})")),
        None => Ok(()),
    }
}

/// What is in force while its text is gone, and how it is mended: for who only looks.
pub(crate) fn gone(home: &Home, pair: [&str; 2]) -> Option<String> {
    let [text, _] = pair;
    let (what, mend) = lost(home, pair).filter(|_| !home.path(text).exists())?;
    Some(format!("{what} (mend: {mend})"))
}

/// A plain file's bytes, as many as a table can have. Never waits for who would write to a FIFO.
///
/// # Errors
/// It cannot be read, or is no plain file (`InvalidInput`).
pub(crate) fn plain(path: &Path) -> io::Result<Vec<u8>> {
    let file = sys::file::open_read(path)?;
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(u64::from(u32::MAX)).read_to_end(&mut bytes).map(|_| bytes)
}

/// Whether a constant database is all there.
pub(crate) fn is_whole(table: &[u8]) -> bool {
    Cdb::new(table).is_ok_and(|cdb| cdb.is_whole())
}

/// Whether a table has records while its text is gone, or an assignment's was cut short.
fn lost(home: &Home, pair: [&str; 2]) -> Option<(String, String)> {
    let [text, table] = pair.map(|name| home.path(name));
    let what = match plain(&text) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            "does not exist"
        }
        Err(e) if e.kind() == ErrorKind::InvalidInput => "is no plain file",
        Ok(read) if read.is_empty() => "is empty",
        // A file without its last line may be the first half of one.
        Ok(read) if pair == ACCOUNTS && !ends(&read) => "has no last line with a single dot",
        _ => return None,
    };
    match plain(&table) {
        Ok(bytes) if has_records(&bytes) => {}
        Ok(_) => return None,
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        // What cannot be read may hold all of them.
        Err(_) => {}
    }
    let (text, table) = (text.display(), table.display());
    let mend = format!("put {text} back, or remove {table} if all that it holds is to go");
    Some((format!("{text} {what}, while {table} is in force"), mend))
}

fn ends(text: &[u8]) -> bool {
    text.split(|&c| c == b'\n').any(|line| line == b".")
}

/// Whether a table has any record that is somebody's. A damaged one may have.
fn has_records(table: &[u8]) -> bool {
    let Ok(cdb) = Cdb::new(table) else { return !table.is_empty() };
    cdb.records().any(|record| record.is_ok_and(|(key, _)| !key.is_empty()) || record.is_err())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use store::users::assign;
    use yard::Yard;

    use super::*;

    #[test]
    fn a_list_that_is_gone_or_cut_short_is_not_written_anew_while_its_table_has_records() {
        let dir = Yard::new("sources-lost");
        let home = Home::at(&dir).unwrap();
        let (text, table) = (dir.join("users/assign"), dir.join("users/cdb"));
        fs::create_dir(dir.join("users")).unwrap();
        assert_eq!(all(&home), Ok(()), "nobody yet");
        let joe = "=joe:joe:1:1:/h:::\n.\n";
        fs::write(&table, assign::compile(joe.as_bytes()).unwrap()).unwrap();
        let lost = accounts(&home).unwrap_err();
        for path in [&text, &table] {
            assert!(lost.contains(&path.display().to_string()), "{lost}");
        }
        assert!(gone(&home, ACCOUNTS).is_some());
        for cut in ["", "=joe:joe:1:1:/h:::\n"] {
            fs::write(&text, cut).unwrap();
            assert!(accounts(&home).is_err() && gone(&home, ACCOUNTS).is_none(), "{cut:?}");
        }
        fs::write(&text, joe).unwrap();
        assert_eq!(all(&home), Ok(()));
        // A table of nobody has a record for itself.
        fs::remove_file(&text).unwrap();
        fs::write(&table, assign::compile(b".\n").unwrap()).unwrap();
        assert_eq!(all(&home), Ok(()));
        fs::write(&table, "garbage").unwrap();
        assert!(all(&home).is_err(), "nobody knows what it held");
    }

    #[test]
    fn a_list_of_passwords_that_is_gone_is_not_written_anew() {
        let dir = Yard::new("sources-passwords");
        let home = Home::at(&dir).unwrap();
        fs::create_dir(dir.join("users")).unwrap();
        fs::write(dir.join(passwords::COMPILED), base::cdb::build([("a@b", "hash")]).unwrap())
            .unwrap();
        assert!(accounts(&home).is_ok() && all(&home).is_err());
        fs::write(dir.join(passwords::TEXT), "#\n").unwrap();
        assert_eq!(all(&home), Ok(()));
    }
}
