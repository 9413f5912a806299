//! Whether a model of one size is right: the mean of a logistic regression on terms and n-grams, and of boosted trees on the counts.

use super::{TERMS, Tree, Valued};
use crate::features::{COUNTS, Features};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) bias: f32,
    pub(crate) weights: [[f32; TERMS]; COUNTS],
    /// What 1 in `grams` stands for.
    pub(crate) gram_scale: f32,
    /// One for each bucket.
    pub(crate) grams: Vec<i8>,
    pub(crate) tree_bias: f32,
    pub(crate) trees: Vec<Tree>,
}

/// What each count, and the n-grams, have added to the logits: positive is easier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) counts: [f64; COUNTS],
    pub(crate) grams: f64,
}

impl Head {
    /// The logit, and what it is made of, added to `weight`.
    pub(crate) fn weigh(&self, features: &Features, valued: &Valued, weight: &mut Weight) -> f64 {
        let mut trees = f64::from(self.tree_bias);
        for tree in &self.trees {
            trees += tree.walk(&features.counts, |count, added| weight.counts[count] += 0.5 * added);
        }
        for (count, values) in valued.0.iter().enumerate() {
            let linear =
                values.iter().zip(self.weights[count]).fold(0.0, |sum, (value, by)| sum + value * f64::from(by));
            weight.counts[count] += 0.5 * linear;
        }
        let grams = self.grams(features);
        weight.grams += 0.5 * grams;
        0.5 * (trees + f64::from(self.bias) + valued.dot(&self.weights) + grams)
    }

    fn grams(&self, features: &Features) -> f64 {
        // Whole numbers: exact in any order.
        let sum: i32 = features.buckets.iter().map(|bucket| i32::from(self.grams[usize::from(*bucket)])).sum();
        f64::from(sum) * f64::from(self.gram_scale) * f64::from(features.gram())
    }
}
