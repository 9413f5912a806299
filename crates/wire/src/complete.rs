//! `POST /v1/complete`: one prompt in; one answer, or a stream of it, out.

use serde::{Deserialize, Serialize};

use crate::{Route, Routing};

/// The body of `POST /v1/complete`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompleteRequest {
    /// The prompt as one text. Exactly one of `prompt` and `messages` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A conversation; the last message is the user's. Exactly one of `prompt` and `messages` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Instructions that stand above the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// `auto` (the default), `haiku`, `sonnet`, `opus`, or a concrete model id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The project that pays. Absent or `default`: the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The most tokens to generate. Default: 4,096 on Claude, 256 on the embedded model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Randomness, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, above 0, at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Texts at which generation ends; at most 16 of at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    /// Seed of the sampler; the embedded model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// The deadline of the whole call on the server, in seconds. Default: 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// The most that the call may cost, in USD. A call that could cost more is refused, or answered by a cheaper model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// What `auto` may lose to save money: `economy`, `balanced`, `quality`, or per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub routing: Option<Routing>,
    /// What the caller knows the conversation by, 1 to 255 bytes: `auto` stays with its model, or goes up. Without it, a conversation
    /// is known by how it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// Answer as server-sent events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with role and content")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// What the one who asks says.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// What the model has said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// The answer of `POST /v1/complete`, and the data of its `done` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct CompleteResponse {
    /// Id of the call, `call_…`.
    pub id: String,
    /// The tier when a Claude model of that tier ran, else the id of what ran.
    pub model: String,
    /// The id of the model that really ran.
    pub model_id: String,
    /// The generated text.
    pub content: String,
    /// Why generation ended.
    pub stop_reason: StopReason,
    /// Tokens that count against budgets.
    pub usage: Usage,
    /// How many of the input tokens went through the prompt cache.
    pub cache: Cache,
    /// Cost in USD, for people. `cost_nanos` is the exact figure.
    pub cost: f64,
    /// Cost in nano-dollars (10⁻⁹ USD), exact.
    pub cost_nanos: i64,
    /// The project that paid, by its real name.
    pub project_id: String,
    /// The backend that answered.
    pub backend: String,
    /// How the model was chosen, when the service chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// The answer of an earlier attempt under the same idempotency key.
    #[serde(default)]
    pub replayed: bool,
    /// The lowered `max_tokens`, when the budget did not allow what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamped_max_tokens: Option<u32>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StopReason {
    /// The model was done.
    EndTurn,
    /// `max_tokens` were generated.
    MaxTokens,
    /// One of `stop_sequences` was generated; it is not part of the content.
    StopSequence,
    /// Prompt and answer filled the model's context.
    ModelContextWindowExceeded,
    /// The model wants a tool to be used.
    ToolUse,
    /// The servers paused a long turn; it goes on when the answer is sent back.
    PauseTurn,
    /// The model declines.
    Refusal,
    /// A reason that a newer service has and this version does not know.
    #[serde(other)]
    Unknown,
}

impl StopReason {
    /// Every reason that this version knows, as it stands in JSON.
    const WORDS: [(Self, &str); 7] = [
        (Self::EndTurn, "end_turn"),
        (Self::MaxTokens, "max_tokens"),
        (Self::StopSequence, "stop_sequence"),
        (Self::ModelContextWindowExceeded, "model_context_window_exceeded"),
        (Self::ToolUse, "tool_use"),
        (Self::PauseTurn, "pause_turn"),
        (Self::Refusal, "refusal"),
    ];

    /// The reason as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.into_iter().find(|(reason, _)| *reason == self).map_or("unknown", |(_, word)| word)
    }

    /// Reads what [`StopReason::as_str`] writes.
    pub fn parse(word: &str) -> Self {
        Self::WORDS.into_iter().find(|(_, known)| *known == word).map_or(Self::Unknown, |(reason, _)| reason)
    }
}

/// Tokens of one call. A budget counts `total_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tokens read, cached ones too.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// The sum of both.
    pub total_tokens: u64,
}

/// Input tokens that went through the prompt cache; part of [`Usage::input_tokens`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cache {
    /// Tokens written to the cache.
    pub creation_input_tokens: u64,
    /// Tokens read from the cache.
    pub read_input_tokens: u64,
}

/// Data of the `start` event: the call has left the queue and a model is working on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Start {
    /// Id of the call, `call_…`.
    pub id: String,
    /// As [`CompleteResponse::model`].
    pub model: String,
    /// As [`CompleteResponse::model_id`].
    pub model_id: String,
}

/// Data of the `delta` event: the next piece of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delta {
    /// Text to append; never empty.
    pub text: String,
}
