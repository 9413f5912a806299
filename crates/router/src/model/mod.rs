//! What was learned: from counts and words of a prompt to two logits, a small model's and a large one's, and from these to the chances of
//! the Claude tiers. Everything is added up in one order, so that the same file says the same of the same prompt everywhere.

mod file;
mod head;
mod terms;
mod tree;

pub(crate) use file::{TOKENS_MAX, decode, encode, version_of};
pub(crate) use head::{Head, Weight};
pub(crate) use terms::{KNOTS, TERMS, Terms, Valued};
pub(crate) use tree::{DEPTH, LEAVES, NODES, Tree};

use crate::{
    features::{COUNTS, Features, WORD_BITS},
    math::chance,
};

/// Words in 64 bits each: whether training has seen them.
pub(crate) const KNOWN: usize = 1 << (WORD_BITS - 6);
/// Output tokens are expected to be within this, as natural logarithms: 1 and about 22,000.
pub(crate) const LOG_TOKENS_MAX: f64 = 10.0;

/// All that a model file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) terms: Terms,
    pub(crate) small: Head,
    pub(crate) large: Head,
    pub(crate) length: Length,
    pub(crate) calibration: [Calibration; 3],
    /// A bit for each word's hash: whether training has seen it.
    pub(crate) known: Box<[u64; KNOWN]>,
    pub(crate) kind: Kind,
    pub(crate) reference: Vec<Reference>,
}

/// Whether a prompt is of the kind that training has outcomes of: trees that tell such prompts from others, by the counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kind {
    pub(crate) bias: f32,
    pub(crate) trees: Vec<Tree>,
}

/// From the logits of the two heads to the logit of a tier: `offset + small · a + large · b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Calibration {
    pub(crate) offset: f32,
    pub(crate) small: f32,
    pub(crate) large: f32,
}

/// How long the answers of each tier are: the logarithm of their tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Length {
    pub(crate) offsets: [f32; 3],
    pub(crate) weights: [[f32; TERMS]; COUNTS],
}

/// A prompt whose heads were measured by a training that had not seen it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reference {
    /// Of the small head and of the large one.
    pub(crate) logits: [f32; 2],
    pub(crate) input_tokens: u32,
    pub(crate) output_tokens: [u32; 3],
}

/// The logits of a prompt, and what they are made of.
#[derive(Clone, Debug)]
pub(crate) struct Weighed {
    pub(crate) logits: [f64; 2],
    pub(crate) weight: Weight,
}

impl Calibration {
    pub(crate) fn chance(&self, [small, large]: [f64; 2]) -> f64 {
        chance(f64::from(self.offset) + f64::from(self.small) * small + f64::from(self.large) * large)
    }
}

impl Model {
    pub(crate) fn weigh(&self, features: &Features, valued: &Valued) -> Weighed {
        let mut weight = Weight::default();
        let logits = [&self.small, &self.large].map(|head| head.weigh(features, valued, &mut weight));
        Weighed { logits, weight }
    }

    /// The chance of each tier; that of a stronger one is never the lower.
    pub(crate) fn right(&self, logits: [f64; 2]) -> [f64; 3] {
        let [haiku, sonnet, opus] = self.calibration.map(|calibration| calibration.chance(logits));
        let sonnet = sonnet.max(haiku);
        [haiku, sonnet, opus.max(sonnet)]
    }

    /// The chances of a prompt of which nothing is known: the mean of the reference's.
    pub(crate) fn prior(&self) -> [f64; 3] {
        let mut sum = [0.0; 3];
        for row in &self.reference {
            let right = self.right(row.logits.map(f64::from));
            sum.iter_mut().zip(right).for_each(|(sum, right)| *sum += right);
        }
        sum.map(|sum| sum / self.reference.len() as f64)
    }

    /// The share of the prompt's words that training has seen; 0 where it has none.
    pub(crate) fn known_share(&self, features: &Features) -> f64 {
        let known = features.words.iter().filter(|word| self.known[**word as usize >> 6] >> (**word & 63) & 1 == 1);
        known.count() as f64 / features.words.len().max(1) as f64
    }
}

impl Kind {
    pub(crate) fn chance(&self, counts: &[f32; COUNTS]) -> f64 {
        chance(self.trees.iter().fold(f64::from(self.bias), |logit, tree| logit + tree.walk(counts, |_, _| {})))
    }
}

impl Length {
    /// The tokens of each tier's answer.
    pub(crate) fn tokens(&self, valued: &Valued) -> [f64; 3] {
        let shared: f64 = valued.dot(&self.weights);
        self.offsets.map(|offset| libm::exp((f64::from(offset) + shared).clamp(0.0, LOG_TOKENS_MAX)))
    }
}
