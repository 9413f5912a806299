//! How one request is to be answered: read from the request itself.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Billed,
    fault::{ErrorBody, ErrorEvent, Fault, Item},
};

/// The script of one answer, as JSON after `sim:` in the last text of the user's last message that has it, tool results
/// included. What comes after the JSON does not matter.
///
/// What it does not name behaves. A piece is what one delta brings. Events are counted as they are written, from 0.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each goes wrong, or not, by itself")]
pub struct Script {
    /// Tokens in, those of the cache among them; without it a quarter of the request's characters.
    pub input: Option<u64>,
    /// Tokens out, thinking among them; without it 16 and what is thought. Never more than `max_tokens`.
    pub output: Option<u64>,
    /// `output` may be more than `max_tokens`.
    pub beyond: bool,
    /// How many tokens counting says, or fails with 0; without it a quarter of the request's characters.
    pub count: Option<u64>,
    /// Tokens in that were written to the cache for five minutes.
    pub cache_write: u64,
    /// Tokens in that were written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Tokens in that were read from the cache.
    pub cache_read: u64,
    /// The service tier that the usage names; without it `standard`, and `batch` in a batch.
    pub service_tier: Option<String>,
    /// The model that the answer names, when it is not the one asked for.
    pub model: Option<String>,
    /// Why generation ended.
    pub stop_reason: Option<String>,
    /// What a text begins with, before its words.
    pub says: Option<String>,
    /// What is thought before anything is said.
    pub thinking: Option<Thinking>,
    /// The answer is a call of this tool, instead of a text.
    pub tool: Option<Tool>,

    /// Milliseconds before anything is answered, or generated.
    pub delay_ms: u64,
    /// Milliseconds before the first event: in a stream after the headers.
    pub first_ms: u64,
    /// Milliseconds that each token takes.
    pub token_ms: u64,
    /// Tokens a piece; without it 1.
    pub tokens_per_delta: Option<u64>,
    /// Bytes of text a piece; without it five a token.
    pub bytes_per_delta: Option<usize>,
    /// Bytes a chunk of a stream's body, wherever that cuts; without it an event is one chunk.
    pub chunk_bytes: Option<usize>,
    /// Tokens that are still generated, and charged, when the client has gone; never past `output`.
    pub lag_tokens: u64,

    /// An error status instead of an answer.
    pub status: Option<u16>,
    /// The body of an error status, when it is not what the API says.
    pub error_body: Option<ErrorBody>,
    /// `Retry-After`, with an error status: any text.
    pub retry_after: Option<String>,
    /// `retry-after-ms`, with an error status: any text.
    pub retry_after_ms: Option<String>,
    /// `x-should-retry`, with an error status.
    pub should_retry: Option<bool>,
    /// What goes wrong with the answer as a whole.
    pub fault: Option<Fault>,
    /// With how many of the requests that carry this very script something goes wrong; without it with every one.
    pub faults: Option<u32>,
    /// How the item ends, in a batch; without it by `status`.
    pub item: Option<Item>,

    /// A stream is silent after so many deltas.
    pub stall_after: Option<u64>,
    /// For how many milliseconds; without it until the client goes away.
    pub stall_ms: Option<u64>,
    /// Milliseconds from ping to ping in that silence; without it there are none.
    pub stall_ping_ms: Option<u64>,
    /// A stream's connection is reset (RST) after so many events.
    pub reset_after_events: Option<u64>,
    /// A stream's connection is closed (FIN) after so many events, in the middle of its body.
    pub close_after_events: Option<u64>,
    /// A stream's body ends in good order after so many events.
    pub end_after_events: Option<u64>,
    /// After so many events comes half of the next, and the connection is closed.
    pub half_event_after: Option<u64>,
    /// After so many events comes garbage instead of the next, and the stream goes on.
    pub garbage_after: Option<u64>,
    /// A stream says that it failed, and ends.
    pub error_event: Option<ErrorEvent>,
    /// The content type that a stream has instead of its own.
    pub content_type: Option<String>,
    /// A text never ends, whatever `output` says.
    pub endless: bool,
    /// A stream has no `message_delta`: it stops without saying why, or what it has cost.
    pub no_delta: bool,
    /// Its `message_delta` does not say what was generated.
    pub no_usage: bool,
    /// A stream's body ends after `message_delta`, without `message_stop`.
    pub no_stop: bool,
    /// Events of no known name are between the others.
    pub unknown_events: bool,
    /// All that is known has fields more.
    pub unknown_fields: bool,
    /// Comments are between the events.
    pub comments: bool,
    /// Lines end with CRLF.
    pub crlf: bool,
}

/// Thinking: all of it is charged, and a part of it shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thinking {
    /// How many of the tokens out.
    pub tokens: u64,
    /// What is shown of it.
    #[serde(default)]
    pub display: Display,
}

/// What is shown of what was thought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Display {
    /// A tenth of it.
    #[default]
    Summarized,
    /// Nothing: while it thinks, a stream is silent.
    Omitted,
}

/// A call of a tool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is called with.
    pub input: Value,
}

impl Script {
    /// Reads a script from the start of `text`; one that is none fails the test.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("the script {text:?}: {error}"))
    }

    /// The same, behaving once it has gone wrong as often as it is to.
    pub(super) fn for_once_more(self, times: impl FnOnce() -> u32) -> Self {
        let over = self.faults.is_some_and(|faults| times() >= faults);
        if over { self.behaving() } else { self }
    }

    /// What the answer is, and how long it takes, without all that goes wrong.
    fn behaving(self) -> Self {
        Self {
            input: self.input,
            output: self.output,
            count: self.count,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            cache_read: self.cache_read,
            service_tier: self.service_tier,
            model: self.model,
            stop_reason: self.stop_reason,
            says: self.says,
            thinking: self.thinking,
            tool: self.tool,
            delay_ms: self.delay_ms,
            first_ms: self.first_ms,
            token_ms: self.token_ms,
            tokens_per_delta: self.tokens_per_delta,
            lag_tokens: self.lag_tokens,
            ..Self::default()
        }
    }

    /// What counting says.
    pub(super) fn counted(&self, body: &Value) -> u64 {
        self.count.unwrap_or_else(|| characters(body).div_ceil(4))
    }

    /// What the answer costs.
    pub(super) fn billed(&self, body: &Value) -> Billed {
        let max_tokens = if self.beyond { u64::MAX } else { body["max_tokens"].as_u64().unwrap_or(1) };
        let thought = self.thinking.as_ref().map_or(0, |thinking| thinking.tokens);
        let cached = self.cache_write + self.cache_write_1h + self.cache_read;
        let asked = body["model"].as_str().unwrap_or_default();
        Billed {
            model: self.model.as_deref().unwrap_or(asked).to_owned(),
            input_tokens: self.input.unwrap_or_else(|| characters(body).div_ceil(4)).max(cached),
            output_tokens: self.output.unwrap_or(16 + thought).min(max_tokens),
            cache_write_5m_tokens: self.cache_write,
            cache_write_1h_tokens: self.cache_write_1h,
            cache_read_tokens: self.cache_read,
            batch: false,
        }
    }
}

fn characters(body: &Value) -> u64 {
    body["messages"].to_string().len() as u64
}
