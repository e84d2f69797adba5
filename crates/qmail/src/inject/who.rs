//! Who writes: what the environment says of the user, and how he wants his letters.

use base::address::Address;
use letter::compose::{Drops, Person};
use letter::rewrite::Rules;
use letter::token822::Unparsable;

use super::site::Site;
use super::{Fatal, Now, enqueue};

/// The letters of `$QMAILINJECT`; others mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Letters {
    /// `f`, `i`, `s`.
    pub(super) drops: Drops,
    /// `c`: the name follows the address in parentheses.
    comment: bool,
    /// `r`: each recipient gets a sender of his own.
    per_recipient: bool,
    /// `m`: each letter gets a sender of its own.
    per_letter: bool,
}

impl Letters {
    fn read(text: &[u8]) -> Self {
        let has = |letter| text.contains(&letter);
        Self {
            drops: Drops { from: has(b'f'), message_id: has(b'i'), return_path: has(b's') },
            comment: has(b'c'),
            per_recipient: has(b'r'),
            per_letter: has(b'm'),
        }
    }
}

/// The user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    user: Vec<u8>,
    host: Vec<u8>,
    name: Option<Vec<u8>>,
    /// Local part and host of the envelope sender.
    sender: (Vec<u8>, Vec<u8>),
    pub(super) letters: Letters,
}

impl Who {
    /// Reads the environment; the first of several variables that is set counts.
    pub(super) fn read(site: &Site, environment: &dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| environment(name));
        let user = first(&["QMAILUSER", "MAILUSER", "USER", "LOGNAME"])
            .unwrap_or_else(|| b"anonymous".to_vec());
        let host = first(&["QMAILHOST", "MAILHOST"]).unwrap_or_else(|| site.host.clone());
        let sender = (
            first(&["QMAILSUSER"]).unwrap_or_else(|| user.clone()),
            first(&["QMAILSHOST"]).unwrap_or_else(|| host.clone()),
        );
        let name = first(&["QMAILNAME", "MAILNAME", "NAME"]);
        let letters = Letters::read(&first(&["QMAILINJECT"]).unwrap_or_default());
        Self { user, host, name, sender, letters }
    }

    /// The writer as `From` shows him.
    pub(super) fn person(&self) -> Person<'_> {
        Person {
            user: &self.user,
            host: &self.host,
            name: self.name.as_deref(),
            as_comment: self.letters.comment,
        }
    }

    /// The envelope sender of a letter that does not name one.
    pub(super) fn sender(&self, rules: &Rules, now: &Now) -> Result<Address, Fatal> {
        let (user, host) = &self.sender;
        let mut user = user.clone();
        if self.letters.per_letter {
            user.extend_from_slice(format!("-{}.{}", now.moment.secs(), now.pid).as_bytes());
        }
        if self.letters.per_recipient {
            user.push(b'-');
        }
        let person = Person { user: &user, host, name: None, as_comment: false };
        let whose = |Unparsable| Fatal::permanent(super::no_address(&person));
        self.return_path(&person.address(rules).map_err(whose)?)
    }

    /// A sender with the mark that gives each recipient one of his own. The empty sender stays:
    /// a bounce has nobody to come back to.
    pub(super) fn return_path(&self, path: &Address) -> Result<Address, Fatal> {
        let mark: &[u8] = if self.letters.per_recipient { b"-@[]" } else { b"" };
        if path.as_bytes().is_empty() || mark.is_empty() {
            return Ok(path.clone());
        }
        Address::new([path.as_bytes(), mark].concat()).map_err(|_| enqueue::too_long())
    }
}
