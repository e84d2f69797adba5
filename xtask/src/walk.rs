//! One letter's walk through ARCHITECTURE.md: every function it names must exist where it says.

use crate::tally::{Ending, findings};

/// The fewest steps that can still be called a letter's whole way.
const FEWEST: usize = 12;

/// Finds every `path/file.rs::name` in backquotes in ARCHITECTURE.md and looks for `fn name` there.
pub(crate) fn check() -> Ending {
    let text = match std::fs::read_to_string(crate::root().join("ARCHITECTURE.md")) {
        Ok(text) => text,
        Err(e) => return Ending::Failed(format!("ARCHITECTURE.md: {e}")),
    };
    let steps: Vec<(&str, &str)> =
        text.split('`').filter_map(|word| word.split_once(".rs::")).collect();
    let found: Vec<String> = steps.iter().filter_map(|(file, name)| look(file, name)).collect();
    println!("{} steps", steps.len());
    if steps.len() < FEWEST {
        return Ending::Failed(format!("only {} steps, expected {FEWEST} or more", steps.len()));
    }
    findings(&found)
}

fn look(file: &str, name: &str) -> Option<String> {
    let path = crate::root().join(format!("{file}.rs"));
    let function = name.rsplit("::").next().unwrap_or(name);
    match std::fs::read_to_string(&path) {
        Err(e) => Some(format!("{file}.rs: {e}")),
        Ok(text) if text.contains(&format!("fn {function}(")) => None,
        Ok(text) if text.contains(&format!("fn {function}<")) => None,
        Ok(_) => Some(format!("{file}.rs has no function {function}")),
    }
}
