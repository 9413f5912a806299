//! How one request is to be answered: read from the request itself.

use serde::Deserialize;
use serde_json::Value;

use super::Billed;

/// The script of one answer, as JSON after `sim:` in the user's last message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Tokens in; without it a quarter of the request's characters.
    pub input: Option<u64>,
    /// Tokens out; without it 16, or `max_tokens`. Never more than `max_tokens`.
    pub output: Option<u64>,
    /// Milliseconds before anything is answered.
    pub delay_ms: u64,
    /// An error status instead of an answer.
    pub status: Option<u16>,
    /// `Retry-After`, with an error status.
    pub retry_after: Option<String>,
    /// The model that the answer names, when it is not the one asked for.
    pub model: Option<String>,
    /// Why generation ended.
    pub stop_reason: Option<String>,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection breaks before any work was done.
    ResetBefore,
    /// The connection breaks after the work was done, and charged.
    ResetAfter,
    /// The answer is no JSON; the work is charged.
    Garbage,
}

impl Script {
    /// The script in a request, or one that behaves.
    pub(super) fn of(body: &Value) -> Self {
        let text = body["messages"].as_array().and_then(|messages| messages.last()?["content"].as_str());
        let Some((_, script)) = text.and_then(|text| text.split_once("sim:")) else { return Self::default() };
        serde_json::from_str(script).unwrap_or_else(|error| panic!("the script {script:?}: {error}"))
    }

    /// What the answer costs.
    pub(super) fn billed(&self, body: &Value) -> Billed {
        let max_tokens = body["max_tokens"].as_u64().unwrap_or(1);
        let asked = body["model"].as_str().unwrap_or_default();
        Billed {
            model: self.model.as_deref().unwrap_or(asked).to_owned(),
            input_tokens: self.input.unwrap_or_else(|| (body["messages"].to_string().len() as u64).div_ceil(4)),
            output_tokens: self.output.unwrap_or(16).min(max_tokens),
        }
    }
}
