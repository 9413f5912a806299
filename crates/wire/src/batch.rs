//! `POST /v1/batch`: many prompts in; their answers together, or one by one as they come.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{ErrorCode, Route, Routing, Usage};

/// The body of `POST /v1/batch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchRequest {
    /// The prompts: texts, or objects with `prompt` and an `id` of the caller's.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<BatchPrompt>))]
    pub prompts: Vec<BatchPrompt>,
    /// For all of them: `auto` (the default), `haiku`, `sonnet`, `opus`, or a concrete model id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The project that pays. Absent or `default`: the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Instructions that stand above each prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The most tokens to generate for each prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How many prompts are worked on at a time. Default: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Whether several are worked on at a time; else one after the other. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// The deadline of each prompt on the server, in seconds, from when it is its turn. Default: 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// The most that each prompt may cost, in USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// As in `/v1/complete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub routing: Option<Routing>,
    /// Answer as server-sent events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// At half price, within 24 hours: for stored batches on the Messages API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub economy: bool,
}

/// One prompt of a batch. A plain text is one without an id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchPrompt {
    /// The prompt.
    pub prompt: String,
    /// What the caller knows it by; comes back with its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl BatchPrompt {
    /// A prompt whose result comes back with this id.
    pub fn with_id(id: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), id: Some(id.into()) }
    }
}

impl From<String> for BatchPrompt {
    fn from(prompt: String) -> Self {
        Self { prompt, id: None }
    }
}

impl From<&str> for BatchPrompt {
    fn from(prompt: &str) -> Self {
        prompt.to_owned().into()
    }
}

impl From<&String> for BatchPrompt {
    fn from(prompt: &String) -> Self {
        prompt.clone().into()
    }
}

impl<'de> Deserialize<'de> for BatchPrompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> de::Visitor<'de> for Either {
            type Value = BatchPrompt;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, or an object with prompt and id")
            }

            fn visit_str<E>(self, prompt: &str) -> Result<BatchPrompt, E> {
                Ok(prompt.to_owned().into())
            }

            fn visit_string<E>(self, prompt: String) -> Result<BatchPrompt, E> {
                Ok(prompt.into())
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<BatchPrompt, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Object {
                    prompt: String,
                    id: Option<String>,
                }
                let Object { prompt, id } = Object::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(BatchPrompt { prompt, id })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// The answer of `POST /v1/batch`; and, without results, the data of its `done` event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchResponse {
    /// How many prompts there were.
    pub total: usize,
    /// How many were answered.
    pub completed: usize,
    /// How many were not.
    pub failed: usize,
    /// What came of each, in the order of the prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<BatchResult>>,
    /// What the answers cost, in USD, for people. `total_cost_nanos` is the exact figure.
    pub total_cost: f64,
    /// What the answers cost, in nano-dollars.
    pub total_cost_nanos: i64,
    /// What the answers took, in tokens.
    pub total_tokens: u64,
}

/// What came of one prompt. What does not apply is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct BatchResult {
    /// The caller's id of the prompt.
    pub id: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// Whether it was answered.
    pub status: BatchStatus,
    /// The answer.
    pub content: Option<String>,
    /// What it took.
    pub usage: Option<Usage>,
    /// What it cost, in USD, for people. `cost_nanos` is the exact figure.
    pub cost: Option<f64>,
    /// What it cost, in nano-dollars.
    pub cost_nanos: Option<i64>,
    /// What was wrong, for people.
    pub error: Option<String>,
    /// What was wrong, for programs.
    pub error_code: Option<ErrorCode>,
    /// Id of the call, `call_…`.
    pub call_id: Option<String>,
    /// The tier when a Claude model of that tier ran, else the id of what ran.
    pub model: Option<String>,
    /// The id of the model that really ran.
    pub model_id: Option<String>,
    /// How the model was chosen, when the request said `auto`. Else it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
}

/// Whether a prompt was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum BatchStatus {
    /// It was.
    Completed,
    /// It was not.
    Failed,
}

/// Data of the `result` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct BatchEvent {
    /// The place of the prompt, from 0.
    pub index: usize,
    /// What came of it.
    #[serde(flatten)]
    pub result: BatchResult,
}

impl BatchResponse {
    /// Of no prompt yet.
    pub fn of(total: usize) -> Self {
        Self { total, ..Self::default() }
    }

    /// Counts a result.
    pub fn count(&mut self, result: &BatchResult) {
        match result.status {
            BatchStatus::Completed => self.completed += 1,
            BatchStatus::Failed => self.failed += 1,
        }
        self.total_cost_nanos = self.total_cost_nanos.saturating_add(result.cost_nanos.unwrap_or(0));
        self.total_tokens += result.usage.map_or(0, |usage| usage.total_tokens);
    }
}
