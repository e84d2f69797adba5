//! `docs/compat.md`: every item with what proves it; written by `cargo xtask compat --table`, and
//! checked so that it cannot drift.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::items::{self, Items, KINDS};
use super::steps::Step;
use super::{Read, Suite, files};
use crate::tally::{Ending, Trouble, findings};

/// The page.
const PAGE: &str = "docs/compat.md";

/// Proofs of one item that are named; the others are counted.
const NAMED: usize = 3;

/// The page's first lines.
const HEAD: &str = "\
# What is qmail, and what proves that it is here

Every program, option, control file, environment variable, exit code, log line and message of stock
qmail, daemontools and ucspi-tcp that we have, each with what proves it: a step of
[`tests/compat/`](../tests/compat/README.md) or [`tests/caretakers/`](../tests/caretakers/README.md), played against
our programs by `cargo xtask test` (those of the caretakers against Debian's, too), or another test. Where we
differ on purpose is told at the end, with the reason. Written by `cargo xtask compat --table`; `cargo xtask
test` checks that it is up to date, that nothing is without proof, and that every proof is there.
";

/// Writes the page.
pub(crate) fn write() -> Result<(), Trouble> {
    let (page, found) = page()?;
    fs::write(crate::root().join(PAGE), page).map_err(|e| format!("{PAGE}: {e}"))?;
    if found.is_empty() { Ok(()) } else { Err(found.join("\n  ")) }
}

/// Whether the page is what it would be if it were written now, and nothing is without proof.
pub(crate) fn check() -> Ending {
    let (page, mut found) = match page() {
        Ok(made) => made,
        Err(why) => return Ending::Failed(why),
    };
    if fs::read_to_string(crate::root().join(PAGE)).ok().as_deref() != Some(&*page) {
        found.push(format!("{PAGE} is not up to date: cargo xtask compat --table"));
    }
    findings(&found)
}

/// The page, and what is wrong with it.
fn page() -> Result<(String, Vec<String>), Trouble> {
    let items = lists()?;
    let mut files = files(Suite::Mail, "")?;
    files.extend(self::files(Suite::Caretakers, "")?);
    let mut found = Vec::new();
    let mut proofs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (item, named) in &items {
        found.extend(named.iter().filter_map(|proof| missing(item, proof)));
        let links = named.iter().map(|proof| link(proof, proof));
        proofs.entry(item).or_default().extend(links);
    }
    for file in &files {
        found.extend(steps(file, &mut proofs));
    }
    let bare = proofs.iter().filter(|(_, proofs)| proofs.is_empty());
    found.extend(bare.map(|(item, _)| format!("nothing proves: {item}")));
    println!("{} items, {} files of steps", proofs.len(), files.len());
    Ok((print(&proofs, &files), found))
}

/// All lists of items.
fn lists() -> Result<Items, Trouble> {
    let dir = crate::root().join("tests/compat/items");
    let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut items = Items::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        items::add(&mut items, &text)
            .map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))?;
    }
    Ok(items)
}

/// Enters what a file's steps prove; what they prove that is no item.
fn steps(file: &Read, proofs: &mut BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for step in &file.script.steps {
        for item in &step.items {
            let name = file.name.trim_end_matches(".steps");
            let link = link(&format!("{name}: {}", step.title), &file.path());
            match proofs.get_mut(&**item) {
                Some(proofs) => proofs.push(link),
                None => {
                    found.push(format!("{} proves what is no item: {item}", file.place(step.line)));
                }
            }
        }
    }
    let whys =
        file.script.steps.iter().filter_map(|step| Some((step.line, &step.why.as_ref()?.page)));
    let pages = file.script.ours.iter().map(|page| (1, page)).chain(whys);
    found.extend(pages.filter_map(|(line, page)| {
        let there = crate::root().join(page).exists();
        (!there).then(|| format!("{}: {page} is not there", file.place(line)))
    }));
    found
}

/// A proof that is not there.
fn missing(item: &str, proof: &str) -> Option<String> {
    let (path, name) =
        proof.split_once("::").map_or((proof, None), |(path, name)| (path, Some(name)));
    let full = crate::root().join(path);
    let Some(name) = name else {
        return (!full.exists()).then(|| format!("{item}: {path} is not there"));
    };
    let text = fs::read_to_string(&full).unwrap_or_default();
    let last = name.rsplit("::").next().unwrap_or(name);
    let rust = Path::new(path).extension().is_some_and(|e| e == "rs");
    let word = if rust { "fn" } else { "def" };
    let there = text.contains(&format!("{word} {last}("));
    (!there).then(|| format!("{item}: {path} has no {word} {last}"))
}

/// A link from the page.
fn link(text: &str, proof: &str) -> String {
    let path = proof.split_once("::").map_or(proof, |(path, _)| path);
    format!("[{}](../{path})", cell(text))
}

/// Text that stays in its cell of a table.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('[', "\\[")
}

fn print(proofs: &BTreeMap<&str, Vec<String>>, files: &[Read]) -> String {
    let mut page = HEAD.to_owned();
    let steps: usize = files.iter().map(|file| file.script.steps.len()).sum();
    let _ = writeln!(page, "\n{} items, {steps} steps in {} files.", proofs.len(), files.len());
    for (kind, title) in KINDS {
        let of_kind = proofs.iter().filter_map(|(item, proofs)| {
            Some((item.strip_prefix(kind)?.strip_prefix(' ')?, proofs))
        });
        let _ = write!(page, "\n## {title}\n\n| {kind} | proved by |\n|---|---|\n");
        for (item, proofs) in of_kind {
            let _ = writeln!(page, "| {} | {} |", cell(item), named(proofs));
        }
    }
    page.push_str("\n## Where we differ on purpose\n\n| step | reason |\n|---|---|\n");
    for file in files {
        for step in &file.script.steps {
            page.push_str(&difference(file, step).unwrap_or_default());
        }
    }
    page
}

/// A step where we differ from stock, and why.
fn difference(file: &Read, step: &Step) -> Option<String> {
    let why = step.why.as_ref()?;
    let name = file.name.trim_end_matches(".steps");
    let step = link(&format!("{name}: {}", step.title), &file.path());
    let words =
        if why.words.is_empty() { String::new() } else { format!("{}: ", cell(&why.words)) };
    Some(format!("| {step} | {words}{} |\n", link(&why.page, &why.page)))
}

/// The first proofs, and how many more there are.
fn named(proofs: &[String]) -> String {
    let shown: Vec<&str> = proofs.iter().take(NAMED).map(String::as_str).collect();
    let more = proofs.len().saturating_sub(NAMED);
    let text = shown.join(" · ");
    if more > 0 { format!("{text} · {more} more") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_is_not_there_is_named() {
        assert_eq!(
            missing("i", "xtask/src/compat/table.rs::a_proof_that_is_not_there_is_named"),
            None
        );
        assert_eq!(missing("i", "xtask/src/compat/table.rs"), None);
        assert!(missing("i", "xtask/src/compat/table.rs::nobody").is_some());
        assert!(missing("i", "xtask/src/nowhere.rs").is_some());
    }

    #[test]
    fn many_proofs_are_counted() {
        let proofs: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(named(&proofs), "a · b · c · 2 more");
        assert_eq!(named(&proofs[..2]), "a · b");
    }

    #[test]
    fn a_cell_is_kept_closed() {
        assert_eq!(cell("a|b <c>"), "a\\|b &lt;c>");
    }
}
