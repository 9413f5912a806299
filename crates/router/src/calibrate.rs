//! Calibration to an operator's own outcomes: what the tiers are worth on other prompts than training's. The heads stay as they are.

use serde::Deserialize;

use crate::{
    Router, RouterError, Tier,
    train::calibration::{self, Outcome},
};

/// Fewer outcomes say nothing that the prior does not say better.
pub const OUTCOMES_MIN: usize = 100;
/// How strongly what training has found is held to: an outcome adds at most a quarter, so that this is about fifty of them.
const PRIOR_PRECISION: f64 = 10.0;

/// What came of one prompt: a line of JSON such as `{"prompt": "…", "tier": "haiku", "right": 1}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The prompt.
    pub prompt: String,
    /// Who answered.
    #[serde(deserialize_with = "tier")]
    pub tier: Tier,
    /// Whether that was right: 1, 0 or a boolean.
    #[serde(deserialize_with = "right")]
    pub right: bool,
}

fn tier<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Tier, D::Error> {
    let name = String::deserialize(deserializer)?;
    let found = Tier::ALL.into_iter().find(|tier| tier.as_str() == name);
    found.ok_or_else(|| serde::de::Error::custom(format!("a tier is haiku, sonnet or opus; there is {name:?}")))
}

fn right<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Bool(right) => Ok(right),
        number if number == 0 => Ok(false),
        number if number == 1 => Ok(true),
        other => Err(serde::de::Error::custom(format!("right is 1, 0, true or false; there is {other}"))),
    }
}

/// A router whose tiers are as good as these outcomes say, as far as there are enough of them.
///
/// # Errors
/// [`RouterError::TooFewOutcomes`] below [`OUTCOMES_MIN`].
pub fn calibrate(router: &Router, outcomes: &[Judged]) -> Result<Router, RouterError> {
    if outcomes.len() < OUTCOMES_MIN {
        return Err(RouterError::TooFewOutcomes { outcomes: outcomes.len() });
    }
    let mut model = router.model().clone();
    let logits: Vec<[f64; 2]> = outcomes.iter().map(|outcome| router.logits(&outcome.prompt)).collect();
    for tier in Tier::ALL {
        let of_tier = outcomes.iter().zip(&logits).filter(|(outcome, _)| outcome.tier == tier);
        let of_tier: Vec<Outcome> =
            of_tier.map(|(outcome, logits)| Outcome { logits: *logits, right: outcome.right }).collect();
        let before = &mut model.calibration[tier as usize];
        *before = calibration::fit(&of_tier, *before, PRIOR_PRECISION);
    }
    Ok(Router::of(model))
}
