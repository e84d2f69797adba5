//! A file of steps, read: what is done, and what is expected of it. Pure.
//!
//! The format is told in `tests/compat/README.md`, and what is added for the caretakers in
//! `tests/caretakers/README.md`.

use std::collections::HashSet;

use super::needs::Need;

/// What a stock line says when stock prints nothing where we print something.
const NOTHING: &str = "<nothing>";

/// One file of steps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// `@ running`: the mail system runs meanwhile.
    pub running: bool,
    /// `@ root`: only root can play it.
    pub root: bool,
    /// `@ net`: played in a network of its own, which only root can make.
    pub net: bool,
    /// `@ both`: needs the programs of the other side, in `$OTHER`.
    pub both: bool,
    /// `@ needs ipv6` and such: what the machine must have for the file.
    pub needs: Vec<Need>,
    /// `@ ours PAGE`: about what an original does not have, as the page says; not played against
    /// one.
    pub ours: Option<String>,
    /// In the order of the file.
    pub steps: Vec<Step>,
}

/// What a command is expected to show: each line as [`super::compare::shown`] writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Standard output.
    pub out: Vec<String>,
    /// Standard error.
    pub err: Vec<String>,
    /// The exit code; 128 and the signal's number for one that was killed.
    pub code: i32,
}

/// What stock shows, where we differ on purpose; what is not given is as ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    out: Option<Vec<String>>,
    err: Option<Vec<String>>,
    code: Option<i32>,
    /// `stock skip`: not to be played against an original.
    pub skip: bool,
}

/// One step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line of its title, from 1.
    pub line: usize,
    /// Its title, unique in the file.
    pub title: String,
    /// The items it proves.
    pub items: Vec<String>,
    /// What the machine must have for it.
    pub needs: Vec<Need>,
    /// For `/bin/sh`.
    pub command: String,
    /// What we are expected to show.
    pub expected: Expected,
    /// Where stock differs.
    pub stock: Stock,
    /// Why we differ.
    pub why: Option<Why>,
}

/// Why we differ from stock.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Why {
    /// The page that says so.
    pub page: String,
    /// The same in a few words; may be empty.
    pub words: String,
}

impl Step {
    /// What an original is expected to show.
    pub(crate) fn expected_of_stock(&self) -> Expected {
        let Stock { out, err, code, .. } = &self.stock;
        Expected {
            out: out.clone().unwrap_or_else(|| self.expected.out.clone()),
            err: err.clone().unwrap_or_else(|| self.expected.err.clone()),
            code: code.unwrap_or(self.expected.code),
        }
    }

    /// Whether we differ from stock on purpose here.
    pub(crate) fn differs(&self) -> bool {
        let Stock { out, err, code, skip } = &self.stock;
        out.is_some() || err.is_some() || code.is_some() || *skip
    }
}

/// A line that cannot be read: its number, from 1, and what is wrong.
pub(crate) type Slip = (usize, String);

/// Reads a file of steps.
///
/// # Errors
/// The first line that is none of the format's, and a step that is not whole.
pub(crate) fn parse(text: &str) -> Result<Script, Slip> {
    let mut script = Script::default();
    for (number, line) in (1..).zip(text.lines()) {
        read(&mut script, number, line).map_err(|why| (number, why))?;
    }
    let mut titles = HashSet::new();
    for step in &script.steps {
        whole(step).map_err(|why| (step.line, why))?;
        if !titles.insert(&step.title) {
            return Err((step.line, "another step of this file has this title".into()));
        }
    }
    Ok(script)
}

/// A step that can be played, and that says why where it differs.
fn whole(step: &Step) -> Result<(), String> {
    if step.command.is_empty() {
        return Err("the step has no command ($)".into());
    }
    match (step.differs(), &step.why) {
        (true, None) => Err("stock differs here: say why PAGE".into()),
        (false, Some(_)) => Err("why needs a stock line".into()),
        _ => Ok(()),
    }
}

/// Reads one line into the script.
fn read(script: &mut Script, number: usize, line: &str) -> Result<(), String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(title) = line.strip_prefix("== ") {
        let title = title.trim().to_owned();
        script.steps.push(Step { line: number, title, ..Step::default() });
        return Ok(());
    }
    if let Some(word) = line.strip_prefix("@ ") {
        return directive(script, word.trim());
    }
    let step = script.steps.last_mut().ok_or("a step begins with == TITLE")?;
    told(step, line)
}

/// What holds for the whole file.
fn directive(script: &mut Script, word: &str) -> Result<(), String> {
    if !script.steps.is_empty() {
        return Err("@ lines stand before the first step".into());
    }
    if let Some(need) = word.strip_prefix("needs ") {
        script.needs.push(Need::named(need.trim())?);
        return Ok(());
    }
    match (word, word.strip_prefix("ours ")) {
        ("running", _) => script.running = true,
        ("root", _) => script.root = true,
        ("net", _) => script.net = true,
        ("both", _) => script.both = true,
        (_, Some(page)) => script.ours = Some(page.trim().to_owned()),
        _ => return Err(format!("@ {word}: running, root, net, both, needs WHAT or ours PAGE")),
    }
    Ok(())
}

/// One line of a step.
fn told(step: &mut Step, line: &str) -> Result<(), String> {
    if let Some(stock) = line.strip_prefix("stock") {
        return stock_told(step, stock);
    }
    if let Some(need) = line.strip_prefix("needs ") {
        step.needs.push(Need::named(need.trim())?);
        return Ok(());
    }
    if let Some(page) = line.strip_prefix("why ") {
        let (page, words) = page.trim().split_once(' ').unwrap_or((page.trim(), ""));
        step.why = Some(Why { page: page.to_owned(), words: words.trim().to_owned() });
        return Ok(());
    }
    let mut chars = line.chars();
    let kind = chars.next().unwrap_or_default();
    let rest = chars.as_str();
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    match kind {
        '~' => step.items.push(text.trim().to_owned()),
        '$' | '>' => command(step, kind, text)?,
        '|' => step.expected.out.push(printable(text)),
        '!' => step.expected.err.push(printable(text)),
        '=' => step.expected.code = number(text)?,
        _ => return Err(format!("{kind} begins no line of a step")),
    }
    Ok(())
}

/// A `$` or `>` line.
fn command(step: &mut Step, kind: char, text: &str) -> Result<(), String> {
    if kind == '>' && step.command.is_empty() {
        return Err("> continues a command: begin it with $".into());
    }
    if step.expected != Expected::default() {
        return Err("another command needs a step of its own (== TITLE)".into());
    }
    if !step.command.is_empty() {
        step.command.push('\n');
    }
    step.command.push_str(text);
    Ok(())
}

/// What follows the word `stock`.
fn stock_told(step: &mut Step, line: &str) -> Result<(), String> {
    let stock = &mut step.stock;
    if line.trim() == "skip" {
        stock.skip = true;
        return Ok(());
    }
    let mut chars = line.chars();
    let kind = chars.next().unwrap_or_default();
    let rest = chars.as_str();
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    let lines = match kind {
        '|' => stock.out.get_or_insert_default(),
        '!' => stock.err.get_or_insert_default(),
        '=' => {
            stock.code = Some(number(text)?);
            return Ok(());
        }
        _ => return Err("stock|, stock!, stock= or stock skip".into()),
    };
    if text != NOTHING {
        lines.push(printable(text));
    }
    Ok(())
}

fn number(text: &str) -> Result<i32, String> {
    text.trim().parse().map_err(|_| format!("{text} is no exit code"))
}

/// A line of the file with what it could have been escaped as: tabs, and letters beyond ASCII.
fn printable(text: &str) -> String {
    let mut line = String::new();
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => line.push(byte.into()),
            _ => line.push_str(&format!("\\x{byte:02x}")),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# What this proves.
@ root
== one
~ program a
~ option a -x
$ cat <<E
> a  b
>
> E
| a\tb
|
! oops
= 100
stock| <nothing>
stock= 0
why docs/decisions/a.md it is better

== two
$ true
";

    #[test]
    fn a_file_is_read_as_it_is_meant() {
        let script = parse(FILE).unwrap();
        assert!(script.root && !script.running && script.ours.is_none());
        let [one, two] = &script.steps[..] else { panic!("two steps") };
        assert_eq!((one.line, &*one.title), (3, "one"));
        assert_eq!(one.items, ["program a", "option a -x"]);
        assert_eq!(one.command, "cat <<E\na  b\n\nE");
        assert_eq!(one.expected.out, ["a\\x09b", ""]);
        assert_eq!((&one.expected.err[..], one.expected.code), (&["oops".to_owned()][..], 100));
        let stock = one.expected_of_stock();
        assert_eq!((stock.out, stock.err, stock.code), (vec![], vec!["oops".into()], 0));
        assert_eq!(two.expected_of_stock(), Expected::default());
        assert!(one.differs() && !two.differs());
        let why = one.why.as_ref().map(|why| (&*why.page, &*why.words));
        assert_eq!(why, Some(("docs/decisions/a.md", "it is better")));
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_line() {
        let slips = [
            ("$ true", 1, "=="),
            ("== a\n$ true\n== a\n$ true", 3, "title"),
            ("== a\n", 1, "no command"),
            ("== a\n$ true\nstock= 1", 1, "why"),
            ("== a\n$ true\nwhy x", 1, "stock"),
            ("== a\n$ true\n| x\n$ false", 4, "step of its own"),
            ("== a\n> true", 2, "$"),
            ("== a\n$ true\n= x", 3, "exit code"),
            ("== a\n$ true\n@ root", 3, "before"),
            ("@ rooot", 1, "root"),
            ("@ ours", 1, "PAGE"),
            ("@ needs a moon", 1, "ipv6"),
            ("== a\nneeds ipv7\n$ true", 2, "ipv6"),
            ("== a\n$ true\n% x", 3, "%"),
        ];
        for (text, line, word) in slips {
            let (at, why) = parse(text).unwrap_err();
            assert!(at == line && why.contains(word), "{text:?}: {at}: {why}");
        }
    }
}
