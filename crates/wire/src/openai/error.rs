//! Errors in OpenAI's envelope.

use serde_json::{Map, Value};

use crate::{ErrorBody, ErrorCode};

/// The envelope of an error response, and the data of the event that ends a stream.
///
/// `type` is OpenAI's word, `code` this service's, `param` the field that was wrong. Beside them stand `retryable`,
/// `retry_after`, `request_id` and what else the error carries; the HTTP status is that of the code.
pub fn error(body: &ErrorBody) -> Value {
    let mut error = body.extra.clone();
    error.insert("message".to_owned(), body.message.clone().into());
    error.insert("type".to_owned(), kind(body.code).into());
    error.insert("param".to_owned(), body.field.clone().into());
    error.insert("code".to_owned(), body.code.as_str().into());
    error.insert("retryable".to_owned(), body.retryable.into());
    error.insert("request_id".to_owned(), body.request_id.clone().into());
    if let Some(seconds) = body.retry_after {
        error.insert("retry_after".to_owned(), seconds.into());
    }
    Map::from_iter([("error".to_owned(), error.into())]).into()
}

/// `insufficient_quota` is what OpenAI answers, also with 429, where waiting a moment does not help.
fn kind(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::Conflict | ErrorCode::RequestTooLarge => "invalid_request_error",
        ErrorCode::Unauthenticated => "authentication_error",
        ErrorCode::Forbidden => "permission_error",
        ErrorCode::NotFound => "not_found_error",
        ErrorCode::BudgetExceeded => "insufficient_quota",
        ErrorCode::RateLimited => "rate_limit_error",
        ErrorCode::Timeout
        | ErrorCode::Overloaded
        | ErrorCode::BackendError
        | ErrorCode::Internal
        | ErrorCode::Unknown => "server_error",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_has_what_openais_sdks_read_and_what_ours_does() {
        let body = ErrorBody {
            code: ErrorCode::BudgetExceeded,
            message: "Budget exceeded".into(),
            retryable: false,
            retry_after: None,
            request_id: "req_1".into(),
            field: None,
            extra: json!({"limit": 5, "code": "what a careless caller put there"})
                .as_object()
                .expect("an object")
                .clone(),
        };
        let expected = json!({
            "message": "Budget exceeded", "type": "insufficient_quota", "param": null, "code": "budget_exceeded",
            "retryable": false, "request_id": "req_1", "limit": 5,
        });
        assert_eq!(error(&body), json!({"error": expected}));
        let body = ErrorBody {
            code: ErrorCode::RateLimited,
            retryable: true,
            retry_after: Some(1.5),
            field: Some("model".into()),
            extra: Map::new(),
            ..body
        };
        let error = &error(&body)["error"];
        assert_eq!(error["type"], "rate_limit_error");
        assert_eq!((&error["param"], &error["retry_after"]), (&json!("model"), &json!(1.5)));
    }
}
