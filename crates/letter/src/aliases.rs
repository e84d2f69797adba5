//! sendmail's `/etc/aliases` and its include files, as newaliases and newinclude read them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::forwarding::table::Record;
use crate::forwarding::{Command, Half, Wrong, key};
use crate::listed::{self, BadRecipient, Listed, Unlisted};
use crate::rewrite::Rules;
use crate::token822::{self, Token};

/// Why an entry is none. `Display` gives the words of the original where it has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// This text is no list, or names an alias without saying where it leads.
    Unparsable(Vec<u8>),
    /// `<>`, or an address nothing is left of.
    EmptyAddress,
    /// `:include:` with nothing behind it.
    NoFile,
    /// A bar with nothing behind it.
    NoProgram,
    /// A recipient of more than [`listed::RECIPIENT`] bytes.
    LongAddress,
    /// A recipient that ends in a blank.
    Blank,
    /// A NUL in one of these.
    Nul(&'static str),
    /// A file to deliver to.
    File(Vec<u8>),
    /// A program in an include file.
    Program(Vec<u8>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unparsable(text) => write!(f, "unable to parse this line: {}", one_line(text)),
            Self::EmptyAddress => f.write_str("empty recipient addresses not permitted"),
            Self::NoFile => f.write_str("empty :include: filenames not permitted"),
            Self::NoProgram => f.write_str(
                "empty program names not permitted: the bar belongs inside the quotes, \"|program\"",
            ),
            Self::LongAddress => f.write_str("addresses over 800 bytes are not permitted"),
            Self::Blank => f.write_str("spaces and tabs not permitted at ends of addresses"),
            Self::Nul(what) => write!(f, "NUL not permitted in {what}"),
            Self::File(path) => write!(f, "file delivery {} not supported", one_line(path)),
            Self::Program(command) => {
                write!(f, "program delivery |{} not supported", one_line(command))
            }
        }
    }
}

impl Why {
    /// The reason, with the text it is about.
    #[must_use]
    pub fn about(self, text: &[u8]) -> Self {
        match self {
            Self::Unparsable(_) => Self::Unparsable(text.to_vec()),
            why => why,
        }
    }
}

/// Bytes of a file as a line of a message shows them.
fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.trim_ascii());
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<BadRecipient> for Why {
    fn from(bad: BadRecipient) -> Self {
        match bad {
            BadRecipient::Empty => Self::EmptyAddress,
            BadRecipient::TooLong => Self::LongAddress,
            BadRecipient::Nul => Self::Nul("recipient addresses"),
            BadRecipient::Unparsable => Self::Unparsable(Vec::new()),
        }
    }
}

impl From<Unlisted> for Why {
    fn from(unlisted: Unlisted) -> Self {
        match unlisted {
            Unlisted::Unparsable => Self::Unparsable(Vec::new()),
            Unlisted::NoFile => Self::NoFile,
        }
    }
}

/// The one file that may stand where an address does: what is written there is thrown away.
pub const NOWHERE: &[u8] = b"/dev/null";
/// What stands for it in a table: a command that does nothing and succeeds. A table has no other
/// word for it that survives being printed and compiled again, or that the original follows.
pub const NOTHING: &[u8] = b"exit 0";

/// An entry of the file: where it begins, and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    text: Vec<u8>,
}

/// The entries of an alias file. A line that begins with a blank goes on with the entry before it,
/// empty lines are not there, an entry that begins with `#` is a comment with all its lines. The
/// last line needs no line end.
fn entries(text: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (n, line) in text.split_inclusive(|&c| c == b'\n').enumerate() {
        match (line, entries.last_mut()) {
            (b"\n", _) => {}
            ([b' ' | b'\t', ..], Some(last)) => last.text.extend_from_slice(line),
            _ => entries.push(Entry { line: n.saturating_add(1), text: line.to_vec() }),
        }
    }
    entries.retain(|entry| !entry.text.starts_with(b"#"));
    entries
}

/// The records of an alias file, in its order; recipients are completed by this host's rules.
///
/// # Errors
/// The first entry that is wrong.
pub fn table(rules: &Rules, text: &[u8]) -> Result<Vec<Record>, Wrong<Why>> {
    let mut records = Vec::new();
    for Entry { line, text } in entries(text) {
        let found = entry(rules, &text).map_err(|why| Wrong { line, why: why.about(&text) })?;
        records.extend(found);
    }
    Ok(records)
}

/// The records of one entry: none if it is empty.
fn entry(rules: &Rules, text: &[u8]) -> Result<Vec<Record>, Why> {
    let mut commands = Vec::new();
    // Whoever stands left-most is no recipient but the target.
    let mut last: Option<Vec<Token>> = None;
    for listed in listed::read(text)? {
        match listed {
            Listed::Address(address) if token822::unquote(&address).is_empty() => {
                return Err(Why::EmptyAddress);
            }
            Listed::Address(address) => {
                if let Some(before) = last.replace(address) {
                    let recipient = listed::recipient(rules, before)?;
                    Command::Recipient(&recipient).put(&mut commands);
                }
            }
            Listed::Program(command) if command.is_empty() => return Err(Why::NoProgram),
            Listed::Program(command) => {
                Command::Framed(sound(&command, "program names")?).put(&mut commands);
            }
            Listed::Include(path) => {
                let file = file(sound(&path, ":include: filenames")?, b".bin");
                Command::List(&file).put(&mut commands);
            }
            Listed::File(path) if path == NOWHERE => Command::Program(NOTHING).put(&mut commands),
            Listed::File(path) => return Err(Why::File(path)),
        }
    }
    match last {
        None if commands.is_empty() => Ok(Vec::new()),
        Some(address) if !commands.is_empty() => targeted(rules, address, commands),
        _ => Err(Why::Unparsable(Vec::new())),
    }
}

/// The records of a target: its owner's, if it is one, and its own.
fn targeted(rules: &Rules, address: Vec<Token>, commands: Vec<u8>) -> Result<Vec<Record>, Why> {
    let mut target = token822::unquote(&address);
    if !address.contains(&Token::At) {
        target.push(b'@');
    }
    if target.len() > listed::RECIPIENT {
        return Err(Why::LongAddress);
    }
    sound(&target, "recipient addresses")?;
    let mut records = Vec::new();
    if let Some(owned) = target.strip_prefix(b"owner-") {
        records.push((key(Half::Owner, owned), listed::recipient(rules, address)?));
    }
    records.push((key(Half::Commands, &target), commands));
    Ok(records)
}

/// Text without a NUL, which would end a command.
fn sound<'a>(text: &'a [u8], what: &'static str) -> Result<&'a [u8], Why> {
    if text.contains(&0) { Err(Why::Nul(what)) } else { Ok(text) }
}

/// The file an `:include:` means: below the directory of whoever reads it if its name does not say
/// where it is, and the binary one.
fn file(path: &[u8], ending: &[u8]) -> Vec<u8> {
    let placed = path.starts_with(b".") || path.starts_with(b"/");
    let before: &[u8] = if placed { b"" } else { b"./" };
    [before, path, ending].concat()
}

/// The mailing list of an include file; recipients are completed by this host's rules. A line that
/// begins with `#` is a comment.
///
/// # Errors
/// The first line that is wrong.
pub fn include(rules: &Rules, text: &[u8]) -> Result<Vec<u8>, Wrong<Why>> {
    let mut list = Vec::new();
    for (n, line) in text.split(|&c| c == b'\n').enumerate() {
        if !line.starts_with(b"#") {
            let wrong = |why: Why| Wrong { line: n.saturating_add(1), why: why.about(line) };
            include_line(rules, line, &mut list).map_err(wrong)?;
        }
    }
    Ok(list)
}

fn include_line(rules: &Rules, line: &[u8], list: &mut Vec<u8>) -> Result<(), Why> {
    for listed in listed::read(line)? {
        match listed {
            // `<>` is nobody.
            Listed::Address(address) if token822::unquote(&address).is_empty() => {}
            Listed::Address(address) => {
                let recipient = listed::recipient(rules, address)?;
                if recipient.ends_with(b" ") || recipient.ends_with(b"\t") {
                    return Err(Why::Blank);
                }
                Command::Recipient(&recipient).put(list);
            }
            Listed::Include(path) => {
                let path = sound(&path, ":include: filenames")?;
                let ending: &[u8] = if path.ends_with(b".bin") { b"" } else { b".bin" };
                Command::List(&file(path, ending)).put(list);
            }
            Listed::Program(command) => return Err(Why::Program(command)),
            Listed::File(path) if path == NOWHERE => {}
            Listed::File(path) => return Err(Why::File(path)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn rules() -> Rules {
        Rules::new(b"mx.example.org", b"example.org", b"plus.org").unwrap()
    }

    /// Records as `key=value`, NULs as bars.
    fn compiled(text: &str) -> Vec<String> {
        let records = table(&rules(), text.as_bytes()).unwrap();
        let show = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace('\0', " ");
        records.into_iter().map(|(key, value)| [show(key), show(value)].join("=")).collect()
    }

    fn wrong(text: &str) -> (usize, String) {
        let Wrong { line, why } = table(&rules(), text.as_bytes()).unwrap_err();
        (line, why.to_string())
    }

    #[test]
    fn an_alias_leads_to_everybody_it_lists() {
        assert_eq!(
            compiled("root: alice, bill\n"),
            [":root@=&bill@mx.example.org &alice@mx.example.org "]
        );
        assert_eq!(compiled("@Virt.org: a@b.c"), [":@virt.org=&a@b.c "]);
        assert_eq!(compiled("a@h: b@host, c@x+"), [":a@h=&c@x.plus.org &b@host.example.org "]);
        assert!(compiled("").is_empty());
    }

    #[test]
    fn entries_go_on_in_lines_that_begin_with_a_blank() {
        let text = "# one\n # more of it\na:\n\n\tb@c.d,\n e@f.g\n\r\nh: i@j.k";
        assert_eq!(compiled(text), [":a@=&e@f.g &b@c.d ", ":h@=&i@j.k "]);
        assert_eq!(compiled("  x: y@z.a\n"), [":x@=&y@z.a "]);
    }

    #[test]
    fn programs_and_lists_stand_before_the_addresses_around_them() {
        assert_eq!(
            compiled("x: a@a.a, \"|run me\", :include:/etc/l, b@b.b"),
            [":x@=/etc/l.bin !run me &b@b.b &a@a.a "]
        );
        assert_eq!(compiled("x: :include:l"), [":x@=./l.bin "]);
    }

    #[test]
    fn a_letter_may_be_thrown_away_without_a_file_being_opened() {
        assert_eq!(compiled("nobody: /dev/null"), [":nobody@=|exit 0 "]);
        assert_eq!(compiled("x: \"/dev/null\", a@b.c"), [":x@=|exit 0 &a@b.c "]);
        for other in ["/dev/./null", "/dev/null/", "//dev/null", "/dev/zero", "\"/dev/null \""] {
            assert!(wrong(&["x: ", other].concat()).1.contains("not supported"), "{other}");
        }
        assert_eq!(include(&rules(), b"/dev/null\na@b.c\n"), Ok(b"&a@b.c\0".to_vec()));
    }

    #[test]
    fn an_owner_is_noted_for_its_list() {
        assert_eq!(
            compiled("owner-list: joe@x.y"),
            ["?list@=owner-list@mx.example.org", ":owner-list@=&joe@x.y "]
        );
        assert_eq!(compiled("owner-l@v.w: j@x.y"), ["?l@v.w=owner-l@v.w", ":owner-l@v.w=&j@x.y "]);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_line_it_begins_in() {
        let parse = |text: &str| ["unable to parse this line: ", text].concat();
        assert_eq!(wrong("a: b\nc: (d\n e\n"), (2, parse("c: (d  e")));
        assert_eq!(wrong("\nalone\n"), (2, parse("alone")));
        assert_eq!(wrong("\"|x\""), (1, parse("\"|x\"")));
        assert_eq!(wrong("a: /f/g").1, "file delivery /f/g not supported");
        assert_eq!(wrong("a: <>").1, "empty recipient addresses not permitted");
        assert_eq!(wrong("a: :include:").1, "empty :include: filenames not permitted");
        assert!(wrong("a: |\"x y\"").1.starts_with("empty program names not permitted"));
        assert_eq!(wrong("a: \"|x\0\"").1, "NUL not permitted in program names");
        let long = ["a: ", &"x".repeat(801)].concat();
        assert_eq!(wrong(&long).1, "addresses over 800 bytes are not permitted");
    }

    #[test]
    fn an_include_file_becomes_a_list() {
        let text = b"# us\njoe, Ann <ann@x.y>\n\n:include:more, :include:/old.bin\n<>\nz@z.z";
        let list = include(&rules(), text).unwrap();
        let want = b"&ann@x.y\0&joe@mx.example.org\0/old.bin\0./more.bin\0&z@z.z\0";
        assert_eq!(list, want, "{}", list.escape_ascii());
    }

    #[test]
    fn an_include_file_neither_runs_nor_writes() {
        let wrong = |text: &str| {
            let Wrong { line, why } = include(&rules(), text.as_bytes()).unwrap_err();
            (line, why.to_string())
        };
        assert_eq!(wrong("a\n\"|x y\"\n"), (2, "program delivery |x y not supported".into()));
        assert_eq!(wrong("/a"), (1, "file delivery /a not supported".into()));
        assert_eq!(wrong("(\n"), (1, "unable to parse this line: (".into()));
        assert_eq!(wrong("a@b.\"c \"").1, "spaces and tabs not permitted at ends of addresses");
    }
}
