//! Refusals, with the words that the API has for them.

use serde_json::{Value, json};

use super::{
    Script,
    fault::ErrorBody,
    http::{Connection, Reply},
};

const PAGE: &str = "<html><head><title>Bad gateway</title></head><body><h1>Not the API</h1></body></html>";

/// The error type that goes with a status.
fn kind(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

/// An error's body.
pub(super) fn error(kind: &str, message: &str, request_id: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
}

/// What an item of a batch that fails says.
pub(super) fn of_item(script: &Script, request_id: &str) -> Value {
    error(kind(script.status.unwrap_or(500)), "refused on request", request_id)
}

/// A refusal.
pub(super) fn refusal(connection: &Connection, status: u16, message: &str) -> Reply {
    Reply::json(status, &error(kind(status), message, &connection.request_id))
}

/// A refusal that passes: with 429 it says when.
pub(super) fn for_a_while(connection: &Connection, status: u16, message: &str) -> Reply {
    let mut refusal = refusal(connection, status, message);
    if status == 429 {
        refusal.headers.push(("retry-after", "1".to_owned()));
    }
    refusal
}

/// The refusal that a script asks for.
pub(super) fn scripted(connection: &Connection, status: u16, script: &Script) -> Reply {
    let mut reply = match script.error_body {
        None => refusal(connection, status, "refused on request"),
        Some(ErrorBody::Html) => page(status),
        Some(ErrorBody::Empty) => Reply::new(status, "application/json", ""),
        Some(ErrorBody::Garbage) => Reply::new(status, "application/json", *b"{\"type\":\"err\xff\xfe\x00"),
    };
    let should_retry = script.should_retry.map(|should| should.to_string());
    let asked = [
        ("retry-after", script.retry_after.clone()),
        ("retry-after-ms", script.retry_after_ms.clone()),
        ("x-should-retry", should_retry),
    ];
    reply.headers.extend(asked.into_iter().filter_map(|(name, value)| Some((name, value?))));
    reply
}

/// A page of whatever stands in front of the API.
pub(super) fn page(status: u16) -> Reply {
    Reply::new(status, "text/html; charset=utf-8", PAGE)
}
