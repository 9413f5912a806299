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
    /// The one that goes with the endpoint; with the caller's SDK where there is no such endpoint.
    pub(super) fn of(request: &Request) -> Self {
        /// Who calls these speaks the native dialect, whatever headers come along.
        const NATIVE: [&str; 6] = ["/v1/complete", "/v1/batch", "/v1/usage", "/v1/projects", "/v1/keys", "/health"];
        let (path, headers) = (request.uri().path(), request.headers());
        let is_of = |known: &str| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if NATIVE.into_iter().any(is_of) {
            Self::Native
        } else if is_of("/v1/messages") || headers.contains_key("anthropic-version") {
            Self::Anthropic
        } else if is_of("/v1/chat") || is_of("/v1/models") || headers.contains_key("x-stainless-lang") {
            Self::OpenAi
        } else {
            Self::Native
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
