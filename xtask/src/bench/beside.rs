//! Ours beside Debian's program, as a table: work in a second, processor time for it, how far ours is
//! ahead.

use super::account::median;
use crate::tally::Trouble;

/// One run.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Work done in a second.
    pub(super) rate: f64,
    /// Processor time for the same piece of work.
    pub(super) cpu: f64,
}

/// What stands behind the figures.
pub(super) struct Units {
    pub(super) rate: &'static str,
    pub(super) cpu: &'static str,
    /// Digits of the processor time behind the point.
    pub(super) digits: usize,
}

/// Whose program is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Debian,
}

/// Runs both in turns and prints what they did. `wanted` is what ours must at least be, measured in
/// the peer's.
pub(super) fn measure(
    title: &str,
    units: &Units,
    wanted: Option<f64>,
    rounds: usize,
    run: impl Fn(Whose) -> Result<Run, Trouble>,
) -> Result<(), Trouble> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(run(Whose::Ours)?);
        theirs.push(run(Whose::Debian)?);
    }
    println!("  {title}");
    println!("    {}", line("qmail-rs", units, &ours));
    println!("    {}", line("Debian", units, &theirs));
    println!("    {}", ratio(wanted, &ours, &theirs));
    Ok(())
}

/// The median of one figure.
fn middle(runs: &[Run], what: fn(&Run) -> f64) -> f64 {
    median(&runs.iter().map(what).collect::<Vec<_>>())
}

fn line(name: &str, units: &Units, runs: &[Run]) -> String {
    let all: Vec<_> = runs.iter().map(|run| format!("{:.0}", run.rate)).collect();
    let (rate, cpu) = (middle(runs, |run| run.rate), middle(runs, |run| run.cpu));
    let (all, digits) = (all.join(", "), units.digits);
    format!("{name:9} {rate:6.0}{} ({all}), {cpu:.digits$} {}", units.rate, units.cpu)
}

fn ratio(wanted: Option<f64>, ours: &[Run], theirs: &[Run]) -> String {
    let limit = wanted.map_or("no limit".to_owned(), |wanted| format!("limit {wanted}"));
    let of = |what: fn(&Run) -> f64| (middle(ours, what), middle(theirs, what));
    let ((our_rate, their_rate), (our_cpu, their_cpu)) = (of(|run| run.rate), of(|run| run.cpu));
    let (rate, cpu) = (our_rate / their_rate, their_cpu / our_cpu);
    format!("ratio {rate:.2} ({limit}); of processor time {cpu:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_round_and_the_ratio_that_of_the_medians() {
        let units = Units { rate: " MB/s", cpu: "s of processor a gigabyte", digits: 2 };
        let ours = [(300.0, 2.0), (90.0, 4.0), (200.0, 1.0)].map(|(rate, cpu)| Run { rate, cpu });
        let theirs = [Run { rate: 100.0, cpu: 5.0 }];
        let line = line("qmail-rs", &units, &ours);
        assert_eq!(line, "qmail-rs     200 MB/s (300, 90, 200), 2.00 s of processor a gigabyte");
        let wanted = "ratio 2.00 (limit 1.5); of processor time 2.50";
        assert_eq!(ratio(Some(1.5), &ours, &theirs), wanted);
        let wanted = "ratio 0.50 (no limit); of processor time 0.40";
        assert_eq!(ratio(None, &theirs, &ours), wanted);
    }
}
