//! `POST /v1/chat/completions`, the OpenAI dialect, and at the same path the older dialect of this service. Step 2 of 7.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension, Json,
    extract::{Request as HttpRequest, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{
    openai::{self, Bill, ChatRequest, ChunkWriter, Decoded, OlderResponse},
    sse,
};
use serde_json::{Map, Value};

use super::{
    auth::Authenticated,
    body,
    error::ApiError,
    respond::{self, Dialect},
    spend::{self, Door},
};
use crate::{
    app::App,
    backend::{Asked, Event},
    call::{Answer, Priority, Request, Started, Updates},
    id::RequestId,
    model::ModelChoice,
    money::Nanos,
};

/// Ask for a chat completion, as OpenAI's SDKs do.
///
/// The body is that of OpenAI's Chat Completions; `model` is `auto`, `haiku`, `sonnet`, `opus`, or the id of a model. What Claude cannot
/// honour is refused by name. `usage` says besides what the call cost. The project that pays is the key's, or `project_id`, or that
/// of the `x-project-id` header.
#[utoipa::path(
    post, path = "/v1/chat/completions", request_body = ChatRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "As for `/v1/complete`.")),
    responses(
        (status = 200, description = "The completion; or a stream of its chunks.", body = Value),
        (status = "default", description = "What was wrong.", body = Value),
    )
)]
pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    spend::admitted(&app)?;
    let headers = request.headers().clone();
    let key = spend::idempotency_key(&headers)?;
    let body: Map<String, Value> = body::json(request, app.limits().body_bytes_max).await?;
    let is_older = openai::is_older_dialect(&body, headers.contains_key("x-stainless-lang"));
    let decoded = openai::decode(body).map_err(|invalid| ApiError::invalid(invalid.field, invalid.message))?;
    let project = decoded.project_id.clone();
    let project = project.as_deref().map_or_else(|| spend::project_header(&headers), |named| Ok(Some(named)))?;
    let caller = caller.acting_for(&app, project)?;
    let (stream, include_usage) = (decoded.stream, decoded.include_usage);
    let mut updates = spend::start(&app, caller, Door { name: "chat", key, stream }, asked(decoded, &headers)?);
    if stream {
        return respond::events(updates, Chunks { id, include_usage, writer: None }, None).await;
    }
    let answer = respond::whole(&mut updates).await?;
    if is_older {
        return Ok(Json(older(&updates, &answer)).into_response());
    }
    let message = Value::Object(updates.message(&answer));
    let completion = openai::completion(&answer.id, &answer.model_id, now_s(), &message, &bill(&answer));
    Ok((updates.headers(), Json(completion)).into_response())
}

fn asked(decoded: Decoded, headers: &HeaderMap) -> Result<Request, ApiError> {
    let Decoded { model, max_tokens, timeout, stream, seed, body, .. } = decoded;
    let timeout = match timeout {
        Some(seconds) => spend::timeout(Some(seconds))?,
        None => spend::sdk_timeout(headers, stream),
    };
    Ok(Request {
        model: ModelChoice::from(model.as_deref().unwrap_or("auto")),
        auto: spend::auto_headers(headers)?,
        asked: Arc::new(Asked { fields: body.into(), seed, ..Asked::default() }),
        max_tokens: max_tokens.map(|count| spend::within("max_tokens", count, spend::MAX_TOKENS)).transpose()?,
        nanos_max: None,
        timeout,
        claim: None,
        priority: Priority::Interactive,
        is_stored: false,
    })
}

fn bill(answer: &Answer) -> Bill {
    let Answer { usage, cost_nanos, clamped: clamped_max_tokens, .. } = *answer;
    Bill { usage: usage.into(), cache: usage.into(), cost: Nanos(cost_nanos).usd(), cost_nanos, clamped_max_tokens }
}

fn older(updates: &Updates, answer: &Answer) -> OlderResponse {
    let Bill { usage, cost, .. } = bill(answer);
    let Answer { id, model, project, .. } = answer.clone();
    OlderResponse { id, model, content: updates.text(), usage, cost, project_id: project }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A stream of chunks.
struct Chunks {
    id: RequestId,
    include_usage: bool,
    /// Once the call has started.
    writer: Option<ChunkWriter>,
}

impl Dialect for Chunks {
    fn started(&mut self, started: &Started) -> String {
        self.writer = Some(ChunkWriter::new(&started.id, &started.model_id, now_s(), self.include_usage));
        String::new()
    }

    fn event(&mut self, event: &Event) -> String {
        let chunks = self.writer.as_mut().map(|writer| writer.event(&event.raw.name, &event.raw.data));
        written(&chunks.unwrap_or_default())
    }

    fn finished(&mut self, answer: &Answer) -> String {
        let chunks = self.writer.as_mut().map(|writer| {
            // They give no chunk, and say how much was thinking.
            let mut chunks: Vec<String> =
                answer.closing.iter().flat_map(|raw| writer.event(&raw.name, &raw.data)).collect();
            chunks.extend(writer.finish(answer.stop_reason.as_str(), &bill(answer)));
            chunks
        });
        written(&chunks.unwrap_or_default()) + &sse::data("[DONE]")
    }

    fn failed(&mut self, error: ApiError) -> String {
        sse::data(&openai::error(&error.body(&self.id)).to_string())
    }

    fn heartbeat(&self) -> String {
        sse::comment("heartbeat")
    }
}

fn written(chunks: &[String]) -> String {
    chunks.iter().map(|chunk| sse::data(chunk)).collect()
}
