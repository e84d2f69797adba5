//! Several programs in one binary: which of them it is called as.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

/// A program of a binary.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its one sentence, as in its manual.
    pub sentence: &'static str,
    /// Its arguments, name first, to its exit code.
    pub main: fn(&[OsString]) -> i32,
}

/// Runs the program this process is called as, or else the one its first argument names, and ends
/// with its exit code. Without either it lists the programs: exit code 100 as for any misuse, 0 if
/// `help` or `--help` was asked for. `--version` is answered with the version.
pub fn run(programs: &[Program]) -> ! {
    let args: Vec<OsString> = std::env::args_os().collect();
    let code = match find(programs, &args) {
        Some((program, args)) => (program.main)(args),
        None => other(programs, &args),
    };
    std::process::exit(code)
}

/// What is said to a word that is no program's name, and the exit code.
fn other(programs: &[Program], args: &[OsString]) -> i32 {
    let name = args.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().display();
    match args.get(1).and_then(|word| word.to_str()) {
        Some("help" | "--help") => list(programs),
        Some("--version") => {
            let _ = writeln!(std::io::stdout(), "{name} {}", env!("CARGO_PKG_VERSION"));
        }
        _ => {
            let _ = writeln!(std::io::stderr(), "{name}: usage: {name} program [ argument ... ]");
            list(programs);
            return 100;
        }
    }
    0
}

/// The program that the first or the second word names by its last component, and its arguments.
fn find<'a>(programs: &[Program], args: &'a [OsString]) -> Option<(Program, &'a [OsString])> {
    (0..=1).find_map(|skipped| {
        let args = args.get(skipped..)?;
        let name = Path::new(args.first()?).file_name()?;
        programs.iter().find(|program| name == program.name).map(|program| (*program, args))
    })
}

/// Prints the list; nobody is left to tell if that fails.
fn list(programs: &[Program]) {
    let mut out = std::io::stdout().lock();
    for Program { name, sentence, .. } in programs {
        let _ = writeln!(out, "{name:16} {sentence}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_link_or_by_the_first_argument() {
        let programs =
            ["a", "b"].map(|name| Program { name, sentence: "", main: |args| args.len() as i32 });
        let found = |words: &[&str]| {
            let args: Vec<OsString> = words.iter().map(OsString::from).collect();
            find(&programs, &args).map(|(program, args)| (program.name, (program.main)(args)))
        };
        assert_eq!(found(&["/home/bin/a", "b", "c"]), Some(("a", 3)));
        assert_eq!(found(&["/home/bin/all", "dir/b", "c"]), Some(("b", 2)));
        assert_eq!(found(&["all", "c", "a"]), None);
        assert_eq!(found(&["a/.."]), None);
        assert_eq!(found(&[]), None);
    }
}
