//! Tokens as the Messages API counts them: what is cached stands beside `input_tokens`, not in it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The `usage` of a message or of a `message_delta`, which may leave fields out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens read that went through no cache.
    pub input_tokens: Option<u64>,
    /// Tokens generated until here.
    pub output_tokens: Option<u64>,
    /// Tokens written to the prompt cache.
    pub cache_creation_input_tokens: Option<u64>,
    /// Tokens read from the prompt cache.
    pub cache_read_input_tokens: Option<u64>,
    /// The tokens written, by how long they stay.
    pub cache_creation: Option<CacheCreation>,
    /// What the request was served as.
    pub service_tier: Option<String>,
    /// Where it was served.
    pub inference_geo: Option<String>,
    /// How fast it was served.
    pub speed: Option<String>,
    /// Where one call is several, each of them: the counts above leave some of them out.
    pub iterations: Option<Vec<Value>>,
    /// How often tools of the servers were used.
    pub server_tool_use: Option<Map<String, Value>>,
}

/// Tokens written to the prompt cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CacheCreation {
    /// For an hour.
    pub ephemeral_1h_input_tokens: u64,
}

impl Usage {
    /// What is known later replaces what was known before.
    pub fn update(&mut self, later: Self) {
        let Self { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens, .. } = later;
        put(&mut self.input_tokens, input_tokens);
        put(&mut self.output_tokens, output_tokens);
        put(&mut self.cache_creation_input_tokens, cache_creation_input_tokens);
        put(&mut self.cache_read_input_tokens, cache_read_input_tokens);
        put(&mut self.cache_creation, later.cache_creation);
        put(&mut self.service_tier, later.service_tier);
        put(&mut self.inference_geo, later.inference_geo);
        put(&mut self.speed, later.speed);
        put(&mut self.iterations, later.iterations);
        put(&mut self.server_tool_use, later.server_tool_use);
    }
}

fn put<T>(known: &mut Option<T>, later: Option<T>) {
    if later.is_some() {
        *known = later;
    }
}
