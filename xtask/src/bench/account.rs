//! Medians, and a line of the table.

use super::what::Better;

/// The middle of some figures.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What one server did in one measurement, all rounds.
#[derive(Default)]
pub(super) struct Account {
    pub(super) figures: Vec<f64>,
    /// Flushes of the disk for each letter.
    pub(super) flushes: Vec<f64>,
}

impl Account {
    /// One line: name, median and range, and how much better `ours` is.
    pub(super) fn line(&self, name: &str, ours: f64, better: Better) -> String {
        let low = self.figures.iter().copied().fold(f64::MAX, f64::min);
        let high = self.figures.iter().copied().fold(0.0, f64::max);
        let middle = median(&self.figures);
        let digits = if middle < 100.0 { 2 } else { 0 };
        let ratio = if better == Better::More { ours / middle } else { middle / ours };
        let mut line = format!(
            "  {name:30} {middle:10.digits$} ({low:.digits$} to {high:.digits$})   {ratio:6.2}"
        );
        if !self.flushes.is_empty() {
            line.push_str(&format!("   {:.3} flushes a letter", median(&self.flushes)));
        }
        line
    }
}
