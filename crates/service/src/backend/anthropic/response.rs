//! Every way in which the Messages API does not answer, with what that has cost.
//!
//! A connection that failed and an error status cost nothing. A request that was sent and has no readable answer may have
//! cost anything.

use std::time::{Duration, SystemTime};

use claude_code_api_wire::SHOULD_RETRY;
use http::{HeaderMap, header::CONTENT_TYPE};
use reqwest::{Response, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use super::keys::Outcome;
use crate::backend::{Failure, Reason, Spend};

const ERROR_BYTES_MAX: usize = 1 << 20;
/// The most of upstream's own words that are passed on, in characters.
const SHOWN_MAX: usize = 500;
pub(super) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// The longest wait that upstream's word is passed on for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// More exact than `Retry-After`, where it is there.
const RETRY_AFTER_MS: &str = "retry-after-ms";

/// The headers that say what is left of upstream's limits: callers pace themselves by them.
const PASSED_ON: &str = "anthropic-ratelimit-";

/// What is passed on of an answer's headers.
pub(super) fn passed_on(response: &Response) -> HeaderMap {
    let headers = response.headers().iter().filter(|(name, _)| name.as_str().starts_with(PASSED_ON));
    headers.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The request did not get through, or nothing came back.
pub(super) fn unsent(error: &reqwest::Error) -> Failure {
    let (spend, what) = if error.is_connect() {
        (Spend::Unspent, "cannot be reached")
    } else {
        (Spend::Unknown, "took the request, and the connection broke before its answer")
    };
    broken(spend, true, what.to_owned())
}

pub(super) fn broken(spend: Spend, retryable: bool, message: String) -> Failure {
    Failure { spend, reason: Reason::Broken { message: message.into(), retryable } }
}

/// Whether this is a stream of events; else nobody knows what was spent on it.
pub(super) fn is_stream(response: &Response) -> Result<(), Failure> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("text/event-stream") {
        return Ok(());
    }
    Err(broken(Spend::Unknown, true, format!("answered with {:?} where a stream of events is due", shown(kind))))
}

/// The tokens of a count.
pub(super) async fn counted(response: Response) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    let count = bounded(response, ERROR_BYTES_MAX).await.and_then(|body| serde_json::from_slice::<Count>(&body).ok());
    let count = count.ok_or_else(|| broken(Spend::Unspent, true, "sent a count that is none".to_owned()))?;
    Ok(count.input_tokens)
}

/// An error status: nothing was spent.
pub(super) async fn refusal(response: Response) -> Failure {
    let status = response.status().as_u16();
    let said = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = said(RETRY_AFTER_MS).and_then(wait_ms).or_else(|| said(RETRY_AFTER.as_str()).and_then(wait));
    let retry_after = retry_after.unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX);
    let retryable = said(SHOULD_RETRY).and_then(|said| said.parse().ok());
    let retryable = retryable.unwrap_or(status == 408 || status >= 500);
    let headers = Box::new(passed_on(&response));
    let unspent = |reason| Failure { spend: Spend::Unspent, reason };
    match status {
        429 => unspent(Reason::RateLimited { retry_after, headers }),
        503 | 529 => unspent(Reason::Overloaded { retry_after }),
        400 | 404 | 413 => unspent(Reason::Refused { status, message: reason(response).await }),
        _ => {
            let message = format!("refused with HTTP {status}: {}", reason(response).await);
            broken(Spend::Unspent, retryable, message)
        }
    }
}

/// What a failed request means for the key that it was sent with.
pub(super) fn outcome(failure: &Failure, status: Option<u16>) -> Outcome {
    match &failure.reason {
        Reason::RateLimited { retry_after, .. } => Outcome::Limited(*retry_after),
        Reason::Overloaded { retry_after } => Outcome::Overloaded(*retry_after),
        _ if matches!(status, Some(401 | 402)) => Outcome::Denied,
        Reason::Broken { retryable: true, .. } => Outcome::Failed,
        _ => Outcome::Good,
    }
}

async fn reason(response: Response) -> String {
    let body = bounded(response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&body).ok();
    shown(said.as_ref().and_then(|body| body.pointer("/error/message")?.as_str()).unwrap_or("no reason"))
}

/// Upstream's words, bounded and in one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN_MAX).collect()
}

/// `retry-after-ms`.
fn wait_ms(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse::<f64>().ok()? / 1_000.0).ok()
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

pub(super) async fn bounded(mut response: Response, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > bytes_max {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes)
}
