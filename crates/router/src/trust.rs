//! How much a prediction is worth. What training has not seen is answered with the prior: the mean over all prompts.
//!
//! Only the familiarity is measured. For tools, images, thinking and long conversations there are no labels: the model knows only
//! that it does not know, and how far it then gives way is an opinion.

/// What is known of the request beside the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of the whole request. Where the prompt is a small part of it, its words decide less.
    pub input_tokens: u64,
    /// Which turn of the conversation this is, from 1; 0 where that is not known. A later one leans on what was said before.
    pub turn: u32,
    /// Tools may be used.
    pub has_tools: bool,
    /// There are images.
    pub has_images: bool,
    /// The most tokens that the answer may have: it caps the tokens that are expected.
    pub output_max: Option<u64>,
    /// The model is asked to think.
    pub thinking: bool,
}

/// At this share of known words, and below it, a prediction is the prior: whoever has a default tier takes it.
pub const FAMILIARITY_MIN: f64 = 0.3;
/// From this one on it is as good as in training.
const FAMILIARITY_ENOUGH: f64 = 0.7;
const BYTES_PER_TOKEN: f64 = 3.0;

/// What a prediction loses of its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Doubt {
    /// The weight that is left to the prediction, 0 to 1.
    pub(crate) trust: f64,
    /// Of that, what unfamiliar words have left.
    pub(crate) familiar: f64,
}

impl Doubt {
    /// `prediction`, moved towards `prior`.
    pub(crate) fn towards(&self, prediction: f64, prior: f64) -> f64 {
        self.trust * prediction + (1.0 - self.trust) * prior
    }
}

pub(crate) fn doubt(known: f64, prompt_bytes: usize, facts: &Facts) -> Doubt {
    let familiar = ((known - FAMILIARITY_MIN) / (FAMILIARITY_ENOUGH - FAMILIARITY_MIN)).clamp(0.0, 1.0);
    let mut trust = familiar;
    for (there, factor) in
        [(facts.turn > 1, 0.8), (facts.has_tools, 0.6), (facts.has_images, 0.4), (facts.thinking, 0.8)]
    {
        trust *= if there { factor } else { 1.0 };
    }
    // A prompt of a few words about a long document says little of how hard it is.
    let others = facts.input_tokens as f64 - prompt_bytes as f64 / BYTES_PER_TOKEN - 1_000.0;
    trust /= 1.0 + (others / 10_000.0).clamp(0.0, 4.0);
    Doubt { trust, familiar }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_moves_a_prediction_to_the_prior_and_never_beyond() {
        let alone = doubt(1.0, 300, &Facts::default());
        assert_eq!((alone.trust, doubt(0.0, 300, &Facts::default()).trust), (1.0, 0.0));
        for facts in [
            Facts { turn: 2, ..Facts::default() },
            Facts { has_tools: true, ..Facts::default() },
            Facts { has_images: true, ..Facts::default() },
            Facts { thinking: true, ..Facts::default() },
            Facts { input_tokens: 50_000, ..Facts::default() },
            Facts { input_tokens: u64::MAX, ..Facts::default() },
        ] {
            let trust = doubt(1.0, 300, &facts).trust;
            assert!((0.1..1.0).contains(&trust), "{facts:?}: {trust}");
        }
    }
}
