//! What every door that spends has in common: the key under which a call is sent again, its deadline, and its start.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use claude_code_api_wire::Routing;
use serde::Serialize;

use super::error::ApiError;
use crate::{
    app::App,
    call::{self, AutoAsked, Caller, Hearing, Request, Updates},
};

/// What every door takes as the most tokens to generate.
pub(super) const MAX_TOKENS: RangeInclusive<u32> = 1..=1_000_000;

const TIMEOUT_DEFAULT_S: f64 = 600.0;
const SDK_TIMEOUT_DEFAULT_S: f64 = 3_600.0;
const TIMEOUT_MAX_S: f64 = 86_400.0;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
const CONVERSATION_ID_BYTES_MAX: usize = 255;

/// Whether new calls are taken.
pub(super) fn admitted(app: &App) -> Result<(), ApiError> {
    if app.is_draining() { Err(ApiError::shutting_down()) } else { Ok(()) }
}

/// What all doors know of a call beside what it asks.
pub(super) struct Door {
    /// Its name: keys of one door are not those of another.
    pub(super) name: &'static str,
    /// The key under which the caller would send the call again.
    pub(super) key: Option<String>,
    /// Whether the answer is told as it comes.
    pub(super) stream: bool,
}

/// Starts a call, under its key where it has one.
pub(super) fn start(app: &Arc<App>, caller: Caller, door: Door, mut request: Request) -> Updates {
    let Door { name, key, stream } = door;
    request.claim = key.and_then(|key| call::claim(app, &caller.project, name, &key, &request));
    call::start(app, caller, request, if stream { Hearing::AsItComes } else { Hearing::Whole })
}

/// The key under which the caller would send this call again.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let message = format!("Idempotency-Key: takes 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters");
        ApiError::invalid("Idempotency-Key", message)
    })
}

/// The project that a request names in its headers, where its body has no place for that.
pub(super) fn project_header(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let named = headers.get("x-project-id").map(|value| value.to_str().ok());
    named
        .map(|name| name.ok_or_else(|| ApiError::invalid("x-project-id", "x-project-id: takes visible ASCII")))
        .transpose()
}

/// What a request says in its headers of how a model is chosen, where its body has no place for that.
pub(super) fn auto_headers(headers: &HeaderMap) -> Result<AutoAsked, ApiError> {
    let said = |name: &'static str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let routing = said("x-routing").map(Routing::parse).transpose();
    let routing = routing.map_err(|problem| ApiError::invalid("x-routing", format!("x-routing: {problem}")))?;
    let conversation = said("x-conversation-id").map(|id| conversation_id(id.to_owned())).transpose()?;
    Ok(AutoAsked { routing, conversation })
}

/// What a caller knows a conversation by.
pub(super) fn conversation_id(id: String) -> Result<String, ApiError> {
    if (1..=CONVERSATION_ID_BYTES_MAX).contains(&id.len()) {
        return Ok(id);
    }
    let message = format!("conversation_id: takes a text of 1 to {CONVERSATION_ID_BYTES_MAX} bytes");
    Err(ApiError::invalid("conversation_id", message))
}

/// The deadline of a whole call.
pub(super) fn timeout(seconds: Option<f64>) -> Result<Duration, ApiError> {
    let seconds = above_zero("timeout", seconds.unwrap_or(TIMEOUT_DEFAULT_S), TIMEOUT_MAX_S)?;
    Ok(Duration::from_secs_f64(seconds))
}

/// The deadline of a call in a dialect that has no field for one. SDKs say how long they wait for a whole answer; of a stream that
/// is the wait for its next event, and it may be long.
pub(super) fn sdk_timeout(headers: &HeaderMap, stream: bool) -> Duration {
    // OpenAI's tells only how long it waits for the next byte, which of a whole answer is the first.
    let said = headers.get("x-stainless-timeout").or_else(|| headers.get("x-stainless-read-timeout"));
    let said = said.filter(|_| !stream).and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let said = said.filter(|seconds| *seconds > 0.0 && *seconds <= TIMEOUT_MAX_S);
    Duration::from_secs_f64(said.unwrap_or(SDK_TIMEOUT_DEFAULT_S))
}

pub(super) fn within<T: PartialOrd + Serialize>(
    field: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, ApiError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most, value) = (number(range.start()), number(range.end()), number(&value));
    Err(ApiError::invalid(field, format!("{field}: takes {least} to {most}; it was {value}")))
}

pub(super) fn above_zero(field: &str, value: f64, most: f64) -> Result<f64, ApiError> {
    if value > 0.0 && value <= most {
        return Ok(value);
    }
    let (most, value) = (number(&most), number(&value));
    Err(ApiError::invalid(field, format!("{field}: takes a number above 0, at most {most}; it was {value}")))
}

/// A number for people: `1` and not `1.0`, `1e300` and not its three hundred digits.
fn number(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("numbers serialize");
    json.strip_suffix(".0").map_or_else(|| json.clone(), str::to_owned)
}
