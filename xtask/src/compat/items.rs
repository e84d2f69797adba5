//! What has to be proved: the lists in `tests/compat/items/`. Pure.

use std::collections::BTreeMap;

/// What an item is about, by its first word, in the order of the table.
pub(crate) const KINDS: [(&str, &str); 7] = [
    ("program", "Programs"),
    ("option", "Options"),
    ("control", "Control files"),
    ("environment", "Environment variables"),
    ("exit", "Exit codes"),
    ("log", "Log lines"),
    ("message", "Messages"),
];

/// Every item with what proves it, besides steps.
pub(crate) type Items = BTreeMap<String, Vec<String>>;

/// Adds one list's items.
///
/// # Errors
/// The first line that is no item: its number, from 1, and why.
pub(crate) fn add(items: &mut Items, text: &str) -> Result<(), (usize, String)> {
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (item, proof) = split(line.trim_end());
        let kind = item.split(' ').next().unwrap_or_default();
        if !KINDS.iter().any(|(word, _)| *word == kind) || item == kind {
            return Err((number, format!("{item} is no item")));
        }
        let proofs = items.entry(item.to_owned()).or_default();
        if let Some(proof) = proof.filter(|proof| !proofs.iter().any(|known| known == proof)) {
            proofs.push(proof.to_owned());
        }
    }
    Ok(())
}

/// An item and what proves it: a path behind the last ` = `, if it is one.
fn split(line: &str) -> (&str, Option<&str>) {
    match line.rsplit_once(" = ") {
        Some((item, proof)) if proof.contains('/') && !proof.contains(' ') => (item, Some(proof)),
        _ => (line, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_told_from_their_proofs() {
        let mut items = Items::new();
        let text = "# x\nprogram a\noption a -x = crates/a.rs::t\n\noption a -x = crates/a.rs::u\nmessage a b = c\n";
        add(&mut items, text).unwrap();
        let told: Vec<(&str, usize)> = items.iter().map(|(k, v)| (&**k, v.len())).collect();
        assert_eq!(told, [("message a b = c", 0), ("option a -x", 2), ("program a", 0)]);
    }

    #[test]
    fn what_is_no_item_is_named() {
        assert_eq!(add(&mut Items::new(), "program a\nprogramme b\n").unwrap_err().0, 2);
        assert_eq!(add(&mut Items::new(), "control\n").unwrap_err().0, 1);
    }
}
