//! Edge out: where calls are answered. One file an upstream.
//!
//! A backend takes a model and an Anthropic-shaped prompt and yields events and usage. It sees no project, no key and no
//! money. Dropping what it returned cancels the generation.

use std::{borrow::Cow, pin::Pin, time::Duration};

use claude_code_api_wire::{Message, ServiceHealth, StopReason};
use futures_core::{Stream, future::BoxFuture};

use crate::{
    model::{ModelChoice, Tier},
    usage::Usage,
};

pub mod anthropic;
pub mod conformance;
#[cfg(feature = "local")]
pub mod local;

/// What a backend is asked to continue.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Instructions above the conversation.
    pub system: Option<String>,
    /// The conversation, never empty; the last message is the user's.
    pub messages: Vec<Message>,
    /// The most tokens to generate; at least 1.
    pub max_tokens: u32,
    /// How to pick the next token.
    pub sampling: Sampling,
}

/// How the next token is picked. `None`: the backend's default.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    /// 0 to 1.
    pub temperature: Option<f64>,
    /// Above 0, at most 1.
    pub top_p: Option<f64>,
    /// The same seed gives the same answer, on backends that can.
    pub seed: Option<u32>,
    /// Texts at which generation ends; none is empty.
    pub stop_sequences: Vec<String>,
}

/// A model that a backend offers for what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Id of the model.
    pub model_id: String,
    /// Its tier, when it is a Claude model of one.
    pub tier: Option<Tier>,
    /// `max_tokens` of calls that set none.
    pub max_tokens_default: u32,
    /// Whether it runs in this process: it costs nothing, and nothing is spent before [`Event::Start`].
    pub is_embedded: bool,
}

impl Offer {
    /// What callers see as the model: the tier, else the id.
    pub fn shown_as(&self) -> &str {
        match self.tier {
            Some(tier) => tier.as_str(),
            None => &self.model_id,
        }
    }
}

/// What happens in a call, in this order: one `Start`, any number of `Text`, one `End`. An `Err` ends it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The call has left the queue.
    Start {
        /// Id of the model that really runs.
        model_id: String,
        /// Tokens of the prompt.
        input_tokens: u64,
    },
    /// The next piece of the answer; never empty.
    Text {
        /// Text to append.
        text: String,
        /// Tokens generated until here.
        output_tokens: u64,
    },
    /// The answer is complete, and this is what it took.
    End {
        /// Why it ended.
        stop_reason: StopReason,
        /// The final usage.
        usage: Usage,
        /// The answer names something that changes its price and that no table of prices covers.
        unpriced: bool,
    },
}

/// The events of one call. Dropping it cancels the call.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Failure>> + Send>>;

/// Why a backend did not answer, or stopped answering.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What had been spent by then.
    pub spend: Spend,
    /// What was wrong.
    pub reason: Reason,
}

/// What a failed attempt had cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// Nothing was spent: the attempt may be repeated under the same hold.
    Unspent,
    /// The request was sent, and nothing came back that says what it cost.
    Unknown,
    /// Tokens were generated.
    Spent(Usage),
}

/// What was wrong, as far as callers act differently on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The request cannot be carried out here.
    Invalid {
        /// The field that is wrong.
        field: &'static str,
        /// What is wrong with it, and what it takes.
        message: String,
    },
    /// No room now.
    Overloaded {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The backend broke.
    Broken {
        /// What it said.
        message: Cow<'static, str>,
        /// Whether sending the same request again can help.
        retryable: bool,
    },
}

/// A place where calls are answered. Implementations pass [`conformance`].
pub trait Backend: Send + Sync {
    /// Its name in configuration, health and responses.
    fn name(&self) -> &'static str;

    /// The model it would run for this choice, if any.
    fn offer(&self, choice: &ModelChoice) -> Option<Offer>;

    /// Names that [`Backend::offer`] takes, for error messages.
    fn names(&self) -> Vec<String>;

    /// Whether it works now.
    fn health(&self) -> ServiceHealth;

    /// The most tokens that the input of this prompt can be, by counting; `None` when that fails, or takes too long.
    fn count(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Option<u64>>;

    /// Starts a call. An error here is [`Spend::Unspent`].
    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Events, Failure>>;
}
