//! The header of a letter typed here: addresses completed, recipients taken, what is missing
//! put on top (stock qmail-inject).

mod fields;
mod person;

use alloc::vec::Vec;

use base::address::{Address, quote2};
use base::{limits, text0};

use crate::addrlist;
use crate::header::parts;
use crate::rewrite::Rules;
use crate::token822::{self, Unparsable};
use fields::{Known, NAMES, Treatment};

pub use fields::Drops;
pub use person::Person;

/// Why a header cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A field says who wrote the letter and cannot be read.
    Unparsable,
    /// Its addresses are more than an envelope holds.
    TooMany,
}

impl From<Unparsable> for Refused {
    fn from(_: Unparsable) -> Self {
        Self::Unparsable
    }
}

/// The fields of one letter as they come in.
#[derive(Clone, Debug)]
pub struct Compose<'r> {
    rules: &'r Rules,
    drops: Drops,
    /// Which known fields are there, a bit each.
    seen: u32,
    saved: Vec<u8>,
    /// Addresses as text0, as the next two: there may be a million.
    recipients: Vec<u8>,
    resent_recipients: Vec<u8>,
    /// Everybody in To and Cc, back to front: the first field first, the right-most of it first.
    public: Vec<u8>,
    /// Whether recipients are wanted.
    counts: bool,
    return_path: Option<Address>,
    unread: Option<Vec<u8>>,
}

/// What is put on top if it is missing.
#[derive(Clone, Debug)]
pub struct Generated<'a> {
    /// `26 Sep 1995 04:46:54 -0000`.
    pub date: &'a [u8],
    /// `<20261122134639.123.qmail@idhost>`.
    pub message_id: &'a [u8],
    /// Who writes.
    pub from: Person<'a>,
    /// Addresses of mailing lists (lines of `$QMAILMFTFILE`).
    pub lists: &'a [Vec<u8>],
}

/// A finished header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// Its fields.
    pub header: Vec<u8>,
    /// Whom it names (text0), fields in order, the right-most address of a field first.
    pub recipients: Vec<u8>,
    /// The sender named by the first `Return-Path`.
    pub return_path: Option<Address>,
    /// A recipient field that could not be read: it stays as it is and names nobody.
    pub unread: Option<Vec<u8>>,
}

impl<'r> Compose<'r> {
    /// A letter without fields.
    pub const fn new(rules: &'r Rules, drops: Drops) -> Self {
        Self {
            rules,
            drops,
            seen: 0,
            saved: Vec::new(),
            recipients: Vec::new(),
            resent_recipients: Vec::new(),
            public: Vec::new(),
            counts: true,
            return_path: None,
            unread: None,
        }
    }

    /// The same letter, its recipients named elsewhere: those of the header may be any number.
    #[must_use]
    pub const fn without_recipients(mut self) -> Self {
        self.counts = false;
        self
    }

    /// Takes the next field, with its LF.
    ///
    /// # Errors
    /// It says who wrote the letter and cannot be read, or there are too many addresses.
    pub fn field(&mut self, field: &[u8]) -> Result<(), Refused> {
        let known = parts(field).and_then(|(name, value)| Some((name, value, Known::of(name)?)));
        let Some((name, value, known)) = known else {
            self.saved.extend_from_slice(field);
            return Ok(());
        };
        if self.drops.takes_away(known) {
            return Ok(());
        }
        self.seen |= known.bit();
        match known.treatment() {
            Treatment::Drop => (),
            Treatment::Copy => self.saved.extend_from_slice(field),
            Treatment::Complete => {
                let (text, _) = self.complete(name, value).map_err(|_| Refused::Unparsable)?;
                self.saved.extend_from_slice(&text);
            }
            Treatment::ReturnPath => {
                let (_, addresses) = self.complete(name, value).map_err(|_| Refused::Unparsable)?;
                if self.return_path.is_none() {
                    self.return_path = first(&addresses);
                }
            }
            Treatment::Recipients { resent, public, keep } => {
                self.take_recipients(field, (name, value), resent, public, keep)?;
            }
        }
        Ok(())
    }

    /// A field that names recipients. One that cannot be read stays as it is.
    fn take_recipients(
        &mut self,
        field: &[u8],
        (name, value): (&[u8], &[u8]),
        resent: bool,
        public: bool,
        keep: bool,
    ) -> Result<(), Refused> {
        let text = match self.complete(name, value) {
            Err(Refused::Unparsable) => {
                self.unread.get_or_insert_with(|| field.to_vec());
                field.to_vec()
            }
            Err(Refused::TooMany) => return Err(Refused::TooMany),
            Ok((text, addresses)) => {
                if public && fits(&self.public, &addresses) {
                    self.public.extend_from_slice(&addresses);
                }
                let list = if resent { &mut self.resent_recipients } else { &mut self.recipients };
                match self.counts {
                    true if fits(list, &addresses) => list.extend(addresses),
                    true => return Err(Refused::TooMany),
                    false => (),
                }
                text
            }
        };
        if keep {
            self.saved.extend_from_slice(&text);
        }
        Ok(())
    }

    /// The field with its addresses completed, and those (text0), the right-most first.
    fn complete(&self, name: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        if value.len() > limits::LOGGED_ENVELOPE {
            return Err(Refused::TooMany);
        }
        let mut addresses = Vec::new();
        let tokens = addrlist::rewrite(token822::parse(value)?, |tokens| {
            text0::put(&mut addresses, self.rules.checked(tokens)?.as_bytes());
            Ok(())
        })?;
        Ok((token822::print(name, &tokens), addresses))
    }

    /// The header is over: what is missing comes on top of what there was.
    ///
    /// # Errors
    /// [`Unparsable`] if a `From` is missing and the writer's address is none.
    pub fn finish(self, generated: &Generated<'_>) -> Result<Composed, Unparsable> {
        let resent = NAMES.iter().any(|(_, known)| known.is_resent() && self.has(*known));
        let mut header = if resent { self.resent(generated)? } else { self.first(generated)? };
        header.extend_from_slice(&self.saved);
        let recipients = if resent { self.resent_recipients } else { self.recipients };
        Ok(Composed { header, recipients, return_path: self.return_path, unread: self.unread })
    }

    const fn has(&self, known: Known) -> bool {
        self.seen & known.bit() != 0
    }

    /// What a letter lacks.
    fn first(&self, g: &Generated<'_>) -> Result<Vec<u8>, Unparsable> {
        let mut top = Vec::new();
        if !self.has(Known::Date) {
            put(&mut top, b"Date: ", g.date);
        }
        if !self.has(Known::MessageId) {
            put(&mut top, b"Message-ID: ", g.message_id);
        }
        if !self.has(Known::From) {
            top.extend(g.from.field(b"From", self.rules)?);
        }
        if !self.has(Known::To) && !self.has(Known::Cc) {
            put(&mut top, b"Cc: ", b"recipient list not shown: ;");
        }
        if !self.has(Known::FollowupTo) {
            self.followup(&mut top, g.lists);
        }
        Ok(top)
    }

    /// What a letter sent on lacks.
    fn resent(&self, g: &Generated<'_>) -> Result<Vec<u8>, Unparsable> {
        let mut top = Vec::new();
        if !self.has(Known::ResentDate) {
            put(&mut top, b"Resent-Date: ", g.date);
        }
        if !self.has(Known::ResentMessageId) {
            put(&mut top, b"Resent-Message-ID: ", g.message_id);
        }
        if !self.has(Known::ResentFrom) {
            top.extend(g.from.field(b"Resent-From", self.rules)?);
        }
        if !self.has(Known::ResentTo) && !self.has(Known::ResentCc) {
            put(&mut top, b"Resent-Cc: ", b"recipient list not shown: ;");
        }
        Ok(top)
    }

    /// `Mail-Followup-To` everybody, if one of them is a mailing list.
    fn followup(&self, top: &mut Vec<u8>, lists: &[Vec<u8>]) {
        if lists.is_empty() {
            return;
        }
        let public: Vec<&[u8]> = text0::fields(&self.public).into_iter().flatten().collect();
        let is_list = |address: &&[u8]| lists.iter().any(|list| list.eq_ignore_ascii_case(address));
        if !public.iter().any(is_list) {
            return;
        }
        let all: Vec<_> = public.into_iter().rev().map(quote2).collect();
        put(top, b"Mail-Followup-To: ", &all.join(&b",\n  "[..]));
    }
}

/// Whether an envelope has room for more addresses (text0).
const fn fits(list: &[u8], more: &[u8]) -> bool {
    list.len().saturating_add(more.len()) <= limits::LOGGED_ENVELOPE
}

/// The first of some addresses (text0).
fn first(addresses: &[u8]) -> Option<Address> {
    let first = text0::fields(addresses).and_then(|mut addresses| addresses.next())?;
    Address::new(first).ok()
}

fn put(top: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    top.extend_from_slice(name);
    top.extend_from_slice(value);
    top.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_fields_cost_no_more_than_their_length() {
        let rules = Rules::new(b"h", b"d", b"p").unwrap();
        let mut compose = Compose::new(&rules, Drops::default());
        // Quadratic work would take minutes here.
        for _ in 0..200_000 {
            compose.field(b"To:a\n").unwrap();
        }
        assert_eq!(compose.public.len(), 200_000 * b"a@h.d\0".len());
    }
    use alloc::string::String;
    use alloc::vec;

    const JOE: Person<'_> = Person { user: b"joe", host: b"h.o", name: None, as_comment: false };
    const TOP: &str = "Date: D\nMessage-ID: M\nFrom: joe@h.o\n";

    fn rules() -> Rules {
        Rules::new(b"h.o", b"o", b"plus.o").unwrap()
    }

    fn with(fields: &[&str], drops: Drops, from: Person<'_>, lists: &[Vec<u8>]) -> Composed {
        let rules = rules();
        let mut compose = Compose::new(&rules, drops);
        fields.iter().for_each(|f| compose.field(f.as_bytes()).unwrap());
        compose.finish(&Generated { date: b"D", message_id: b"M", from, lists }).unwrap()
    }

    /// Header, recipients, return path.
    fn composed(fields: &[&str]) -> (String, Vec<String>, Option<String>) {
        let c = with(fields, Drops::default(), JOE, &[]);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let recipients = text0::fields(&c.recipients).unwrap().map(text).collect();
        (text(&c.header), recipients, c.return_path.map(|path| text(path.as_bytes())))
    }

    #[test]
    fn what_is_missing_comes_on_top() {
        let (header, recipients, _) = composed(&["to: a, b@c\n", "Subject: x\n"]);
        assert_eq!(header, [TOP, "to: a@h.o, b@c.o\nSubject: x\n"].concat());
        assert_eq!(recipients, ["b@c.o", "a@h.o"]);
        let (header, recipients, _) = composed(&[]);
        assert_eq!(header, [TOP, "Cc: recipient list not shown: ;\n"].concat());
        assert!(recipients.is_empty());
    }

    #[test]
    fn nothing_is_added_twice() {
        let fields = ["Date: x\n", "MESSAGE-ID: y\n", "From: z\n", "Cc: a\n"];
        let (header, _, _) = composed(&fields);
        assert_eq!(header, "Date: x\nMESSAGE-ID: y\nFrom: z@h.o\nCc: a@h.o\n");
    }

    #[test]
    fn bcc_content_length_and_return_path_go() {
        let fields = ["Return-Path: <a@b.c>\n", "Bcc: x\n", "Content-Length: 3\n", "To: y\n"];
        let (header, recipients, path) = composed(&[&fields[..], &["Return-Path: q\n"]].concat());
        assert_eq!(header, [TOP, "To: y@h.o\n"].concat());
        assert_eq!(recipients, ["x@h.o", "y@h.o"]);
        assert_eq!(path.as_deref(), Some("a@b.c"));
    }

    #[test]
    fn a_letter_sent_on_goes_only_to_those_it_is_resent_to() {
        let (header, recipients, _) = composed(&["To: a\n", "Resent-To: b\n", "Resent-Bcc: c\n"]);
        let top = "Resent-Date: D\nResent-Message-ID: M\nResent-From: joe@h.o\n";
        assert_eq!(header, [top, "To: a@h.o\nResent-To: b@h.o\n"].concat());
        assert_eq!(recipients, ["b@h.o", "c@h.o"]);
    }

    #[test]
    fn recipients_that_cannot_be_read_stay_and_a_sender_that_cannot_is_an_error() {
        let c = with(&["To: undisclosed:\n", "Cc: a\n"], Drops::default(), JOE, &[]);
        assert!(c.header.ends_with(b"To: undisclosed:\nCc: a@h.o\n"));
        assert_eq!(
            (&c.recipients[..], c.unread),
            (&b"a@h.o\0"[..], Some(b"To: undisclosed:\n".to_vec()))
        );
        let rules = rules();
        let mut compose = Compose::new(&rules, Drops::default());
        assert_eq!(compose.field(b"From: (a\n"), Err(Refused::Unparsable));
    }

    #[test]
    fn the_writers_name_is_quoted_or_follows() {
        let from = |person: Person<'_>| {
            String::from_utf8(person.field(b"From", &rules()).unwrap()).unwrap()
        };
        let joe = Person { name: Some(b"J. Doe (x)"), ..JOE };
        assert_eq!(from(joe), "From: \"J. Doe \\(x\\)\" <joe@h.o>\n");
        assert_eq!(from(Person { as_comment: true, ..joe }), "From: joe@h.o (J. Doe \\(x\\))\n");
        assert_eq!(from(Person { user: b"j.d", ..JOE }), "From: j.d@h.o\n");
        assert_eq!(from(Person { user: b"q u", host: b"x+", ..JOE }), "From: \"q u\"@x.plus.o\n");
        let forged = Person { name: Some(b"a\nBcc: b"), ..JOE };
        assert_eq!(from(forged), "From: \"a Bcc: b\" <joe@h.o>\n");
        let forged = Person { user: b"a\nb", ..JOE };
        assert_eq!(forged.field(b"From", &rules()), Err(Unparsable));
    }

    #[test]
    fn letters_of_the_environment_drop_fields() {
        let all = Drops { from: true, message_id: true, return_path: true };
        let fields = ["From: (x\n", "Message-ID: y\n", "Return-Path: (z\n", "To: a\n"];
        let c = with(&fields, all, JOE, &[]);
        assert_eq!(c.header, [TOP, "To: a@h.o\n"].concat().into_bytes());
        assert_eq!(c.return_path, None);
    }

    #[test]
    fn more_addresses_than_an_envelope_holds_are_refused_where_they_count() {
        let rules = rules();
        let field = [b"To: ", &b"a,".repeat(300_000)[..], b"b\n"].concat();
        let mut compose = Compose::new(&rules, Drops::default());
        assert_eq!(compose.field(&field), Ok(()));
        assert_eq!(compose.field(&field), Ok(()));
        assert_eq!(compose.field(&field), Err(Refused::TooMany));
        let mut compose = Compose::new(&rules, Drops::default()).without_recipients();
        (0..3).for_each(|_| assert_eq!(compose.field(&field), Ok(())));
        let long = [b"From: ", &b" ".repeat(limits::LOGGED_ENVELOPE)[..], b"b\n"].concat();
        assert_eq!(compose.field(&long), Err(Refused::Unparsable));
    }

    #[test]
    fn a_letter_to_a_list_is_followed_up_to_everybody() {
        let lists = vec![b"LIST@h.o".to_vec()];
        let c = with(&["To: a, b\n", "Cc: list, \"q u\"@x\n"], Drops::default(), JOE, &lists);
        let want = "Mail-Followup-To: list@h.o,\n  \"q u\"@x.o,\n  a@h.o,\n  b@h.o\n";
        let want = [TOP, want, "To: a@h.o, b@h.o\nCc: list@h.o, \"q u\"@x.o\n"].concat();
        assert_eq!(String::from_utf8(c.header).unwrap(), want);
        let c = with(&["To: a\n"], Drops::default(), JOE, &lists);
        assert_eq!(String::from_utf8(c.header).unwrap(), [TOP, "To: a@h.o\n"].concat());
    }
}
