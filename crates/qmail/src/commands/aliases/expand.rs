//! Where a forwarding table leads an address: everything to be done, before any of it is.

use std::collections::HashSet;

use base::cdb::{Cdb, Damaged};
use base::{address, limits};
use letter::forwarding::{Command, Half, items, key};

/// What is to be done with a letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Who hears of bounces.
    pub(super) sender: Vec<u8>,
    /// `|command` and `!command`, in the order met.
    pub(super) programs: Vec<Vec<u8>>,
    /// Where it goes, in the order of the envelope.
    pub(super) recipients: Vec<Vec<u8>>,
}

/// Why it cannot be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble<E> {
    /// The table is damaged.
    Damaged,
    /// It would be more than [`limits::EXPANSION`] bytes.
    TooMuch,
    /// A list cannot be read.
    List(E),
}

impl<E> From<Damaged> for Trouble<E> {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

/// Follows the table from `recipient`; `None` if it says nothing of that address. `list` reads a
/// mailing list. A recipient or list that comes up twice counts once, so that circles end.
pub(super) fn expand<E>(
    table: &Cdb<'_>,
    sender: &[u8],
    recipient: &[u8],
    mut list: impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Option<Plan>, Trouble<E>> {
    let has_sender = !matches!(sender, b"" | b"#@[]");
    let owner = if has_sender { anywhere(table, Half::Owner, recipient)? } else { None };
    let Some(commands) = anywhere(table, Half::Commands, recipient)? else { return Ok(None) };
    let mut walk = Walk::default();
    walk.done.insert(recipient.to_vec());
    walk.table_says(commands)?;
    while let Some(item) = walk.todo.pop() {
        if !walk.done.insert(item.clone()) {
            continue;
        }
        match Command::read(&item) {
            Some(Command::List(path)) => {
                let members = list(path).map_err(Trouble::List)?;
                walk.list_says(&members)?;
            }
            Some(Command::Recipient(address)) => match inside(table, address)? {
                Some(commands) => walk.table_says(commands)?,
                None => walk.recipients.push(address.to_vec()),
            },
            _ => {}
        }
    }
    // The last one found was named first.
    walk.recipients.reverse();
    let (programs, recipients) = (walk.programs, walk.recipients);
    Ok(Some(Plan { sender: owner.unwrap_or(sender).to_vec(), programs, recipients }))
}

/// What the table says of an address, its host, or its local part; the first counts.
fn anywhere<'a>(table: &Cdb<'a>, half: Half, who: &[u8]) -> Result<Option<&'a [u8]>, Damaged> {
    if let Some(value) = table.get(&key(half, who))? {
        return Ok(Some(value));
    }
    let (local, Some(host)) = address::split(who) else { return Ok(None) };
    if let Some(value) = table.get(&key(half, &[b"@", host].concat()))? {
        return Ok(Some(value));
    }
    table.get(&key(half, &[local, b"@"].concat()))
}

/// The commands of a recipient that the table itself expands. One with an owner is sent to
/// instead: its letters have another sender.
fn inside<'a>(table: &Cdb<'a>, who: &[u8]) -> Result<Option<&'a [u8]>, Damaged> {
    if table.get(&key(Half::Owner, who))?.is_some() {
        return Ok(None);
    }
    table.get(&key(Half::Commands, who))
}

/// The way so far.
#[derive(Debug, Default)]
struct Walk {
    /// Recipients and lists not yet looked at, as commands.
    todo: Vec<Vec<u8>>,
    done: HashSet<Vec<u8>>,
    programs: Vec<Vec<u8>>,
    recipients: Vec<Vec<u8>>,
    /// Bytes of all commands met.
    met: usize,
}

impl Walk {
    fn table_says<E>(&mut self, commands: &[u8]) -> Result<(), Trouble<E>> {
        for item in items(commands) {
            if let Some(Command::Program(_) | Command::Framed(_)) = Command::read(item) {
                self.programs.push(item.to_vec());
            }
        }
        self.list_says(commands)
    }

    /// A list names no programs: whoever may write it is not whoever runs them.
    fn list_says<E>(&mut self, commands: &[u8]) -> Result<(), Trouble<E>> {
        self.met = self.met.saturating_add(commands.len());
        if self.met > limits::EXPANSION {
            return Err(Trouble::TooMuch);
        }
        for item in items(commands) {
            if let Some(Command::Recipient(_) | Command::List(_)) = Command::read(item) {
                self.todo.push(item.to_vec());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use letter::forwarding::table;

    /// Sender, programs and recipients of what a table's text makes of an address.
    fn plan(text: &str, sender: &str, who: &str) -> Option<(String, String, String)> {
        let records = table::parse(text.as_bytes()).unwrap();
        let file = base::cdb::build(records).unwrap();
        let list = |path: &[u8]| match path {
            b"/l" => Ok(b"&x@l\0/l\0|rm\0&y@l\0".to_vec()),
            path => Err(path.to_vec()),
        };
        let plan = expand(&Cdb::new(&file).unwrap(), sender.as_bytes(), who.as_bytes(), list);
        let Plan { sender, programs, recipients } = plan.unwrap()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some((text(sender), text(programs.join(&b' ')), text(recipients.join(&b' '))))
    }

    fn goes(text: &str, who: &str) -> Option<String> {
        plan(text, "s@s", who).map(|(_, _, recipients)| recipients)
    }

    #[test]
    fn an_address_counts_before_its_host_and_that_before_its_local_part() {
        let text = "a@h: one; @h: two; a@: three;";
        assert_eq!(goes(text, "A@H").as_deref(), Some("one"));
        assert_eq!(goes(text, "b@h").as_deref(), Some("two"));
        assert_eq!(goes(text, "a@i").as_deref(), Some("three"));
        assert_eq!(goes(text, "b@i"), None);
        assert_eq!(goes(text, "b"), None);
    }

    #[test]
    fn recipients_are_followed_by_their_whole_address_and_once() {
        let text = "all@h: p@h, t@h; p@h: joe@h, bob@h; t@h: joe@h, fred@h; joe@: no@h;";
        assert_eq!(goes(text, "all@h").as_deref(), Some("bob@h joe@h fred@h"));
        assert_eq!(goes("a@h: b@h; b@h: a@h, c@h;", "a@h").as_deref(), Some("c@h"));
        assert_eq!(goes("a@h: a@h;", "a@h").as_deref(), Some(""));
    }

    #[test]
    fn a_list_with_an_owner_has_its_own_sender() {
        let text = "l@h: ?own@h, a@b; m@h: l@h, c@d;";
        let of = |sender: &str, who: &str| plan(text, sender, who).unwrap();
        assert_eq!(of("s@s", "l@h"), ("own@h".into(), String::new(), "a@b".into()));
        assert_eq!(of("", "l@h").0, "");
        assert_eq!(of("#@[]", "l@h").0, "#@[]");
        assert_eq!(of("s@s", "m@h"), ("s@s".into(), String::new(), "l@h c@d".into()));
    }

    #[test]
    fn lists_are_read_once_and_run_nothing() {
        let text = "l@h: /l, |log, z@h; z@h: !cat;";
        let want = ("s@s".into(), "|log !cat".into(), "x@l y@l".into());
        assert_eq!(plan(text, "s@s", "l@h"), Some(want));
    }

    #[test]
    fn a_list_that_cannot_be_read_and_a_damaged_table_are_trouble() {
        let file = base::cdb::build(table::parse(b"a@h: /gone, x@h;").unwrap()).unwrap();
        let cdb = Cdb::new(&file).unwrap();
        let said = expand(&cdb, b"", b"a@h", |path| Err(path.to_vec()));
        assert_eq!(said, Err(Trouble::List(b"/gone".to_vec())));
        let cut = Cdb::new(&file[..2070]).unwrap();
        assert_eq!(expand(&cut, b"", b"a@h", |_| Err(())), Err(Trouble::Damaged));
    }
}
