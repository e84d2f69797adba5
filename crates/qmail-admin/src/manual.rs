//! The part of qmailctl(8) that this program knows itself: its commands, their operands and options.
//! `cargo xtask man --write` puts it into the page; a test holds the page against it.

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};

use crate::print::lines;
use crate::{Args, Trouble};

/// Commands whose own commands have a page of their own, and that page.
const ELSEWHERE: [(&str, &str); 2] = [("queue", "qmail-move 7"), ("selftest", "qmail-powercut 7")];

/// Where the part stands in the page.
const BEGIN: &str = ".\\\" The commands, from the program's own table: cargo xtask man --write\n";
/// Columns of a line.
const WIDTH: usize = 80;
/// Where it ends.
const END: &str = ".\\\" The end of the table.\n";

/// Prints the part.
pub(crate) fn print() -> Result<(), Trouble> {
    lines(format_args!("{}", part().trim_end()))
}

/// The part, from its first line to its last.
fn part() -> String {
    let mut out = String::from(BEGIN);
    out.push_str(".Bl -tag -width Ds\n");
    commands(&mut out, &Args::command(), "");
    out.push_str(".El\n");
    out.push_str(END);
    out
}

/// Every command below this one that does something itself.
fn commands(out: &mut String, command: &Command, before: &str) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let name = format!("{before}{}", below.get_name());
        let has_own = !below.is_subcommand_required_set();
        if has_own {
            entry(out, below, before);
        }
        match ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
            Some((_, page)) => {
                out.push_str(&format!(".It Cm {name} Ar command ...\nsee\n.Xr {page}\n"));
            }
            None => commands(out, below, &format!("{name} ")),
        }
    }
}

/// One command: its line, what it does, what its options do.
fn entry(out: &mut String, command: &Command, before: &str) {
    let names = std::iter::once(command.get_name()).chain(command.get_visible_aliases());
    let names: Vec<String> = names.map(|name| format!("Cm {before}{name}")).collect();
    out.push_str(&format!(".It {}", names.join(" , ")));
    for operand in command.get_positionals() {
        out.push_str(&shown(operand));
    }
    out.push('\n');
    sentence(out, command.get_about());
    let options = command.get_arguments().filter(|o| o.get_long().is_some() && !o.is_global_set());
    for option in options.filter(|option| !option.is_hide_set()) {
        let long = option.get_long().unwrap_or_default();
        let value =
            if option.get_action().takes_values() { argument(option) } else { String::new() };
        out.push_str(&format!(".Fl -{long}{value} :\n"));
        sentence(out, option.get_help());
    }
}

/// An operand on a command's line.
fn shown(operand: &Arg) -> String {
    let words = operand.get_possible_values();
    let text = if words.is_empty() {
        argument(operand)
    } else {
        let words: Vec<String> = words.iter().map(|v| format!("Cm {}", v.get_name())).collect();
        format!(" {}", words.join(" | "))
    };
    if operand.is_required_set() { text } else { format!(" Oo{text} Oc") }
}

/// What an argument is called, in small letters.
fn argument(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let one = |name: &str| match name.to_lowercase() {
        // A word said as it is, not a name for one.
        _ if name == name.to_lowercase() && names.len() > 1 => format!(" Cm {name}"),
        name => format!(" Ar {name}"),
    };
    names.iter().map(|name| one(name)).collect()
}

/// The first paragraph of a text as a sentence, in lines of a page's width.
fn sentence(out: &mut String, text: Option<&StyledStr>) {
    let text = text.map(ToString::to_string).unwrap_or_default();
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\\', "\\e");
    let mut width = 0;
    for word in paragraph.split_whitespace() {
        if width > 0 && width + word.len() < WIDTH {
            out.push(' ');
            width += 1;
        } else {
            // What begins a line with one of these would be a macro.
            let guard = if word.starts_with(['.', '\'']) { "\\&" } else { "" };
            out.push_str(if width > 0 { "\n" } else { "" });
            out.push_str(guard);
            width = 0;
        }
        out.push_str(word);
        width += word.len();
    }
    out.push_str(".\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_table_as_it_is() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man/qmailctl.8");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&part()), "man/qmailctl.8 is old: cargo xtask man --write");
    }

    #[test]
    fn every_command_has_its_line_with_operands_and_options() {
        let part = part();
        for line in [
            ".It Cm doqueue , Cm alrm , Cm flush\n",
            ".It Cm user add Ar address\n",
            ".It Cm pause Oo Ar domain Oc Oo Cm for Ar duration Oc\n",
            ".It Cm completions Cm bash | Cm fish | Cm zsh\n",
            ".Fl -host Ar name :\n",
        ] {
            assert!(part.contains(line), "{line}{part}");
        }
        assert!(!part.contains("Cm complete\n") && !part.contains("Cm user\n"));
    }

    #[test]
    fn a_page_of_its_own_names_every_command_and_option() {
        for (name, page) in ELSEWHERE {
            let file =
                format!("{}/../../man/{}", env!("CARGO_MANIFEST_DIR"), page.replace(' ', "."));
            let page = std::fs::read_to_string(file).unwrap();
            let table = Args::command();
            for below in table.find_subcommand(name).unwrap().get_subcommands() {
                assert!(page.contains(below.get_name()), "{name} {}", below.get_name());
                let options = below.get_arguments().filter(|option| !option.is_global_set());
                for long in options.filter_map(Arg::get_long) {
                    assert!(page.contains(&format!("Fl -{long}")), "{name} --{long}");
                }
            }
        }
    }
}
