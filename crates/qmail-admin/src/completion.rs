//! What a shell may put where the cursor is: asked of this program at each press of the key, so that
//! it knows the table of commands as it is, and the domains and accounts there are.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory, ValueEnum};
use store::home::Home;

use crate::print::say;
use crate::{Args, Trouble, accounts, assign, domains, pauses};

/// Candidates shown at most.
const MOST: usize = 1000;

/// A shell that can be taught.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    /// bash.
    Bash,
    /// fish.
    Fish,
    /// zsh.
    Zsh,
}

/// What each shell does: it gives the words up to the cursor to `qmailctl complete`, and gets lines of
/// a candidate, a tab and what it means.
impl Shell {
    fn script(self) -> &'static str {
        match self {
            // bash takes an at for the end of a word: so the words are taken from the line itself, and
            // of an address only what follows the at is given back.
            Self::Bash => {
                "_qmailctl() {\n    \
                    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} words last\n    \
                    IFS=' ' read -ra words <<< \"$line\"\n    \
                    [[ $line == *' ' ]] && words+=('')\n    \
                    last=${words[-1]}\n    \
                    COMPREPLY=($(\"${words[0]}\" complete -- \"${words[@]:1}\" 2>/dev/null | cut -f1))\n    \
                    if [[ $last == *@* && $COMP_WORDBREAKS == *@* ]]; then\n        \
                        COMPREPLY=(\"${COMPREPLY[@]#\"${last%@*}@\"}\")\n    \
                    fi\n\
                 }\n\
                 complete -o default -F _qmailctl qmailctl"
            }
            Self::Fish => {
                "function __qmailctl\n    \
                    set -l words (commandline -opc) (commandline -ct)\n    \
                    $words[1] complete -- $words[2..-1] 2>/dev/null\n\
                 end\n\
                 complete -c qmailctl -f -a '(__qmailctl)'"
            }
            Self::Zsh => {
                "#compdef qmailctl\n\
                 _qmailctl() {\n    \
                    local -a lines described\n    \
                    lines=(\"${(@f)$(${words[1]} complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n    \
                    described=(\"${(@)${(@)lines//:/\\\\:}/$'\\t'/:}\")\n    \
                    _describe qmailctl described || _files\n\
                 }\n\
                 if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then _qmailctl \"$@\"\n\
                 else compdef _qmailctl qmailctl; fi"
            }
        }
    }
}

/// Prints the script that teaches a shell.
pub(crate) fn teach(shell: Shell) -> Result<(), Trouble> {
    crate::print::lines(format_args!("{}", shell.script()))
}

/// Prints what can stand in the place of the last word.
pub(crate) fn complete(home: Option<&Home>, words: &[OsString]) -> Result<(), Trouble> {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    for (word, means) in candidates(&Args::command(), &words, |what| known(home, what)) {
        let means = means.split('\n').next().unwrap_or_default();
        say!("{word}\t{means}");
    }
    Ok(())
}

/// What an argument names, of which there is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Accounts.
    Address,
    /// Domains paused.
    Paused,
}

/// Candidates and what they mean.
type Candidates = Vec<(String, String)>;

/// Goes down the commands as far as the words lead, and tells what can stand in the place of the last.
fn candidates(
    table: &Command,
    words: &[String],
    known: impl Fn(Known) -> Vec<String>,
) -> Candidates {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let (mut command, mut path, mut operands) = (table, Vec::new(), 0);
    let mut before = before.iter();
    while let Some(word) = before.next() {
        if let Some(name) = word.strip_prefix("--") {
            // Its value is the next word, unless it comes in this one.
            let option = command.get_arguments().chain(table.get_arguments());
            let takes = option.filter(|o| o.get_long() == Some(name)).any(takes_value);
            if takes && before.next().is_none() {
                return Vec::new();
            }
        } else if let Some(below) = command.find_subcommand(word) {
            (command, operands) = (below, 0);
            path.push(below.get_name());
        } else {
            operands += 1;
        }
    }
    let mut all = if last.starts_with('-') {
        options(command, table)
    } else {
        let mut all = if operands == 0 { commands(command) } else { Vec::new() };
        all.extend(values(command, &path, operands, known));
        all
    };
    all.retain(|(word, _)| word.starts_with(last));
    all.truncate(MOST);
    all
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

fn options(command: &Command, table: &Command) -> Candidates {
    let global = table.get_arguments().filter(|option| option.is_global_set());
    let all = command.get_arguments().chain(global.filter(|_| command.get_name() != "qmailctl"));
    let named = all.filter(|option| !option.is_hide_set()).filter_map(|option| {
        Some((format!("--{}", option.get_long()?), first_line(option.get_help())))
    });
    named.collect()
}

fn commands(command: &Command) -> Candidates {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    let named = shown.flat_map(|below| {
        let names = std::iter::once(below.get_name()).chain(below.get_visible_aliases());
        names.map(|name| (name.to_owned(), first_line(below.get_about()))).collect::<Vec<_>>()
    });
    let help =
        (command.get_name() == "qmailctl").then(|| ("help".into(), "list the commands".into()));
    named.chain(help).collect()
}

/// What the operand in this place can be: one of a few words, or one of the things there are.
fn values(
    command: &Command,
    path: &[&str],
    operands: usize,
    known: impl Fn(Known) -> Vec<String>,
) -> Candidates {
    let Some(operand) = command.get_positionals().nth(operands) else { return Vec::new() };
    let words = operand.get_possible_values();
    let few = words.iter().map(|value| (value.get_name().to_owned(), first_line(value.get_help())));
    let many = match path {
        ["user", "password"] => known(Known::Address),
        ["resume"] => known(Known::Paused),
        _ => Vec::new(),
    };
    few.chain(many.into_iter().map(|value| (value, String::new()))).collect()
}

fn first_line(text: Option<&StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// What there is; nothing where it cannot be looked at: whoever presses a key wants no error.
fn known(home: Option<&Home>, what: Known) -> Vec<String> {
    let Some(home) = home else { return Vec::new() };
    match what {
        Known::Paused => {
            let paused = pauses::all(home).unwrap_or_default();
            paused.iter().map(|(domain, _)| String::from_utf8_lossy(domain).into_owned()).collect()
        }
        Known::Address => {
            let text = domains::read(&home.path("users/assign")).unwrap_or_default();
            let all = assign::exact(&text);
            all.map(|(local, dir)| accounts::address(home, local, dir)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let known = |what| vec![format!("{what:?}")];
        candidates(&Args::command(), &words, known).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn a_command_is_completed_at_every_level_of_the_table() {
        assert_eq!(told("sto"), ["stop"]);
        assert_eq!(told("fl"), ["flush"]);
        assert_eq!(told("user "), ["add", "password", "list"]);
        assert_eq!(told("queue rel"), ["release"]);
        assert_eq!(told("--home /q user a"), ["add"]);
        assert_eq!(told("--home "), [""; 0]);
        assert_eq!(told("nonsense "), [""; 0]);
        let all = told("");
        for shown in ["start", "stat", "setup", "selftest", "completions"] {
            assert!(all.iter().any(|word| word == shown), "{shown}: {all:?}");
        }
        assert!(!all.iter().any(|word| word == "complete"));
    }

    #[test]
    fn options_few_words_and_what_there_is_are_completed() {
        assert_eq!(told("stat --j"), ["--json"]);
        assert_eq!(told("queue forget ex"), ["exported"]);
        assert_eq!(told("user password "), ["Address"]);
        assert_eq!(told("resume "), ["Paused"]);
        assert_eq!(told("completions z"), ["zsh"]);
        assert_eq!(told("stat --ho"), ["--home"]);
    }
}
