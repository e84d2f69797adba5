//! The control files that programs read, as their sources say, and whether the manual names them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What stands before a control file's name where one is read (`store::control::Control`).
const READS: [&str; 8] = [
    "control.int(\"",
    "control.line(\"",
    "control.line_or_me(\"",
    "control.list(\"",
    "control.map(\"",
    "control.rows(\"",
    "control.set(\"",
    "Control::new(home).line(\"",
];

/// The names that sources below a directory read.
pub(super) fn read_below(dir: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("tests") {
            names.extend(read_below(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            names.extend(fs::read_to_string(&path).iter().flat_map(|text| in_source(text)));
        }
    }
    names
}

/// The names in one source, its tests left out.
fn in_source(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or(text);
    let after = READS.iter().flat_map(|read| text.split(read).skip(1));
    after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

/// What the manual of the control files does not name.
pub(super) fn missing(names: &BTreeSet<String>, manual: &str) -> Vec<String> {
    let items = manual.lines().filter_map(|line| line.strip_prefix(".It Pa "));
    let named: BTreeSet<&str> = items.flat_map(str::split_whitespace).collect();
    let missing = names.iter().filter(|name| !named.contains(name.as_str()));
    missing.map(|name| format!("man/qmail-control.5 does not name {name}, which is read")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_reads_must_be_in_the_manual() {
        let text = "control.int(\"databytes\", 0)?; let c = Control::new(home).line(\"nonsense\");\n\
            voice.line(\"fatal\");\n#[cfg(test)]\ncontrol.map(\"x\")";
        let names = in_source(text);
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["databytes", "nonsense"]);
        let said = missing(&names, ".It Pa locals , databytes Pq number; 0\n");
        assert_eq!(said, ["man/qmail-control.5 does not name nonsense, which is read"]);
    }
}
