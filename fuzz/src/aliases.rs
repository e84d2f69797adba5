//! Alias tables, include files, forwarding tables and mailing lists: what users and administrators
//! write for dot-forward and fastforward, and the files made of it.

use std::collections::HashSet;

use base::cdb::{self, Cdb};
use letter::aliases;
use letter::forwarding::{Command, items, list, table};
use letter::listed::{self, Listed};
use letter::rewrite::Rules;

use crate::pick::head;
use crate::programs;

/// Lists that can be read while a table is followed.
const LISTS: u32 = 20;

/// The first line says what the rest is (a letter) and what is asked of it.
pub fn aliases(data: &[u8]) {
    let (head, text) = head(data);
    let Some((kind, asked)) = head.split_first() else { return };
    match kind {
        b'a' => alias_file(text),
        b'i' => include_file(text),
        b'f' => names(text),
        b's' => instructions(text, asked),
        b'l' => members(text),
        b't' => any_table(text, asked),
        _ => {}
    }
}

fn rules() -> Rules {
    Rules::new(b"host", b"domain.test", b"plus.test").expect("three host names")
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&c| c == b'\n').count() + 1
}

/// A table compiled is the table printed and compiled again.
fn alias_file(text: &[u8]) {
    match aliases::table(&rules(), text) {
        Ok(records) => {
            assert!(records.len() <= 2 * lines(text), "more entries than lines");
            assert_eq!(again(&records), records);
        }
        Err(wrong) => {
            assert!((1..=lines(text)).contains(&wrong.line), "no such line");
            assert!(!wrong.why.to_string().contains('\n'), "a message of two lines");
        }
    }
}

/// The records of a table's own print.
fn again(records: &[table::Record]) -> Vec<table::Record> {
    let mut out = Vec::new();
    for (key, value) in records {
        table::print(key, value, &mut out).expect("our own record");
        assert_eq!(items(value).count() == 0, key.starts_with(b"?") || value.is_empty());
    }
    table::parse(&out).expect("our own print")
}

fn include_file(text: &[u8]) {
    match aliases::include(&rules(), text) {
        Ok(file) => {
            let print = list::print(&file).expect("our own list");
            assert_eq!(list::compile(&print).as_deref(), Ok(&file[..]));
        }
        Err(wrong) => assert!((1..=lines(text)).contains(&wrong.line), "no such line"),
    }
}

/// What a line lists is no longer than the line; a command or a path has no marks left.
fn names(text: &[u8]) {
    let Ok(all) = listed::read(text) else { return };
    let mut size = 0;
    for one in all {
        size += match one {
            Listed::Address(tokens) => letter::token822::unquote(&tokens).len(),
            Listed::Program(command) => command.len() + 1,
            Listed::File(path) => {
                assert!(path.starts_with(b"/"));
                path.len()
            }
            Listed::Include(path) => {
                assert!(!path.is_empty());
                path.len()
            }
        };
    }
    assert!(size <= text.len(), "more than was written");
}

fn instructions(text: &[u8], who: &[u8]) {
    match table::parse(text) {
        Ok(records) => {
            assert_eq!(again(&records), records);
            let file = cdb::build(records).expect("a small file");
            expansion(&file, text, who);
        }
        Err(wrong) => assert!((1..=lines(text)).contains(&wrong.line), "no such line"),
    }
}

/// Following a table ends, and names nobody twice.
fn expansion(file: &[u8], members: &[u8], who: &[u8]) {
    let Ok(cdb) = Cdb::new(file) else { return };
    // Every list has the same members, lists among them.
    let list = list::compile(members).unwrap_or_default();
    let mut read = 0;
    let lists = |_: &[u8]| {
        read += 1;
        if read < LISTS { Ok(list.clone()) } else { Err(()) }
    };
    let Some((programs, recipients)) = programs::expanded(&cdb, who, lists) else { return };
    assert!(programs.iter().all(|program| program.starts_with(b"|") || program.starts_with(b"!")));
    let unique: HashSet<&Vec<u8>> = recipients.iter().collect();
    assert_eq!(unique.len(), recipients.len(), "somebody twice");
}

fn members(text: &[u8]) {
    match list::compile(text) {
        Ok(file) => {
            assert!(items(&file).all(|item| {
                matches!(Command::read(item), Some(Command::Recipient(_) | Command::List(_)))
            }));
            let print = list::print(&file).expect("our own list");
            assert_eq!(list::compile(&print).as_deref(), Ok(&file[..]));
        }
        Err(wrong) => assert!((1..=lines(text)).contains(&wrong.line), "no such line"),
    }
}

/// A file from anywhere: printed if it is a table, never followed outside, and the end is reached.
fn any_table(file: &[u8], who: &[u8]) {
    if let Ok(cdb) = Cdb::new(file) {
        let mut out = Vec::new();
        for record in cdb.records() {
            let Ok((key, value)) = record else { break };
            if table::print(key, value, &mut out).is_err() {
                break;
            }
        }
        assert!(out.len() <= 8 * file.len(), "it grew too much");
    }
    if let Ok(text) = list::print(file) {
        assert_eq!(text.len(), file.len());
    }
    expansion(file, file, who);
}
