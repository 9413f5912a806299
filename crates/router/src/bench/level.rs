//! How far chances are from what came of them.

use serde::Serialize;

const BINS: usize = 10;

/// A tier's calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// Prompts with an outcome.
    pub prompts: usize,
    /// The mean chance, and the share that was right.
    pub expected: f64,
    /// See `expected`.
    pub right: f64,
    /// The expected calibration error: how far chance and share are apart in ten bins of equal width, by their prompts.
    pub error: f64,
}

pub(super) fn level(outcomes: &[(f64, bool)]) -> Option<Level> {
    let mut bins = [(0.0, 0.0); BINS];
    for (chance, right) in outcomes {
        let bin = &mut bins[((chance * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += chance;
        bin.1 += f64::from(u8::from(*right));
    }
    let prompts = outcomes.len();
    let mean = |sum: f64| sum / prompts as f64;
    let sum = |of: fn(&(f64, f64)) -> f64| mean(bins.iter().map(of).sum());
    (prompts > 0).then(|| Level {
        prompts,
        expected: sum(|bin| bin.0),
        right: sum(|bin| bin.1),
        error: sum(|bin| (bin.0 - bin.1).abs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_how_far_chance_and_share_are_apart() {
        let outcomes = [(0.75, true), (0.75, true), (0.75, true), (0.75, false)];
        assert!(level(&outcomes).expect("there are some").error < 1e-12);
        let outcomes = [(0.95, false), (0.95, true)];
        assert!((level(&outcomes).expect("there are some").error - 0.45).abs() < 1e-12);
        assert_eq!(level(&[]), None);
    }
}
