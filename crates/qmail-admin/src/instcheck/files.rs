//! Files that a program reads whole, and that may be cut short: the passwords, and tables of rules.

use std::io::ErrorKind;
use std::path::Path;

use base::cdb::Cdb;
use store::control::Control;
use store::home::Home;
use store::passwords::{self, PasswordsError};

use super::command;
use crate::sources;

/// What is wrong with `users/passwords` and what is made of it, by which people log in.
pub(super) fn passwords(home: &Home) -> Option<String> {
    if let Some(gone) = sources::gone(home, sources::PASSWORDS) {
        return Some(gone);
    }
    let [text, table] = sources::PASSWORDS.map(|name| home.path(name));
    let newu = command(home, "qmail-newu");
    // Who may not read it, and what else keeps its owner from it, the rules tell.
    let read = sources::plain(&text).ok()?;
    let host = Control::new(home).line_or_me("envnoathost").ok()?.unwrap_or_default();
    let compiled = match passwords::compile(&read, &host) {
        Ok(compiled) => compiled,
        Err(why @ (PasswordsError::Line(_) | PasswordsError::Repeated(..))) => {
            return Some(format!("{why} (mend: correct the line, then: {newu})"));
        }
        Err(why) => return Some(why.to_string()),
    };
    let what = match sources::plain(&table) {
        Ok(there) if there == compiled => return None,
        Ok(_) => format!("is damaged, or is not what {} says", text.display()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Cdb::new(&compiled).ok()?.records().next()?.ok()?;
            "does not exist: nobody can log in".to_owned()
        }
        Err(_) => return None,
    };
    Some(format!("{} {what} (mend: {newu})", table.display()))
}

/// Whether a table is there, and garbage or cut short.
pub(super) fn is_damaged(table: &Path) -> bool {
    sources::plain(table).is_ok_and(|bytes| !sources::is_whole(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use yard::Yard;

    use super::*;

    #[test]
    fn passwords_whose_table_is_gone_or_cut_are_told_of() {
        let dir = Yard::new("check-passwords");
        let home = Home::at(&dir).unwrap();
        fs::create_dir(dir.join("users")).unwrap();
        assert_eq!(passwords(&home), None);
        let hash = passwords::hash(b"secret", b"0123456789abcdef").unwrap();
        passwords::set(&home, b"me.org", b"joe", Some(&hash)).unwrap();
        fs::create_dir(dir.join("control")).unwrap();
        fs::write(dir.join("control/me"), "me.org\n").unwrap();
        assert_eq!(passwords(&home), None);
        let table = home.path(passwords::COMPILED);
        let bytes = fs::read(&table).unwrap();
        fs::write(&table, &bytes[..bytes.len() - 1]).unwrap();
        assert!(is_damaged(&table) && passwords(&home).unwrap().contains("is damaged"));
        fs::remove_file(&table).unwrap();
        assert!(!is_damaged(&table) && passwords(&home).unwrap().contains("nobody can log in"));
        fs::write(&table, &bytes).unwrap();
        fs::remove_file(home.path(passwords::TEXT)).unwrap();
        assert!(passwords(&home).unwrap().contains("while"));
    }
}
