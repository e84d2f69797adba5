//! The budget of lines: a file over 500 lines (tests left out) is two rooms in one.

use std::path::{Path, PathBuf};

use crate::tally::{Ending, findings};

/// The most lines a source file may have before its tests begin.
const LINES: usize = 500;

/// Checks every source file under `crates/`, `tests/`, `xtask/` and `fuzz/`.
pub(crate) fn check() -> Ending {
    let mut files = Vec::new();
    for dir in ["crates", "tests", "xtask", "fuzz"] {
        collect(&crate::root().join(dir), &mut files);
    }
    let found: Vec<String> = files.iter().filter_map(|file| judge(file)).collect();
    if files.is_empty() { Ending::Failed("no source files found".into()) } else { findings(&found) }
}

/// All Rust files below a directory, but for test folders: tests may be long lists.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn judge(file: &Path) -> Option<String> {
    if file.file_name().is_some_and(|name| name == "tests.rs") {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let lines = text.lines().take_while(|line| line.trim_end() != "#[cfg(test)]").count();
    let unexplained = text.lines().any(|line| line.starts_with("#![allow(clippy::too_many_lines"));
    let shown = file.strip_prefix(crate::root()).unwrap_or(file).display();
    match (lines > LINES, unexplained) {
        (true, _) => {
            Some(format!("{shown}: {lines} lines before its tests, {LINES} is the budget"))
        }
        (_, true) => Some(format!("{shown}: lifts the function budget for a whole file")),
        _ => None,
    }
}
