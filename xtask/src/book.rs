//! The book in `docs/`: its table of contents names every page, and no link of any page in the
//! repository is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use clap::Args;

use crate::tally::{self, Ending, Trouble, findings};

/// Pages that lie outside the book and are read beside it.
const BESIDE: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "tests/compat/README.md",
    "tests/sessions/README.md",
];

/// The last part of the contents: a line for every page of decisions.
const DECISIONS: &str = "# Decisions\n\n";

/// Check the book, or write what is made of its pages.
#[derive(Args)]
pub(crate) struct Book {
    /// Write the list of decisions into the table of contents.
    #[arg(long)]
    write: bool,
}

impl Book {
    /// Writes, if that is wanted, and checks.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        if self.write {
            write()?;
        }
        tally::single("book", check)
    }
}

/// Puts the page of every decision, by its title, into the table of contents.
fn write() -> Result<(), Trouble> {
    let root = crate::root();
    let summary = root.join("docs/SUMMARY.md");
    let text = std::fs::read_to_string(&summary).map_err(|e| format!("docs/SUMMARY.md: {e}"))?;
    let (before, _) =
        text.split_once(DECISIONS).ok_or("docs/SUMMARY.md has no part for decisions")?;
    let mut files = Vec::new();
    collect(&root, Path::new("docs/decisions"), &mut files);
    files.sort();
    let mut text = format!("{before}{DECISIONS}");
    for file in files {
        let page = std::fs::read_to_string(root.join(&file)).unwrap_or_default();
        let title = page.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("- [{title}](decisions/{name})\n"));
    }
    std::fs::write(&summary, text).map_err(|e| format!("docs/SUMMARY.md: {e}"))
}

/// The text of each page, by its path in the repository.
type Pages = BTreeMap<PathBuf, String>;

/// Holds the table of contents against the pages, and every link against what is there.
pub(crate) fn check() -> Ending {
    let root = crate::root();
    let mut files = BESIDE.map(PathBuf::from).to_vec();
    collect(&root, Path::new("docs"), &mut files);
    let read = |file: PathBuf| Some((file.clone(), std::fs::read_to_string(root.join(file)).ok()?));
    let pages: Pages = files.into_iter().filter_map(read).collect();
    let exists = |path: &Path| root.join(path).exists();
    let mut found = contents(&pages);
    let mut links = 0_usize;
    for (file, text) in &pages {
        for target in targets(text) {
            links = links.saturating_add(1);
            found.extend(dead(file, &target, &pages, exists));
        }
    }
    println!("{} pages, {links} links", pages.len());
    findings(&found)
}

/// Every page below a directory.
fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
        let path = dir.join(entry.file_name());
        if root.join(&path).is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|end| end == "md") {
            files.push(path);
        }
    }
}

/// What is wrong with the table of contents: a page it does not name, or names twice.
fn contents(pages: &Pages) -> Vec<String> {
    let summary = Path::new("docs/SUMMARY.md");
    let Some(text) = pages.get(summary) else { return vec!["there is no docs/SUMMARY.md".into()] };
    let mut named = BTreeSet::new();
    let mut found = Vec::new();
    for target in targets(text).into_iter().filter(|target| !target.is_empty()) {
        if !named.insert(joined(summary, &target)) {
            found.push(format!("docs/SUMMARY.md names {target} twice"));
        }
    }
    let book = pages.keys().filter(|page| page.starts_with("docs") && *page != summary);
    let unnamed = book.filter(|page| !named.contains(*page));
    found.extend(unnamed.map(|page| {
        format!("docs/SUMMARY.md does not name {} (cargo xtask book --write)", page.display())
    }));
    found
}

/// Where the links of a text lead. Code is no text.
fn targets(text: &str) -> Vec<String> {
    let (mut targets, mut fenced) = (Vec::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            let prose: String = line.split('`').step_by(2).collect();
            let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            targets.extend(links.map(str::to_owned));
        }
    }
    targets
}

/// What is wrong with a link of a page.
fn dead(
    file: &Path,
    target: &str,
    pages: &Pages,
    exists: impl Fn(&Path) -> bool,
) -> Option<String> {
    // Other people's pages may come and go; a chapter may be a heading only.
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, place) = target.split_once('#').unwrap_or((target, ""));
    let to = if path.is_empty() { file.to_owned() } else { joined(file, path) };
    let shown = file.display();
    if !exists(&to) {
        return Some(format!("{shown} leads to {target}, which is not there"));
    }
    let text = pages.get(&to).filter(|_| !place.is_empty())?;
    let has = text.lines().filter_map(heading).any(|heading| heading == place);
    (!has).then(|| format!("{shown} leads to {target}: {} has no such heading", to.display()))
}

/// A path as a page means it, without `..`.
fn joined(page: &Path, path: &str) -> PathBuf {
    let mut joined = page.parent().map(PathBuf::from).unwrap_or_default();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                joined.pop();
            }
            Component::CurDir => {}
            part => joined.push(part),
        }
    }
    joined
}

/// The name by which a heading's line can be led to.
fn heading(line: &str) -> Option<String> {
    let text = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let name = text.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    Some(name.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(texts: &[(&str, &str)]) -> Pages {
        texts.iter().map(|(file, text)| ((*file).into(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_page_without_a_place_in_the_contents_is_named() {
        let all = pages(&[
            ("docs/SUMMARY.md", "- [A](a.md)\n- [Heading]()\n  - [B](x/b.md)\n"),
            ("docs/a.md", ""),
            ("docs/x/b.md", ""),
            ("README.md", ""),
        ]);
        assert_eq!(contents(&all), [""; 0]);
        let mut more = all;
        more.insert("docs/c.md".into(), String::new());
        assert_eq!(
            contents(&more),
            ["docs/SUMMARY.md does not name docs/c.md (cargo xtask book --write)"]
        );
        let twice = pages(&[("docs/SUMMARY.md", "[a](a.md) [b](./a.md)"), ("docs/a.md", "")]);
        assert_eq!(contents(&twice), ["docs/SUMMARY.md names ./a.md twice"]);
    }

    #[test]
    fn links_are_read_outside_of_code() {
        let text =
            "see [a](a.md) and [b](b.md#x), `[no](no.md)`\n```\n[no](no.md)\n```\n    [no](no)\n";
        assert_eq!(targets(text), ["a.md", "b.md#x"]);
    }

    #[test]
    fn a_link_leads_to_a_file_and_a_heading() {
        let all = pages(&[("docs/a.md", "# A, or B?\n"), ("docs/x/b.md", "")]);
        let from = Path::new("docs/x/b.md");
        let dead = |target: &str| dead(from, target, &all, |path| all.contains_key(path)).is_some();
        let good = ["../a.md", "../a.md#a-or-b", "", "https://example.org/", "#"];
        assert_eq!(good.map(dead), [false; 5]);
        assert_eq!(["a.md", "../a.md#b", "#nowhere", "../../a.md"].map(dead), [true; 4]);
    }
}
