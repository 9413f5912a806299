//! Answer: what a call came to, whatever the dialect it is told in.

use claude_code_api_wire::{Route, StopReason, anthropic::RawEvent};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// Headers of a route, and of `max_tokens` where it was lowered.
const ROUTE: &str = "x-route";
const CLAMPED: &str = "x-clamped-max-tokens";

/// A call that has left the queue.
#[derive(Clone, Debug, Default)]
pub struct Started {
    /// Id of the call, `call_…`.
    pub id: String,
    /// What callers see as the model: the tier, else the id.
    pub model: String,
    /// Id of the model that really runs.
    pub model_id: String,
    /// What the upstream says beside its answer.
    pub headers: HeaderMap,
}

impl Started {
    /// Tells what a dialect may have no place for.
    pub(super) fn tell(&mut self, route: Option<&Route>, clamped: Option<u32>) {
        // It is ASCII, but for names of models that are not.
        if let Some(Ok(route)) = route.map(|route| HeaderValue::try_from(serde_json::json!(route).to_string())) {
            self.headers.insert(ROUTE, route);
        }
        if let Some(max_tokens) = clamped {
            self.headers.insert(CLAMPED, max_tokens.into());
        }
    }
}

/// A call that is complete and settled. What it said is in its feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Id of the call, `call_…`.
    pub id: String,
    /// What callers see as the model: the tier, else the id.
    pub model: String,
    /// Id of the model that ran.
    pub model_id: String,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What it took.
    pub usage: Usage,
    /// What it cost, in nano-dollars.
    pub cost_nanos: i64,
    /// Who paid.
    pub project: String,
    /// Where it ran.
    pub backend: String,
    /// How the model was chosen, where the service chose it.
    pub route: Option<Route>,
    /// `max_tokens`, where it was lowered.
    pub clamped: Option<u32>,
    /// It is the answer of an earlier attempt under the same idempotency key.
    #[serde(skip)]
    pub replayed: bool,
    /// The events that end it, held back until it was settled.
    pub closing: Vec<RawEvent>,
}

impl Answer {
    pub(super) fn started(&self) -> Started {
        let Self { id, model, model_id, .. } = self.clone();
        let mut started = Started { id, model, model_id, headers: HeaderMap::new() };
        started.tell(self.route.as_ref(), self.clamped);
        started
    }
}
