//! `POST /v1/complete`, the native dialect. Step 2 of 7: a body becomes a request that cannot be wrong.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request as HttpRequest, State},
    http::HeaderMap,
    response::Response,
};
use claude_code_api_wire::{CompleteRequest, CompleteResponse, ErrorEnvelope, Message, Role};
use serde::Serialize;

use super::{auth::Authenticated, body, error::ApiError, respond};
use crate::{
    app::App,
    backend::Sampling,
    call::{self, Request},
    id::RequestId,
    model::ModelChoice,
};

const TIMEOUT_DEFAULT_S: f64 = 600.0;
const TIMEOUT_MAX_S: f64 = 86_400.0;
const COST_MAX_USD: f64 = 1_000_000.0;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
const STOP_SEQUENCES_MAX: usize = 16;
const STOP_SEQUENCE_BYTES_MAX: usize = 256;

/// Complete a prompt.
///
/// With `"stream": true` the answer is a stream of server-sent events: `start` (`id`, `model`, `model_id`), `delta` (`text`), then
/// exactly one `done` (the whole response object) or `error` (the error envelope). Comments keep it alive, `queued` ones
/// while the call waits.
#[utoipa::path(
    post, path = "/v1/complete", request_body = CompleteRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same for every attempt of a call: one that runs \
        already is joined, one that is done is answered again, and neither is paid for twice.")),
    responses(
        (status = 200, description = "The answer; or a stream of it.", body = CompleteResponse),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    if app.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let key = idempotency_key(request.headers())?;
    let body: CompleteRequest = body::json(request, app.limits().body_bytes_max).await?;
    let caller = caller.acting_for(&app, body.project_id.as_deref())?;
    let stream = body.stream;
    let mut request = decode(body)?;
    request.claim = key.and_then(|key| call::claim(&app, &caller.project, "complete", &key, &request));
    let updates = call::start(&app, caller, request);
    if stream { respond::events(updates, id).await } else { respond::json(updates).await }
}

/// The key under which the caller would send this call again.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let message = format!("Idempotency-Key: takes 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters");
        ApiError::invalid("Idempotency-Key", message)
    })
}

fn decode(body: CompleteRequest) -> Result<Request, ApiError> {
    Ok(Request {
        model: ModelChoice::from(body.model.as_deref().unwrap_or("auto")),
        messages: messages(body.prompt, body.messages)?,
        system: body.system,
        max_tokens: body.max_tokens.map(|count| within("max_tokens", count, 1..=1_000_000)).transpose()?,
        nanos_max: body.max_cost.map(nanos_max).transpose()?,
        sampling: Sampling {
            temperature: body.temperature.map(|value| within("temperature", value, 0.0..=1.0)).transpose()?,
            top_p: body.top_p.map(|value| above_zero("top_p", value, 1.0)).transpose()?,
            seed: body.seed,
            stop_sequences: stop_sequences(body.stop_sequences.unwrap_or_default())?,
        },
        timeout: Duration::from_secs_f64(above_zero(
            "timeout",
            body.timeout.unwrap_or(TIMEOUT_DEFAULT_S),
            TIMEOUT_MAX_S,
        )?),
        claim: None,
    })
}

/// USD, rounded down: what the call may cost is not to be passed.
#[expect(clippy::cast_possible_truncation, reason = "within the range that is checked")]
fn nanos_max(usd: f64) -> Result<i64, ApiError> {
    Ok((above_zero("max_cost", usd, COST_MAX_USD)? * 1e9).floor() as i64)
}

fn messages(prompt: Option<String>, messages: Option<Vec<Message>>) -> Result<Vec<Message>, ApiError> {
    let (field, messages) = match (prompt, messages) {
        (Some(content), None) => ("prompt", vec![Message { role: Role::User, content }]),
        (None, Some(messages)) => ("messages", messages),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("prompt", "prompt: given beside messages; send one of the two"));
        }
        (None, None) => {
            return Err(ApiError::invalid("prompt", "prompt: missing; send prompt (a text) or messages (a list)"));
        }
    };
    if messages.last().is_none_or(|last| last.role != Role::User) {
        return Err(ApiError::invalid(field, "messages: must end with a message of the user"));
    }
    if messages.iter().any(|message| message.content.trim().is_empty()) {
        return Err(ApiError::invalid(
            field,
            format!("{field}: holds no text; send at least one character that is not blank"),
        ));
    }
    Ok(messages)
}

fn stop_sequences(texts: Vec<String>) -> Result<Vec<String>, ApiError> {
    let fits = |text: &String| (1..=STOP_SEQUENCE_BYTES_MAX).contains(&text.len());
    if texts.len() <= STOP_SEQUENCES_MAX && texts.iter().all(fits) {
        return Ok(texts);
    }
    let message =
        format!("stop_sequences: takes at most {STOP_SEQUENCES_MAX} texts of 1 to {STOP_SEQUENCE_BYTES_MAX} bytes");
    Err(ApiError::invalid("stop_sequences", message))
}

fn within<T: PartialOrd + Serialize>(field: &str, value: T, range: RangeInclusive<T>) -> Result<T, ApiError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most, value) = (number(range.start()), number(range.end()), number(&value));
    Err(ApiError::invalid(field, format!("{field}: takes {least} to {most}; it was {value}")))
}

fn above_zero(field: &str, value: f64, most: f64) -> Result<f64, ApiError> {
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
