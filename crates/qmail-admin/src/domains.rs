//! Domains whose mail is delivered here.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use clap::Subcommand;
use store::home::Home;

use crate::accounts::lock;
use crate::permissions::{about, replace};
use crate::{Trouble, postmasters, reload, steer};

/// What can be done with domains.
#[derive(Subcommand)]
pub(crate) enum Domain {
    /// Accept mail for a domain, with accounts of its own (bob@a is not bob@b). Its postmaster and
    /// abuse are this host's until they are its own: alias/.qmail-example:org-postmaster, colons for
    /// dots, leads there.
    Add {
        /// The domain, as in example.org.
        domain: String,
    },
}

impl Domain {
    /// Carries the command out.
    pub(crate) fn run(self, home: &Home) -> Result<(), Trouble> {
        let Self::Add { domain } = self;
        let domain = checked(&domain)?;
        // Refused while anything is as it was: qmail-send would not read the new line.
        steer::check(home, "not added")?;
        let control = home.path("control");
        let _lock = lock(home)?;
        let local = has_line(&control.join("locals"), &domain)?;
        if !local {
            append(&control.join("virtualdomains"), &format!("{domain}:{domain}"))?;
        }
        // Last: what is accepted without being known as ours would be sent back to this host.
        append(&control.join("rcpthosts"), &domain)?;
        postmasters::add(home, &domain)?;
        reload::read_again(home)
    }
}

/// The domain in lower case, if it is one.
pub(crate) fn checked(domain: &str) -> Result<String, Trouble> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    if domain.len() <= 253 && domain.split('.').all(label) {
        Ok(domain.to_lowercase())
    } else {
        Err(format!("{domain} is not a domain name"))
    }
}

/// Whether a control file has this line.
fn has_line(file: &Path, line: &str) -> Result<bool, Trouble> {
    Ok(read(file)?.lines().any(|l| l.trim_end().eq_ignore_ascii_case(line)))
}

/// A text file's content; empty if there is none.
pub(crate) fn read(file: &Path) -> Result<String, Trouble> {
    if std::fs::metadata(file).is_ok_and(|about| about.file_type().is_fifo()) {
        return Err(format!("{} is a FIFO: put a plain file there", file.display()));
    }
    match std::fs::read_to_string(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => about(file, other),
    }
}

/// Adds a line to a control file unless it is there; every other byte of the file stays.
fn append(file: &Path, line: &str) -> Result<(), Trouble> {
    if has_line(file, line)? {
        return Ok(());
    }
    let mut text = read(file)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    replace(file, 0o644, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn only_domain_names_are_domains() {
        assert_eq!(checked("Example.ORG"), Ok("example.org".into()));
        for bad in ["", ".", "a..b", "-a.b", "a b", "a:b", "a/b", "../x", "x\n"] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }
}
