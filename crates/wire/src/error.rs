//! The error envelope, one for every endpoint of the native dialect.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What kind of failure, for programs. `docs/errors.md` explains each to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ErrorCode {
    /// The request cannot be carried out as it stands; the message names the field and what it takes.
    InvalidRequest,
    /// No key, or a key that is not known.
    Unauthenticated,
    /// The key does not allow this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// An idempotency key was used again with another request.
    Conflict,
    /// The body is larger than the service takes.
    RequestTooLarge,
    /// The project's budget does not cover this call.
    BudgetExceeded,
    /// Too many requests in too short a time.
    RateLimited,
    /// The deadline of the call has passed.
    Timeout,
    /// No room now: the queue is full, or the service is shutting down.
    Overloaded,
    /// The backend failed.
    BackendError,
    /// A defect of the service.
    Internal,
    /// A code that a newer service has and this version does not know. No service of this version sends it.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Every code that a service of this version sends, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::RequestTooLarge,
        Self::BudgetExceeded,
        Self::RateLimited,
        Self::Timeout,
        Self::Overloaded,
        Self::BackendError,
        Self::Internal,
    ];

    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::RequestTooLarge => 413,
            Self::BudgetExceeded | Self::RateLimited => 429,
            Self::Internal | Self::Unknown => 500,
            Self::BackendError => 502,
            Self::Overloaded => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether sending the same request again can help. For `backend_error` it depends on the cause, and
    /// [`ErrorBody::retryable`] says it.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Internal)
    }

    /// The code as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::RequestTooLarge => "request_too_large",
            Self::BudgetExceeded => "budget_exceeded",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::BackendError => "backend_error",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}

/// The body of every error response, and the data of an `error` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
    /// The message once more, where older clients look for it.
    pub detail: String,
}

/// The error itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "server"), non_exhaustive)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was wrong, where, and what to do.
    pub message: String,
    /// Whether sending the same request again can help.
    pub retryable: bool,
    /// Seconds to wait before that, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<f64>,
    /// As the `request-id` header.
    pub request_id: String,
    /// The field of the request that was wrong, when one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What else the code carries.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub extra: Map<String, Value>,
}

impl From<ErrorBody> for ErrorEnvelope {
    fn from(error: ErrorBody) -> Self {
        Self { detail: error.message.clone(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_it_names_itself() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_value(code).expect("an enum of units serializes");
            assert_eq!(json, code.as_str());
        }
    }

    #[test]
    fn what_an_error_carries_beyond_the_known_fields_survives_a_round_trip() {
        let text =
            r#"{"error":{"code":"overloaded","message":"m","retryable":true,"request_id":"r","queue":7},"detail":"m"}"#;
        let envelope: ErrorEnvelope = serde_json::from_str(text).expect("well-formed");
        assert_eq!(envelope.error.extra["queue"], 7);
        assert_eq!(serde_json::to_string(&envelope).expect("serializes"), text);
    }
}
