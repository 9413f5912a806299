//! The envelope of an error: every dialect has its own, and statuses that its SDKs know.

use axum::extract::Request;
use claude_code_api_wire::{
    ErrorBody, ErrorEnvelope,
    anthropic::{ErrorKind, ErrorReply},
    openai,
};
use serde_json::Value;

/// How errors are told to this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    Native,
    Anthropic,
    OpenAi,
}

impl Envelope {
    /// The one that goes with the endpoint.
    pub(super) fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let of_models = path == "/v1/models" || path.starts_with("/v1/models/");
        match path {
            "/v1/messages" | "/v1/messages/count_tokens" => Self::Anthropic,
            "/v1/chat/completions" => Self::OpenAi,
            _ if of_models && request.headers().contains_key("anthropic-version") => Self::Anthropic,
            _ if of_models => Self::OpenAi,
            _ => Self::Native,
        }
    }

    /// The status and the body of an error.
    pub(super) fn written(self, error: ErrorBody) -> (u16, Value) {
        let native = error.code.status();
        let (status, body) = match self {
            Self::Native => (native, serde_json::to_value(ErrorEnvelope::from(error))),
            Self::Anthropic => (ErrorKind::of(error.code).status, serde_json::to_value(ErrorReply::from(error))),
            Self::OpenAi => (native, Ok(openai::error(&error))),
        };
        (status, body.expect("wire types serialize"))
    }
}
