//! Usage: the tokens of a call.

use serde::{Deserialize, Serialize};

/// Tokens of one call, as the backend counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones too.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Of the input: tokens written to the prompt cache for 5 minutes.
    pub cache_write_5m_tokens: u64,
    /// Of the input: tokens written to the prompt cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// Of the input: tokens read from the prompt cache.
    pub cache_read_tokens: u64,
}

impl From<Usage> for claude_code_api_wire::Usage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens + usage.output_tokens,
        }
    }
}

impl From<Usage> for claude_code_api_wire::Cache {
    fn from(usage: Usage) -> Self {
        Self {
            creation_input_tokens: usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            read_input_tokens: usage.cache_read_tokens,
        }
    }
}
