//! How one request is to be answered: read from the request itself.

use serde::Deserialize;
use serde_json::Value;

use super::Billed;

/// The script of one answer, as JSON after `sim:` in the user's last message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The script as it was written.
    #[serde(skip)]
    text: String,
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
    /// With how many of the requests that carry this very script; without it with every one.
    pub faults: Option<u32>,
    /// How many tokens counting says, or fails with 0; without it a quarter of the request's characters.
    pub count: Option<u64>,
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
        let read: Self = serde_json::from_str(script).unwrap_or_else(|error| panic!("the script {script:?}: {error}"));
        Self { text: script.to_owned(), ..read }
    }

    /// The same, without its fault once that has gone wrong as often as it is to.
    pub(super) fn for_once_more(self, times: impl FnOnce(&str) -> u32) -> Self {
        let over = self.faults.is_some_and(|faults| times(&self.text) >= faults);
        if over { Self { fault: None, status: None, ..self } } else { self }
    }

    /// What counting says.
    pub(super) fn counted(&self, body: &Value) -> u64 {
        self.count.unwrap_or_else(|| characters(body).div_ceil(4))
    }

    /// What the answer costs.
    pub(super) fn billed(&self, body: &Value) -> Billed {
        let max_tokens = body["max_tokens"].as_u64().unwrap_or(1);
        let asked = body["model"].as_str().unwrap_or_default();
        Billed {
            model: self.model.as_deref().unwrap_or(asked).to_owned(),
            input_tokens: self.input.unwrap_or_else(|| characters(body).div_ceil(4)),
            output_tokens: self.output.unwrap_or(16).min(max_tokens),
        }
    }
}

fn characters(body: &Value) -> u64 {
    body["messages"].to_string().len() as u64
}
