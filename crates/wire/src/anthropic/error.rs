//! Errors in the Anthropic dialect.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ErrorBody, ErrorCode};

/// The body of an error response, and the data of an `error` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorReply {
    /// Always `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The error.
    pub error: ErrorDetail,
    /// As the `request-id` header.
    pub request_id: String,
}

/// The error itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetail {
    /// Its kind, as the API names it.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub message: String,
    /// The code of this service.
    pub code: ErrorCode,
    /// What else the code carries.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub extra: Map<String, Value>,
}

/// The kinds of errors of the API, with their statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// The name.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
}

impl ErrorKind {
    /// What the API calls a failure of this code.
    pub fn of(code: ErrorCode) -> Self {
        let (name, status) = match code {
            ErrorCode::InvalidRequest | ErrorCode::Conflict => ("invalid_request_error", code.status()),
            ErrorCode::Unauthenticated => ("authentication_error", 401),
            ErrorCode::Forbidden => ("permission_error", 403),
            ErrorCode::NotFound => ("not_found_error", 404),
            ErrorCode::RequestTooLarge => ("request_too_large", 413),
            ErrorCode::BudgetExceeded | ErrorCode::RateLimited => ("rate_limit_error", 429),
            ErrorCode::Timeout => ("timeout_error", 504),
            ErrorCode::Overloaded => ("overloaded_error", 529),
            ErrorCode::BackendError => ("api_error", 502),
            ErrorCode::Internal | ErrorCode::Unknown => ("api_error", 500),
        };
        Self { name, status }
    }
}

impl From<ErrorBody> for ErrorReply {
    fn from(error: ErrorBody) -> Self {
        let ErrorBody { code, message, retryable, retry_after, request_id, field, mut extra } = error;
        extra.insert("retryable".to_owned(), retryable.into());
        extra.extend(retry_after.map(|seconds| ("retry_after".to_owned(), seconds.into())));
        extra.extend(field.map(|field| ("field".to_owned(), field.into())));
        let error = ErrorDetail { kind: ErrorKind::of(code).name.to_owned(), message, code, extra };
        Self { kind: "error".to_owned(), error, request_id }
    }
}
