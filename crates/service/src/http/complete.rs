//! `POST /v1/complete`, the native dialect. Step 2 of 7: a body becomes a request that cannot be wrong.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request as HttpRequest, State},
    response::Response,
};
use claude_code_api_wire::{CompleteRequest, CompleteResponse, ErrorEnvelope, Message, Role};

use super::{body, error::ApiError, respond};
use crate::{
    app::App,
    backend::Sampling,
    call::{self, Caller, Request},
    id::RequestId,
    model::ModelChoice,
};

const TIMEOUT_DEFAULT_S: f64 = 600.0;
const TIMEOUT_MAX_S: f64 = 86_400.0;
const STOP_SEQUENCES_MAX: usize = 16;
const STOP_SEQUENCE_BYTES_MAX: usize = 256;

/// Complete a prompt.
///
/// With `"stream": true` the answer is a stream of server-sent events: `start` (`id`, `model`, `model_id`), `delta` (`text`), then
/// exactly one `done` (the whole response object) or `error` (the error envelope). Comments keep it alive, `queued` ones
/// while the call waits.
#[utoipa::path(
    post, path = "/v1/complete", request_body = CompleteRequest,
    responses(
        (status = 200, description = "The answer; or a stream of it.", body = CompleteResponse),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    if app.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let body: CompleteRequest = body::json(request, app.limits().body_bytes_max).await?;
    let caller = caller.acting_for(body.project_id.as_deref())?;
    let stream = body.stream;
    let updates = call::start(&app, caller, decode(body)?);
    if stream { respond::events(updates, id).await } else { respond::json(updates).await }
}

fn decode(body: CompleteRequest) -> Result<Request, ApiError> {
    Ok(Request {
        model: ModelChoice::from(body.model.as_deref().unwrap_or("auto")),
        messages: messages(body.prompt, body.messages)?,
        system: body.system,
        max_tokens: body.max_tokens.map(|count| within("max_tokens", count, 1..=1_000_000)).transpose()?,
        sampling: Sampling {
            temperature: body.temperature.map(|value| within("temperature", value, 0.0..=1.0)).transpose()?,
            top_p: body.top_p.map(|value| within("top_p", value, f64::MIN_POSITIVE..=1.0)).transpose()?,
            seed: body.seed,
            stop_sequences: stop_sequences(body.stop_sequences.unwrap_or_default())?,
        },
        timeout: timeout(body.timeout.unwrap_or(TIMEOUT_DEFAULT_S))?,
    })
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

fn timeout(seconds: f64) -> Result<Duration, ApiError> {
    if seconds > 0.0 && seconds <= TIMEOUT_MAX_S {
        return Ok(Duration::from_secs_f64(seconds));
    }
    let message = format!("timeout: takes seconds above 0, at most {TIMEOUT_MAX_S}; it was {seconds}");
    Err(ApiError::invalid("timeout", message))
}

fn within<T>(field: &str, value: T, range: std::ops::RangeInclusive<T>) -> Result<T, ApiError>
where
    T: PartialOrd + std::fmt::Display,
{
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!("{field}: takes {} to {}; it was {value}", range.start(), range.end());
    Err(ApiError::invalid(field, message))
}
