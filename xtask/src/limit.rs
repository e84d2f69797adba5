//! No part of a test run may hang the whole: every command has a limit, and so has the run.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sys::signal::{Signal, kill};
use yard::Yard;

use crate::tally::Trouble;

/// The longest that everything together may take; a slow and busy machine needs a good half of it.
const WHOLE: Duration = Duration::from_secs(85 * 60);
/// The longest that a command may take that is no part of a whole run.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks at a command.
const LOOK: Duration = Duration::from_millis(100);
/// Rounds of killing what a command has started: it may start more meanwhile.
const ROUNDS: usize = 20;

/// When the whole run ends at the latest, if there is a whole run.
static END: OnceLock<Instant> = OnceLock::new();

/// From now on everything together is limited.
pub(crate) fn begin() {
    END.get_or_init(|| Instant::now() + WHOLE);
}

/// What is left of the whole run's time; a day where no end was set.
pub(crate) fn left() -> Duration {
    END.get().map_or(DAY, |end| end.saturating_duration_since(Instant::now()))
}

/// Runs a command, `within` and what is left of the whole run at most; then it is killed with all that it
/// has started.
pub(crate) fn status(command: &mut Command, within: Duration) -> Result<ExitStatus, Trouble> {
    let name = format!("{:?}", command.get_program());
    let within = within.min(left());
    let mut child = command.spawn().map_err(|e| format!("{name}: {e}"))?;
    let until = Instant::now() + within;
    let mut pause = Duration::from_millis(1);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().map_err(|e| format!("{name}: {e}"))? {
            return Ok(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
    }
    end(&mut child);
    Err(format!("{name}: not done within {} s, and killed", within.as_secs()))
}

/// [`status`], and what the command wrote to its standard output. That goes to a file first: who is left
/// of a command that was killed may hold a pipe open for ever.
pub(crate) fn output(
    command: &mut Command,
    within: Duration,
) -> Result<(ExitStatus, String), Trouble> {
    let dir = Yard::made("qmail-rs-said").map_err(|e| e.to_string())?;
    let path = dir.join("said");
    let file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let status = status(command.stdout(file), within);
    let said = std::fs::read(&path).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    match status {
        Ok(status) => Ok((status, said)),
        Err(why) => {
            print!("{said}");
            Err(why)
        }
    }
}

/// Kills a process and all that descends from it.
fn end(child: &mut Child) {
    let mut all = BTreeSet::from([child.id()]);
    for _ in 0..ROUNDS {
        let before = all.len();
        // Stopped first, nobody starts anybody while the others are looked for.
        for &pid in &all {
            let _ = kill(pid, Signal::Stop);
        }
        extend(&mut all, &parents());
        if all.len() == before {
            break;
        }
    }
    for &pid in &all {
        let _ = kill(pid, Signal::Kill);
    }
    let _ = child.wait();
}

/// Adds the descendants of those that are in it.
fn extend(all: &mut BTreeSet<u32>, parents: &[(u32, u32)]) {
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| all.contains(parent) && !all.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return;
        }
        all.extend(more);
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_descends_is_found_over_generations() {
        let mut all = BTreeSet::from([10]);
        extend(&mut all, &[(13, 12), (12, 11), (11, 10), (20, 1), (21, 20)]);
        assert_eq!(all, BTreeSet::from([10, 11, 12, 13]));
    }

    /// Whether a process runs no more: who has died may wait as a zombie for whoever is to see it.
    fn is_over(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_with_its_children() {
        let yard = Yard::new("limit");
        let file = yard.join("pid");
        let mut shell = Command::new("sh");
        // A grandchild, whose name is there whole or not at all.
        let script =
            "sh -c 'echo $$ > \"$0.new\"; mv \"$0.new\" \"$0\"; sleep 1000; :' \"$0\" & wait";
        shell.args(["-c", script]).arg(&file);
        let why = status(&mut shell, Duration::from_secs(3)).unwrap_err();
        assert!(why.contains("not done within"), "{why}");
        let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !is_over(pid) {
            assert!(Instant::now() < until, "{pid} is still there");
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn a_command_that_ends_has_its_exit_status() {
        assert!(status(&mut Command::new("true"), Duration::from_secs(300)).unwrap().success());
    }
}
