//! The options that programs take, as their sources say, and whether their pages name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::tally::Trouble;

/// What a program takes: letters, and words.
pub(super) type Options = BTreeSet<String>;

/// The options of every program of these tables that takes any.
pub(super) fn all(tables: &[&str]) -> Result<BTreeMap<String, Options>, Trouble> {
    let mut all = BTreeMap::new();
    for table in tables {
        let path = crate::root().join(table);
        let text = fs::read_to_string(&path).map_err(|e| format!("{table}: {e}"))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        for (name, function) in functions(&text) {
            let mut options = Options::new();
            for file in files(dir, &function) {
                let text =
                    fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
                options.extend(in_source(&text));
            }
            if !options.is_empty() {
                all.insert(name, options);
            }
        }
    }
    Ok(all)
}

/// The programs of a table, with the function that each one is.
fn functions(text: &str) -> Vec<(String, String)> {
    let entries = text.split("name: \"").skip(1);
    let entries = entries.filter_map(|entry| {
        let (name, rest) = entry.split_once('"')?;
        let function = rest.split_once("main: ")?.1.split([',', ' ', '}']).next()?;
        Some((name.to_owned(), function.trim().to_owned()))
    });
    entries.collect()
}

/// The sources of a function's module: one file, or all in its directory.
fn files(dir: &Path, function: &str) -> Vec<PathBuf> {
    let Some((modules, _)) = function.rsplit_once("::") else { return Vec::new() };
    let path = dir.join(modules.replace("::", "/"));
    let file = path.with_extension("rs");
    let mut files: Vec<PathBuf> = Some(file).into_iter().filter(|file| file.is_file()).collect();
    let below = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
    files.extend(below.filter(|file| file.extension().is_some_and(|end| end == "rs")));
    files
}

/// What stands between the quotes of `getopt(args, "…")`, of `LETTERS: &str = "…"`, and words that
/// are compared with `"--…"`. Tests are no program.
fn in_source(text: &str) -> Options {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    let quoted = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
    let calls = text.split("getopt(args, \"").skip(1).map(quoted);
    let consts = text.split("LETTERS: &str = \"").skip(1).map(quoted);
    let letters = calls.chain(consts).collect::<Vec<_>>().concat();
    let letters = letters.chars().filter(|c| *c != ':').map(|c| c.to_string());
    let words = text.split("== \"--").skip(1).map(|rest| format!("-{}", quoted(rest)));
    letters.chain(words).collect()
}

/// The options that a page does not name, in a sentence.
pub(super) fn missing(name: &str, options: &Options, page: &str) -> Option<String> {
    let named = named(page);
    let missing: Vec<&str> =
        options.iter().filter(|option| !named.contains(*option)).map(String::as_str).collect();
    let missing = missing.join(", -");
    (!missing.is_empty()).then(|| format!("the page of {name} does not name -{missing}"))
}

/// What follows the macro `Fl` in a page: a word, or letters.
fn named(page: &str) -> Options {
    let mut named = Options::new();
    for line in page.lines().filter(|line| line.starts_with('.')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = words.windows(2).filter_map(|pair| match pair {
            [macro_, word] if macro_.trim_start_matches('.') == "Fl" => Some(*word),
            _ => None,
        });
        for word in after {
            if word.starts_with('-') {
                named.insert(word.to_owned());
            } else {
                named.extend(word.chars().map(|letter| letter.to_string()));
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_words_are_found_in_a_source() {
        let text = "getopt(args, \"ab:\")?; const LETTERS: &str = \"c\"; if arg == \"--check\" {}\n\
            #[cfg(test)]\ngetopt(args, \"z\")";
        let found: Vec<String> = in_source(text).into_iter().collect();
        assert_eq!(found, ["-check", "a", "b", "c"]);
    }

    #[test]
    fn a_page_names_what_follows_fl() {
        let page = ".Op Fl ab\n.It Fl c Ar bytes , Fl -check\nFl z is text\n";
        let options = |letters: &[&str]| letters.iter().map(|l| (*l).to_owned()).collect();
        assert_eq!(missing("x", &options(&["a", "b", "c", "-check"]), page), None);
        let said = missing("x", &options(&["a", "z"]), page);
        assert_eq!(said.as_deref(), Some("the page of x does not name -z"));
    }

    #[test]
    fn a_program_is_the_module_of_its_function() {
        let text = "P { name: \"a\", sentence: \"x\", main: a::main },\nP {\n name: \"b\",\n main: c::d::b,\n}";
        let of = |name: &str, function: &str| (name.to_owned(), function.to_owned());
        assert_eq!(functions(text), [of("a", "a::main"), of("b", "c::d::b")]);
    }
}
