//! What the fuzzers say, and what we say of it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::engine::Shift;

/// What a fuzzer's log tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Inputs tried.
    pub(super) executions: u64,
    /// Edges of the program's graph that were walked.
    pub(super) edges: u64,
    /// Inputs in the corpus.
    pub(super) corpus: u64,
}

impl Heard {
    /// Two starts of one target, one after the other.
    pub(super) fn and(&self, later: &Self) -> Self {
        Self {
            executions: self.executions + later.executions,
            edges: self.edges.max(later.edges),
            corpus: self.corpus.max(later.corpus),
        }
    }
}

/// Reads a log as far as it has been written.
pub(super) fn hear(log: &Path) -> Heard {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().fold(Heard::default(), |heard, line| listen(&heard, line))
}

/// One line: `#4096 pulse cov: 312 ft: 900 corp: 50/1Kb exec/s: 2048 rss: 40Mb`.
fn listen(heard: &Heard, line: &str) -> Heard {
    let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(['\t', ' ']))
    else {
        return heard.clone();
    };
    let Ok(executions) = number.trim_end_matches(':').parse() else { return heard.clone() };
    let after = |key: &str| {
        let value = rest.split_once(key)?.1.trim_start();
        let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        value.get(..end)?.parse().ok()
    };
    Heard {
        executions: heard.executions.max(executions),
        edges: after("cov: ").unwrap_or(heard.edges),
        corpus: after("corp: ").unwrap_or(heard.corpus),
    }
}

/// How one target stands.
pub(super) fn line(shift: &Shift) -> String {
    let all = shift.before.and(&shift.heard);
    let rate = all.executions / shift.took.as_secs().max(1);
    format!(
        "{:<12} {:>6} s  {:>12} inputs  {rate:>7}/s  {:>6} edges  {:>5} kept  {:>2} findings",
        shift.name,
        shift.took.as_secs(),
        all.executions,
        all.edges,
        all.corpus,
        shift.findings.len()
    )
}

/// The summary of a run.
pub(super) fn table(shifts: &[Shift], time: Duration) -> String {
    let mut text = format!("fuzzing, {time:?} for each target\n");
    for shift in shifts {
        let _ = writeln!(text, "{}", line(shift));
        if shift.starts > 1 {
            let _ = writeln!(text, "             started {} times", shift.starts);
        }
        for finding in &shift.findings {
            let _ = writeln!(text, "             {}", finding.display());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_writes_is_understood() {
        let log = "INFO: seed\n#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                   #4096\tpulse  cov: 312 ft: 900 corp: 50/1Kb exec/s: 2048 rss: 40Mb\nthread 'x'\n";
        let heard = log.lines().fold(Heard::default(), |heard, line| listen(&heard, line));
        assert_eq!(heard, Heard { executions: 4096, edges: 312, corpus: 50 });
        let both = heard.and(&Heard { executions: 4, edges: 9, corpus: 60 });
        assert_eq!(both, Heard { executions: 4100, edges: 312, corpus: 60 });
    }
}
