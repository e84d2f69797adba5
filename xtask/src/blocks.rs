//! Power cuts on real file systems: the real programs on a disk that keeps every write, which
//! `qmailctl selftest powercut` cuts short; here it is told which file systems and how often.

use std::process::Command;
use std::time::Duration;

use crate::tally::{Ending, Tally, Trouble};
use crate::{build, host, limit};

/// A file system: its name, arguments of mkfs, and its share of the states in percent.
const KINDS: [(&str, &str, u32); 4] =
    [("ext4", "", 35), ("ext4", "-O ^has_journal", 25), ("xfs", "", 20), ("btrfs", "", 20)];
/// Cuts after which the programs record a fresh run, so that not all cuts are of one run.
const STATES_A_RUN: u32 = 100;
/// How long that many may take.
const CUTS: Duration = Duration::from_secs(1_800);

/// Tries about `states` cuts, shared by the file systems; none may lose, tear or double what was
/// acknowledged before it.
pub(crate) fn rehearse(tally: &mut Tally, states: u32) {
    if sys::user::euid() != 0 {
        return tally
            .check("power cuts on blocks", || Ending::Skipped("only root can mount".into()));
    }
    host::prepare(host::BLOCKS);
    let yard = match Yard::new() {
        Ok(yard) => yard,
        Err(why) => return tally.check("power cuts on blocks", || Ending::Failed(why)),
    };
    let mut total = 0;
    for (fs, mkfs, percent) in KINDS {
        let name = format!("power cuts on {fs} {mkfs}");
        tally.check(name.trim_end(), || match yard.cuts(fs, mkfs, states * percent / 100) {
            Ok(sum) => {
                println!("{fs} {mkfs}: {sum}");
                total += sum.states;
                if sum.bad == 0 { Ending::Passed } else { Ending::Failed(sum.to_string()) }
            }
            Err(Refusal::CannotBe(why)) => Ending::Skipped(why),
            Err(Refusal::Broke(why)) => Ending::Failed(why),
        });
    }
    println!("all file systems: {total} states");
}

/// Why there is no count.
enum Refusal {
    CannotBe(String),
    Broke(String),
}

/// What several runs found, in the words of their last lines.
#[derive(Default)]
struct Sum {
    states: u32,
    bad: u32,
    words: Vec<(u32, String)>,
}

impl Sum {
    /// Adds a line `KIND: 100 states, 0 lost, 2 torn, …`; of its counts only the first and
    /// what is allowed may be other than 0.
    fn add(&mut self, line: &str) -> Option<()> {
        let (_, counts) = line.rsplit_once(": ")?;
        for count in counts.split(", ") {
            let (number, word) = count.split_once(' ')?;
            let number: u32 = number.parse().ok()?;
            match word {
                "states" => self.states += number,
                "delivered again after deletion" | "in lost+found" => {}
                _ => self.bad += number,
            }
            match self.words.iter_mut().find(|(_, known)| known == word) {
                Some((sum, _)) => *sum += number,
                None => self.words.push((number, word.into())),
            }
        }
        Some(())
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.words.iter().map(|(n, word)| format!("{n} {word}")).collect();
        f.write_str(&words.join(", "))
    }
}

/// Where the programs lie; it goes with the run.
struct Yard(yard::Yard);

impl Yard {
    fn new() -> Result<Self, Trouble> {
        let binaries = build::release()?;
        let yard = Self(yard::Yard::made("qmail-rs-blocks").map_err(|e| e.to_string())?);
        build::install(&binaries, &yard.0)?;
        Ok(yard)
    }

    /// Runs the self-test until it has tried `states` cuts on this file system.
    fn cuts(&self, fs: &str, mkfs: &str, states: u32) -> Result<Sum, Refusal> {
        let mut sum = Sum::default();
        while sum.states < states {
            let part = (states - sum.states).min(STATES_A_RUN).to_string();
            let seed = (sum.states + 1).to_string();
            let mut test = Command::new(self.0.join("qmail-admin"));
            test.args(["qmailctl", "selftest", "powercut"]).arg(&*self.0);
            test.args(["--like", fs, "--mkfs", mkfs, "--states", &part, "--seed", &seed]);
            let last = last_line(&mut test).map_err(Refusal::Broke)?;
            if let Some(why) = last.strip_prefix("not tried: ") {
                return Err(Refusal::CannotBe(why.into()));
            }
            sum.add(&last).ok_or_else(|| Refusal::Broke(format!("no count: {last}")))?;
        }
        Ok(sum)
    }
}

/// Runs a command, shows what it says but its last line, and returns that.
fn last_line(command: &mut Command) -> Result<String, Trouble> {
    let (status, said) = limit::output(command, CUTS)?;
    let (before, last) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    if !before.is_empty() {
        println!("{before}");
    }
    match last.is_empty() {
        true => Err(format!("the self-test said nothing: {status}")),
        false => Ok(last.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn the_last_lines_of_the_self_test_are_added_up() {
        let mut sum = Sum::default();
        let line = "ext4 -O ^has_journal: 30 states, 0 lost, 2 delivered again after deletion";
        assert_eq!((sum.add(line), sum.add(line)), (Some(()), Some(())));
        assert_eq!((sum.states, sum.bad), (60, 0));
        assert_eq!(sum.add("xfs: 1 states, 2 lost"), Some(()));
        assert_eq!((sum.states, sum.bad), (61, 2));
        assert_eq!(sum.add("no count"), None);
    }
}
