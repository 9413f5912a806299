//! Edge out: where calls are answered. One file an upstream.
//!
//! A backend takes a model and an Anthropic-shaped prompt and yields events and usage. It sees no project, no key and no
//! money. Dropping what it returned cancels the generation.

use std::{borrow::Cow, pin::Pin, sync::Arc, time::Duration};

use claude_code_api_wire::{Fields, ServiceHealth, StopReason, anthropic::RawEvent};
use futures_core::{Stream, future::BoxFuture};
use http::HeaderMap;
use serde::Deserialize;

use crate::{
    model::{ModelChoice, Tier},
    price::Terms,
    project::ProjectId,
    usage::Usage,
};

pub mod absent;
pub mod anthropic;
pub mod claude_code;
pub mod conformance;
pub mod economy;
#[cfg(feature = "local")]
pub mod local;
pub mod said;
mod sent;

pub use sent::{Generated, Sent};

/// What a backend is asked to continue.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// What was asked.
    pub request: Arc<Asked>,
    /// The most tokens to generate; at least 1.
    pub max_tokens: u32,
    /// Whether it has left for where it may cost something.
    pub sent: Sent,
    /// Whose it is, as far as a backend is to know.
    pub affinity: Affinity,
}

/// Calls of the same affinity may follow each other in one place that keeps something of them. Nothing else can be known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity(Option<ProjectId>);

impl Affinity {
    /// That of a project's calls.
    pub fn of(project: &ProjectId) -> Self {
        Self(Some(project.clone()))
    }
}

/// What a caller asks of a model: a request of the Messages API, and what goes beyond one.
#[derive(Debug, Default)]
pub struct Asked {
    /// The fields, as they were written. A backend puts its own in the place of `model`, `max_tokens` and `stream`.
    pub fields: Fields,
    /// The version of the API that it is written for; `None`: the backend's own.
    pub version: Option<String>,
    /// The betas of the API that it is written for.
    pub betas: Vec<String>,
    /// The same seed gives the same answer, on backends that can.
    pub seed: Option<u32>,
}

impl Asked {
    /// Whether this model may think before it says anything: newer ones do unless they are told not to.
    pub fn may_think(&self, model_id: &str) -> bool {
        /// Models that think only when they are told to, by the beginning of their ids.
        const ONLY_WHEN_TOLD: [&str; 4] = ["claude-3", "claude-haiku-4", "claude-sonnet-4", "claude-opus-4"];
        #[derive(Deserialize)]
        struct Thinking {
            #[serde(rename = "type")]
            kind: String,
        }
        match self.fields.get("thinking").map(|thinking| serde_json::from_str::<Thinking>(thinking.get())) {
            Some(Ok(thinking)) => thinking.kind != "disabled",
            Some(Err(_)) => true,
            None => !ONLY_WHEN_TOLD.iter().any(|known| model_id.starts_with(known)),
        }
    }
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
    /// Whether it runs in this process.
    pub is_embedded: bool,
    /// What it costs.
    pub cost: Cost,
}

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Its price.
    Price,
    /// No money, as a subscription pays for it: its price is only notional.
    Notional,
    /// Nothing.
    Nothing,
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

/// What happens in a call: an event of the Messages API, in the order of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the call acts on.
    pub said: Said,
    /// The event, as it came.
    pub raw: RawEvent,
}

/// What an event says, in this order: one `Start`, any number of others, one `Stop`, at most one `End`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The call has left the queue.
    Start {
        /// Id of the model that really runs.
        model_id: String,
        /// The usage until here: the input's is whole.
        usage: Usage,
        /// How it is served.
        terms: Terms,
    },
    /// The next piece of the answer's text; never empty.
    Text(String),
    /// Something else of the answer: a call of a tool, thinking.
    Content {
        /// Bytes of it.
        bytes: usize,
        /// Whether more may have been generated for it than is shown.
        hides: Hides,
    },
    /// Nothing of the answer.
    Aside,
    /// The answer is complete, and this is what it took.
    Stop {
        /// Why it ended.
        stop_reason: StopReason,
        /// The final usage.
        usage: Usage,
        /// How it was served.
        terms: Terms,
        /// Whether the upstream has said what was generated; else the usage is not final after all.
        is_counted: bool,
    },
    /// Nothing comes any more.
    End,
}

/// Whether more of an answer may have been generated than is shown of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hides {
    /// All of it is shown.
    #[default]
    Nothing,
    /// More may be to come: what a tool is called with is kept back until a value of it is whole.
    Now,
    /// More may have been generated that is never shown.
    ForGood,
}

impl Hides {
    /// What holds once this is said after what held before.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        if self == Self::ForGood { self } else { later }
    }
}

impl Said {
    /// Whether it tells of the answer's end, which is held back until the call is settled.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Stop { .. } | Self::End)
    }
}

/// The events of one call. Dropping it cancels the call.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Failure>> + Send>>;

/// An answer that has begun.
pub struct Answering {
    /// What the upstream says beside it: callers pace themselves by that.
    pub headers: HeaderMap,
    /// The answer.
    pub events: Events,
}

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
        field: Cow<'static, str>,
        /// What is wrong with it, and what it takes.
        message: String,
    },
    /// The upstream does not take the request, and says why.
    Refused {
        /// Its HTTP status: 400, 404 or 413.
        status: u16,
        /// What it said.
        message: String,
    },
    /// Too many requests in too short a time, as the upstream counts.
    RateLimited {
        /// When it is worth trying again.
        retry_after: Duration,
        /// What the upstream says of its limits.
        headers: Box<HeaderMap>,
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

impl Reason {
    /// Whether asking again can help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Broken { retryable, .. } => *retryable,
            Self::RateLimited { .. } | Self::Overloaded { .. } => true,
            Self::Invalid { .. } | Self::Refused { .. } => false,
        }
    }
}

/// How many calls a backend takes. Who asks it sees to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The most that it works on at a time; at least 1.
    pub calls_max: usize,
    /// The most that may wait for it, and the most items of batches beside them; at least 1.
    pub waiting_max: usize,
}

/// A place where calls are answered. Implementations pass [`conformance`].
pub trait Backend: Send + Sync {
    /// Its name in configuration, health and responses.
    fn name(&self) -> &'static str;

    /// The model it would run for this choice, if any.
    fn offer(&self, choice: &ModelChoice) -> Option<Offer>;

    /// Names that [`Backend::offer`] takes, for error messages.
    fn names(&self) -> Vec<String>;

    /// Concrete ids that it has for sure.
    fn ids(&self) -> Vec<String>;

    /// How many calls it takes.
    fn capacity(&self) -> Capacity;

    /// Whether it works now.
    fn health(&self) -> ServiceHealth;

    /// The tokens that the input of this prompt is.
    fn count(&self, model_id: &str, request: Arc<Asked>) -> BoxFuture<'_, Result<u64, Failure>>;

    /// By how much [`Backend::count`] may be below the truth, where it says `counted`.
    fn count_margin(&self, counted: u64) -> u64;

    /// Starts a call. Before anything is sent that may cost something, it is marked as [`Prompt::sent`].
    fn call(&self, model_id: &str, prompt: Prompt) -> BoxFuture<'_, Result<Answering, Failure>>;

    /// The batches that it runs when it has room, where it does.
    fn economy(&self) -> Option<&dyn economy::Economy> {
        None
    }

    /// How long it is to be left alone, as far as it knows; zero: not at all.
    fn ready_in(&self, model_id: &str) -> Duration;
}
