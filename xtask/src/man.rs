//! The manual: a page for every program, under the sentence its table has and with every option that
//! it takes, a page for every format of a file, and no page missing that another one names.

mod controls;
mod letters;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use clap::Args;

use crate::tally::{self, Ending, Trouble, findings};

/// Where the tables of programs are.
const TABLES: [&str; 5] = [
    "crates/daemontools/src/main.rs",
    "crates/qmail/src/main.rs",
    "crates/qmail-admin/src/main.rs",
    "crates/qmail-authres/src/main.rs",
    "crates/qmail-net/src/main.rs",
];

/// What every program's page says something about.
const SECTIONS: [&str; 6] =
    ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO", "SECURITY CONSIDERATIONS"];

/// What files and messages look like: a page each, though no program has its name.
const FORMATS: [&str; 15] = [
    "addresses.5",
    "cdb.5",
    "dot-qmail.5",
    "envelopes.5",
    "maildir.5",
    "mbox.5",
    "qmail-bounce.5",
    "qmail-control.5",
    "qmail-header.5",
    "qmail-log.5",
    "qmail-users.5",
    "service.5",
    "tcp-environ.5",
    "tcprules.5",
    "qmail-command.8",
];

/// Where qmailctl's own table stands in its page.
const TABLE: [&str; 2] =
    [".\\\" The commands, from the program's own table", ".\\\" The end of the table.\n"];

/// Pages we name and others wrote.
const SYSTEM: [&str; 3] = ["ps.1", "flock.2", "setrlimit.2"];

/// The longest page that is still read, tables left out.
const LONGEST: usize = 160;

/// A program and its sentence.
type Program = (String, String);

/// The text of each page, by its file's name.
type Pages = BTreeMap<String, String>;

/// Check the manual, or write what is made from a program's own table.
#[derive(Args)]
pub(crate) struct Man {
    /// Write the table of commands into the page of qmailctl.
    #[arg(long)]
    write: bool,
}

impl Man {
    /// Writes, if that is wanted, and checks.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        if self.write {
            write()?;
        }
        tally::single("man", check)
    }
}

/// Puts what qmailctl says of its commands into its page. Whether it stands there as it should is a
/// test of that program.
fn write() -> Result<(), Trouble> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "-q", "-p", "qmail-admin", "--", "qmailctl", "manual"]);
    let said = cargo.current_dir(crate::root()).output().map_err(|e| format!("cargo: {e}"))?;
    if !said.status.success() {
        return Err(format!("qmailctl manual: {}", String::from_utf8_lossy(&said.stderr)));
    }
    let page = crate::root().join("man/qmailctl.8");
    let text = fs::read_to_string(&page).map_err(|e| format!("man/qmailctl.8: {e}"))?;
    let parts = text.split_once(TABLE[0]).zip(text.split_once(TABLE[1]));
    let Some(((before, _), (_, after))) = parts else {
        return Err("man/qmailctl.8 has no place for the table".into());
    };
    let table = String::from_utf8_lossy(&said.stdout).into_owned();
    fs::write(&page, format!("{before}{table}{after}")).map_err(|e| format!("man/qmailctl.8: {e}"))
}

/// Holds the tables of the programs against the pages in `man/`.
pub(crate) fn check() -> Ending {
    match look() {
        Ok(found) => findings(&found),
        Err(why) => Ending::Failed(why),
    }
}

fn look() -> Result<Vec<String>, Trouble> {
    let programs = programs()?;
    let pages = pages()?;
    let mut found: Vec<String> =
        programs.iter().filter_map(|program| judge_program(program, &pages)).collect();
    let formats = FORMATS.iter().filter(|file| !pages.contains_key(**file));
    found.extend(formats.map(|file| format!("man/{file} is missing")));
    let options = letters::all(&TABLES)?;
    for (name, options) in &options {
        let page = ["1", "8"].iter().find_map(|section| pages.get(&format!("{name}.{section}")));
        found.extend(page.and_then(|text| letters::missing(name, options, text)));
    }
    let read = controls::read_below(&crate::root().join("crates"));
    let manual = pages.get("qmail-control.5").map(String::as_str).unwrap_or_default();
    found.extend(controls::missing(&read, manual));
    let (programs_, pages_) = (programs.len(), pages.len());
    println!("{programs_} programs, {} of them with options, {pages_} pages", options.len());
    println!("{} control files are read", read.len());
    for (file, text) in &pages {
        found.extend(judge_page(file, text, &programs));
        found.extend(dangling(file, text, &pages));
    }
    Ok(found)
}

/// Every program of the binaries.
fn programs() -> Result<Vec<Program>, Trouble> {
    let mut programs = Vec::new();
    for file in TABLES {
        let path = crate::root().join(file);
        let text = fs::read_to_string(path).map_err(|e| format!("{file}: {e}"))?;
        let before = programs.len();
        programs.extend(table(&text));
        if programs.len() == before {
            programs.push(single(&text).ok_or_else(|| format!("{file} names no program"))?);
        }
    }
    Ok(programs)
}

/// The entries of a table, `name: "…"` followed by `sentence: "…"`.
fn table(text: &str) -> Vec<Program> {
    let entries = text.split("name: \"").skip(1);
    let entries = entries.filter_map(|entry| {
        let (name, rest) = entry.split_once('"')?;
        let (sentence, _) = rest.split_once("sentence: \"")?.1.split_once('"')?;
        Some((name.to_owned(), sentence.to_owned()))
    });
    entries.collect()
}

/// The one program of a binary without a table, as its `help` prints it.
fn single(text: &str) -> Option<Program> {
    let (sentence, rest) = text.split_once("(\"{:16} ")?.1.split_once("\", \"")?;
    Some((rest.split_once('"')?.0.to_owned(), sentence.to_owned()))
}

fn pages() -> Result<Pages, Trouble> {
    let dir = crate::root().join("man");
    let entries = fs::read_dir(&dir).map_err(|e| format!("man: {e}"))?;
    let page = |entry: fs::DirEntry| {
        let file = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).map_err(|e| format!("man/{file}: {e}"))?;
        Ok((file, text))
    };
    entries.map(|entry| page(entry.map_err(|e| format!("man: {e}"))?)).collect()
}

/// What is wrong with a program's page.
fn judge_program((name, sentence): &Program, pages: &Pages) -> Option<String> {
    let files = ["1", "8"].map(|section| format!("{name}.{section}"));
    let found = files.iter().find_map(|file| Some((file, pages.get(file)?)));
    let Some((file, text)) = found else { return Some(format!("{name} has no page")) };
    let says = words(text, ".Nd ").next().unwrap_or_default();
    if says != sentence {
        return Some(format!("man/{file} says {says:?}, its table {sentence:?}"));
    }
    let missing = SECTIONS.iter().find(|section| !words(text, ".Sh ").any(|s| s == **section));
    missing.map(|section| format!("man/{file} has no section {section}"))
}

/// What is wrong with any page: its head, its length, and a program that is none.
fn judge_page(file: &str, text: &str, programs: &[Program]) -> Option<String> {
    let Some((name, section)) = file.rsplit_once('.') else {
        return Some(format!("man/{file} is not NAME.SECTION"));
    };
    let title = format!("{} {section}", name.to_uppercase());
    if words(text, ".Dt ").next() != Some(&title) {
        return Some(format!("man/{file} has no line .Dt {title}"));
    }
    if words(text, ".Nm ").next() != Some(name) {
        return Some(format!("man/{file} has no line .Nm {name}"));
    }
    if by_hand(text) > LONGEST {
        return Some(format!("man/{file} has more than {LONGEST} lines"));
    }
    let of_a_program = ["1", "8"].contains(&section) && !FORMATS.contains(&file);
    let stale = of_a_program && !programs.iter().any(|(known, _)| known == name);
    stale.then(|| format!("man/{file} is no program's"))
}

/// The lines of a page that somebody wrote; a table from a program's own is as long as it is.
fn by_hand(text: &str) -> usize {
    let table = text.split_once(TABLE[0]).and_then(|(_, rest)| Some(rest.split_once(TABLE[1])?.0));
    text.lines().count().saturating_sub(table.unwrap_or_default().lines().count())
}

/// The pages that a page names and nobody wrote.
fn dangling(file: &str, text: &str, pages: &Pages) -> Vec<String> {
    let named = words(text, ".Xr ").filter_map(|reference| {
        let mut words = reference.split(' ');
        Some(format!("{}.{}", words.next()?, words.next()?))
    });
    let unknown = named.filter(|page| !pages.contains_key(page) && !SYSTEM.contains(&&**page));
    unknown.map(|page| format!("man/{file} names {page}, which is not there")).collect()
}

/// What follows a macro, for each line that begins with it.
fn words<'t>(text: &'t str, macro_: &'t str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| line.strip_prefix(macro_))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = ".Dt CAT 1\n.Sh NAME\n.Nm cat\n.Nd print files\n.Sh SYNOPSIS\n\
        .Sh DESCRIPTION\n.Sh EXIT STATUS\n.Sh SEE ALSO\n.Xr ps 1 ,\n.Xr dog 8\n\
        .Sh SECURITY CONSIDERATIONS\n";

    fn cat(sentence: &str) -> Program {
        ("cat".into(), sentence.into())
    }

    #[test]
    fn a_table_is_its_names_and_sentences() {
        let text = "struct P { name: &'static str }\nP { name: \"cat\", sentence: \"print files\", \
            main: cat::main }, P {\n name: \"dog\",\n sentence: \"bark\",\n}";
        assert_eq!(table(text), [cat("print files"), ("dog".into(), "bark".into())]);
        let text = "println!(\"{:16} print files\", \"cat\");";
        assert_eq!((table(text), single(text)), (vec![], Some(cat("print files"))));
    }

    #[test]
    fn a_program_has_a_page_with_its_sentence_and_every_section() {
        let pages = |text: &str| Pages::from([("cat.1".to_owned(), text.to_owned())]);
        assert_eq!(judge_program(&cat("print files"), &pages(PAGE)), None);
        assert!(judge_program(&cat("show files"), &pages(PAGE)).is_some());
        assert!(judge_program(&cat("print files"), &Pages::new()).is_some());
        let short = PAGE.replace(".Sh EXIT STATUS\n", "");
        let said = judge_program(&cat("print files"), &pages(&short));
        assert_eq!(said.as_deref(), Some("man/cat.1 has no section EXIT STATUS"));
    }

    #[test]
    fn a_page_has_a_head_a_program_and_references_that_lead_somewhere() {
        assert_eq!(judge_page("cat.1", PAGE, &[cat("")]), None);
        assert!(judge_page("cat.1", PAGE, &[]).is_some());
        assert!(judge_page("cat.8", PAGE, &[cat("")]).is_some());
        assert!(judge_page("tac.1", PAGE, &[cat("")]).is_some());
        let said = dangling("cat.1", PAGE, &Pages::new());
        assert_eq!(said, ["man/cat.1 names dog.8, which is not there"]);
    }
}
