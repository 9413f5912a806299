//! The router: a prompt in, what is expected of each tier out.

use std::sync::LazyLock;

use crate::{
    ReferenceRow, RouterError,
    decide::{self, Dial, Tier},
    features::Features,
    model::{self, Model, Valued},
    reasons,
    trust::{self, Facts},
};

/// The model file of this build.
static SHIPPED: &[u8] = include_bytes!("../router.bin");

/// A model file, ready to read prompts. It never changes, and reads from any number of threads.
#[derive(Clone, Debug)]
pub struct Router {
    model: Model,
    version: String,
    prior: [f64; 3],
    reference: Vec<ReferenceRow>,
}

/// What a prompt is expected to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// How likely each tier is right, haiku first. A stronger tier's is never lower.
    pub right: [f64; 3],
    /// Tokens that each tier's answer is expected to have, at least 1.
    pub output_tokens: [f64; 3],
    /// How much the prompt is like those that there are outcomes of, 0 to 1: the share of its words that training has seen, or the chance
    /// that it is of their kind, whichever is less. Up to [`FAMILIARITY_MIN`](crate::FAMILIARITY_MIN) the chances say nothing.
    pub familiarity: f64,
    /// Up to three reasons, the strongest first. They name what was counted, never a word of the prompt.
    pub reasons: Vec<&'static str>,
}

impl Router {
    /// The router that is part of this build.
    pub fn shipped() -> &'static Self {
        static ROUTER: LazyLock<Router> =
            LazyLock::new(|| Router::parse(SHIPPED).expect("a test reads the file of this build"));
        &ROUTER
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`RouterError::File`] for anything but a file that training or calibrating has written.
    pub fn parse(file: &[u8]) -> Result<Self, RouterError> {
        Ok(Self::new(model::decode(file)?, model::version_of(file)))
    }

    pub(crate) fn of(model: Model) -> Self {
        let version = model::version_of(&model::encode(&model));
        Self::new(model, version)
    }

    fn new(model: Model, version: String) -> Self {
        let row = |row: &model::Reference| ReferenceRow {
            right: model.right(row.logits.map(f64::from)),
            input_tokens: u64::from(row.input_tokens),
            output_tokens: row.output_tokens.map(f64::from),
        };
        let reference = model.reference.iter().map(row).collect();
        Self { prior: model.prior(), version, reference, model }
    }

    /// The content of the model file.
    pub fn to_bytes(&self) -> Vec<u8> {
        model::encode(&self.model)
    }

    /// The beginning of the model file's hash.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Prompts that the model was measured on, unseen.
    pub fn reference(&self) -> &[ReferenceRow] {
        &self.reference
    }

    /// The λ of a dial at these prices: see [`decide::lambda`].
    pub fn lambda(&self, dial: Dial, cost_of: impl Fn(&ReferenceRow) -> [f64; 3]) -> f64 {
        decide::lambda(&self.reference, dial, cost_of)
    }

    /// Reads the text of the last user turn: its first 3,000 and last 1,000 characters, in a time that only their number decides.
    pub fn read(&self, prompt: &str, facts: &Facts) -> Reading {
        let features = Features::of(prompt);
        let valued = self.model.terms.value(&features.counts);
        let weighed = self.model.weigh(&features, &valued);
        let (known, kind) = (self.model.known_share(&features), self.model.kind.chance(&features.counts));
        let doubt = trust::doubt(known, prompt.len(), facts);
        let right = self.model.right(weighed.logits);
        Reading {
            right: Tier::ALL.map(|tier| doubt.towards(right[tier as usize], self.prior[tier as usize])),
            output_tokens: self.output_tokens(&valued, facts),
            familiarity: known.min(kind),
            reasons: reasons::strongest(&weighed.weight, &valued, &doubt, kind),
        }
    }

    fn output_tokens(&self, valued: &Valued, facts: &Facts) -> [f64; 3] {
        let most = facts.output_max.map_or(f64::INFINITY, |most| (most as f64).max(1.0));
        self.model.length.tokens(valued).map(|tokens| tokens.min(most))
    }

    /// Of the two heads.
    pub(crate) fn logits(&self, prompt: &str) -> [f64; 2] {
        let features = Features::of(prompt);
        let valued = self.model.terms.value(&features.counts);
        self.model.weigh(&features, &valued).logits
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }
}
