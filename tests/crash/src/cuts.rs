//! Which parts of what was not synced a power cut keeps.

/// All subsets are tried of up to this many parts.
const ALL_UP_TO: usize = 11;
/// Of more parts, this many subsets are drawn after the orderly ones.
const DRAWN: u64 = 256;

/// Subsets of `parts` parts, the most telling first, at most `cap` of them: none, all, every
/// prefix, one lost, one kept; then all the rest if they are few, else some drawn by lot (the same
/// ones every time).
pub(crate) fn cuts(parts: usize, cap: u64) -> Vec<Vec<bool>> {
    let cap = usize::try_from(cap.max(1)).unwrap_or(usize::MAX);
    let mut cuts: Vec<Vec<bool>> = vec![vec![false; parts]];
    if parts == 0 {
        return cuts;
    }
    cuts.push(vec![true; parts]);
    for edge in 1..parts {
        cuts.push((0..parts).map(|n| n < edge).collect());
    }
    for one in 0..parts {
        cuts.push((0..parts).map(|n| n != one).collect());
        cuts.push((0..parts).map(|n| n == one).collect());
    }
    if parts <= ALL_UP_TO {
        cuts.extend(
            (0..1_u32 << parts).map(|bits| (0..parts).map(|n| bits >> n & 1 == 1).collect()),
        );
    } else {
        let mut lot = Lot(parts as u64);
        cuts.extend((0..DRAWN).map(|_| (0..parts).map(|_| lot.draw() & 1 == 1).collect()));
    }
    let mut seen = std::collections::BTreeSet::new();
    cuts.retain(|cut| seen.insert(cut.clone()));
    cuts.truncate(cap);
    cuts
}

/// Numbers that look random and are always the same (xorshift).
#[derive(Clone, Debug)]
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    /// The next.
    pub(crate) fn draw(&mut self) -> u64 {
        let mut n = self.0 | 1 << 40;
        n ^= n << 13;
        n ^= n >> 7;
        n ^= n << 17;
        self.0 = n;
        n >> 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_parts_give_every_subset_once() {
        assert_eq!(cuts(0, 99).len(), 1);
        assert_eq!(cuts(3, 99).len(), 8);
        assert_eq!(cuts(3, 4).len(), 4);
        assert_eq!(cuts(3, 2), [vec![false; 3], vec![true; 3]]);
    }
}
