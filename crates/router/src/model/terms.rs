//! A count as three terms: itself, and what it has above two knots. So a straight line can bend.

use crate::features::COUNTS;

pub(crate) const KNOTS: usize = 2;
pub(crate) const TERMS: usize = 1 + KNOTS;
/// Standard deviations from the mean beyond which a term grows no further: what training never saw is not extrapolated.
const DEVIATIONS_MAX: f64 = 3.0;

/// Where the knots are, and how the terms of the training's prompts were spread.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) knots: [[f32; KNOTS]; COUNTS],
    pub(crate) means: [[f32; TERMS]; COUNTS],
    /// 1 / standard deviation; 0 for a term that never varied.
    pub(crate) scales: [[f32; TERMS]; COUNTS],
}

/// The terms of one prompt, in standard deviations from the mean.
#[derive(Clone, Debug)]
pub(crate) struct Valued(pub(crate) [[f64; TERMS]; COUNTS]);

impl Terms {
    pub(crate) fn raw(&self, count: usize, value: f32) -> [f32; TERMS] {
        let [low, high] = self.knots[count];
        [value, (value - low).max(0.0), (value - high).max(0.0)]
    }

    pub(crate) fn value(&self, counts: &[f32; COUNTS]) -> Valued {
        let mut valued = [[0.0; TERMS]; COUNTS];
        for (count, terms) in valued.iter_mut().enumerate() {
            let raw = self.raw(count, counts[count]);
            for (term, value) in terms.iter_mut().enumerate() {
                let deviation = f64::from(raw[term]) - f64::from(self.means[count][term]);
                *value = (deviation * f64::from(self.scales[count][term])).clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX);
            }
        }
        Valued(valued)
    }
}

impl Valued {
    pub(crate) fn dot(&self, weights: &[[f32; TERMS]; COUNTS]) -> f64 {
        let pairs = self.0.iter().flatten().zip(weights.iter().flatten());
        pairs.fold(0.0, |sum, (value, weight)| sum + value * f64::from(*weight))
    }
}
