//! `POST /v1/complete`, the native dialect. Step 2 of 7: a body becomes a request that cannot be wrong.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Request as HttpRequest, State},
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{
    CompleteRequest, CompleteResponse, Delta, ErrorEnvelope, Fields, Message, Role, Start, sse,
};

use super::{
    auth::Authenticated,
    body,
    error::ApiError,
    respond::{self, Dialect},
    spend::{self, Door, above_zero, within},
};
use crate::{
    app::App,
    backend::{Asked, Event, Said},
    call::{Answer, AutoAsked, Priority, Request, Started},
    id::RequestId,
    model::ModelChoice,
    money::Nanos,
};

const COST_MAX_USD: f64 = 1_000_000.0;
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
    spend::admitted(&app)?;
    let key = spend::idempotency_key(request.headers())?;
    let body: CompleteRequest = body::json(request, app.limits().body_bytes_max).await?;
    let caller = caller.acting_for(&app, body.project_id.as_deref())?;
    let stream = body.stream;
    let mut updates = spend::start(&app, caller, Door { name: "complete", key, stream }, decode(body)?);
    if stream {
        return respond::events(updates, Native { id, is_queued: true, text: String::new() }, Some(STATUS_PATIENCE))
            .await;
    }
    let answer = respond::whole(&mut updates).await?;
    Ok(Json(response(updates.text(), &answer)).into_response())
}

/// How long a stream's status waits for the call's first update. A call that fails within it is answered with the status of
/// its error; one that waits longer has to say so, and that takes a body.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// The native dialect's stream.
struct Native {
    id: RequestId,
    is_queued: bool,
    /// What was told.
    text: String,
}

impl Dialect for Native {
    fn started(&mut self, started: &Started) -> String {
        self.is_queued = false;
        let Started { id, model, model_id, .. } = started.clone();
        sse::event("start", &Start { id, model, model_id })
    }

    fn event(&mut self, event: &Event) -> String {
        match &event.said {
            Said::Text(text) => {
                self.text += text;
                sse::event("delta", &Delta { text: text.clone() })
            }
            _ => String::new(),
        }
    }

    fn finished(&mut self, answer: &Answer) -> String {
        sse::event("done", &response(std::mem::take(&mut self.text), answer))
    }

    fn failed(&mut self, error: ApiError) -> String {
        sse::event("error", &ErrorEnvelope::from(error.body(&self.id)))
    }

    fn heartbeat(&self) -> String {
        sse::comment(if self.is_queued { "queued" } else { "heartbeat" })
    }
}

fn response(content: String, answer: &Answer) -> CompleteResponse {
    let Answer { usage, cost_nanos, .. } = *answer;
    let answer = answer.clone();
    CompleteResponse {
        id: answer.id,
        model: answer.model,
        model_id: answer.model_id,
        content,
        stop_reason: answer.stop_reason,
        usage: usage.into(),
        cache: usage.into(),
        cost: Nanos(cost_nanos).usd(),
        cost_nanos,
        project_id: answer.project,
        backend: answer.backend,
        route: answer.route,
        replayed: answer.replayed,
        clamped_max_tokens: answer.clamped,
    }
}

pub(super) fn decode(body: CompleteRequest) -> Result<Request, ApiError> {
    let messages = messages(body.prompt, body.messages)?;
    let temperature = body.temperature.map(|value| within("temperature", value, 0.0..=1.0)).transpose()?;
    let top_p = body.top_p.map(|value| above_zero("top_p", value, 1.0)).transpose()?;
    let stop_sequences = stop_sequences(body.stop_sequences.unwrap_or_default())?;
    let mut fields = Fields::default();
    fields.set("messages", &messages);
    // The API refuses an empty one.
    let system = body.system.filter(|system| !system.trim().is_empty());
    fields.set_some("system", system.as_ref());
    fields.set_some("temperature", temperature.as_ref());
    fields.set_some("top_p", top_p.as_ref());
    fields.set_some("stop_sequences", Some(&stop_sequences).filter(|texts| !texts.is_empty()));
    Ok(Request {
        model: ModelChoice::from(body.model.as_deref().unwrap_or("auto")),
        auto: AutoAsked {
            routing: body.routing,
            conversation: body.conversation_id.map(spend::conversation_id).transpose()?,
        },
        asked: Arc::new(Asked { fields, seed: body.seed, ..Asked::default() }),
        max_tokens: body.max_tokens.map(|count| within("max_tokens", count, spend::MAX_TOKENS)).transpose()?,
        nanos_max: body.max_cost.map(nanos_max).transpose()?,
        timeout: spend::timeout(body.timeout)?,
        claim: None,
        priority: Priority::Interactive,
        is_stored: false,
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
