//! `POST /v1/messages`, the Anthropic dialect. Step 2 of 7. What is asked passes through as it was written, and so does what is
//! answered; only the model, the bound and the stream are the call's.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request as HttpRequest, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{
    Fields,
    anthropic::{ErrorReply, RawEvent, TokenCount},
    sse,
};
use serde::de::DeserializeOwned;

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
    call::{self, Answer, Priority, Request, Started},
    id::RequestId,
    model::ModelChoice,
};

/// Names of versions and betas are short.
const HEADER_BYTES_MAX: usize = 4_096;

/// Ask for a message, as Anthropic's SDKs do.
///
/// The body is that of Anthropic's Messages API; `model` may also be `auto`, `haiku`, `sonnet` or `opus`. The project that pays is the
/// key's, or that of the `x-project-id` header. For `auto`, the headers `x-routing` and `x-conversation-id` say what the fields of
/// `/v1/complete` say.
#[utoipa::path(
    post, path = "/v1/messages", request_body = serde_json::Value,
    params(("Idempotency-Key" = Option<String>, Header, description = "As for `/v1/complete`.")),
    responses(
        (status = 200, description = "The message; or a stream of its events.", body = serde_json::Value),
        (status = "default", description = "What was wrong.", body = ErrorReply),
    )
)]
pub(super) async fn messages(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    spend::admitted(&app)?;
    let headers = request.headers().clone();
    let key = spend::idempotency_key(&headers)?;
    let caller = caller.acting_for(&app, spend::project_header(&headers)?)?;
    let mut fields: Fields = body::json(request, app.limits().body_bytes_max).await?;
    let stream = field::<Option<bool>>(&fields, "stream")?.flatten().unwrap_or(false);
    let max_tokens = spend::within("max_tokens", required(&fields, "max_tokens")?, spend::MAX_TOKENS)?;
    let model: String = required(&fields, "model")?;
    // What decides nothing of the answer is not part of what was asked.
    fields.take("stream");
    let request = Request {
        model: ModelChoice::from(model.as_str()),
        auto: spend::auto_headers(&headers)?,
        asked: Arc::new(asked(fields, &headers)?),
        max_tokens: Some(max_tokens),
        nanos_max: None,
        timeout: spend::sdk_timeout(&headers, stream),
        claim: None,
        priority: Priority::Interactive,
        is_stored: false,
    };
    let mut updates = spend::start(&app, caller, Door { name: "messages", key, stream }, request);
    if stream {
        return respond::events(updates, Events { id }, None).await;
    }
    let answer = respond::whole(&mut updates).await?;
    Ok((updates.headers(), Json(updates.message(&answer))).into_response())
}

/// Count the tokens of a message, as Anthropic's SDKs do.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", request_body = serde_json::Value,
    responses(
        (status = 200, description = "What the input would come to.", body = TokenCount),
        (status = "default", description = "What was wrong.", body = ErrorReply),
    )
)]
pub(super) async fn count_tokens(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Json<TokenCount>, ApiError> {
    spend::admitted(&app)?;
    let headers = request.headers().clone();
    caller.acting_for(&app, spend::project_header(&headers)?)?;
    let fields: Fields = body::json(request, app.limits().body_bytes_max).await?;
    let model: String = required(&fields, "model")?;
    let asked = Arc::new(asked(fields, &headers)?);
    let input_tokens = call::count(&app, &ModelChoice::from(model.as_str()), asked).await?;
    Ok(Json(TokenCount { input_tokens }))
}

/// The value of a field, where it is there.
fn field<T: DeserializeOwned>(fields: &Fields, name: &str) -> Result<Option<T>, ApiError> {
    let read = fields.get(name).map(|value| serde_json::from_str(value.get())).transpose();
    read.map_err(|error| {
        let problem = error.to_string();
        let problem = problem.split(" at line ").next().unwrap_or_default();
        ApiError::invalid(name, format!("{name}: {problem}"))
    })
}

fn required<T: DeserializeOwned>(fields: &Fields, name: &str) -> Result<T, ApiError> {
    field(fields, name)?.ok_or_else(|| ApiError::invalid(name, format!("{name}: Field required")))
}

fn asked(fields: Fields, headers: &HeaderMap) -> Result<Asked, ApiError> {
    let betas = listed(headers, "anthropic-beta")?;
    let version = listed(headers, "anthropic-version")?.into_iter().next();
    Ok(Asked { fields, version, betas, seed: None })
}

/// The values of a header that may be a list, and may be there several times.
fn listed(headers: &HeaderMap, name: &str) -> Result<Vec<String>, ApiError> {
    let mut listed = Vec::new();
    for value in headers.get_all(name) {
        let value = value.to_str().ok().filter(|value| value.len() <= HEADER_BYTES_MAX);
        let value = value.ok_or_else(|| {
            ApiError::invalid(name, format!("{name}: takes at most {HEADER_BYTES_MAX} visible ASCII characters"))
        })?;
        listed.extend(value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    }
    Ok(listed)
}

/// The events, as they came.
struct Events {
    id: RequestId,
}

impl Dialect for Events {
    fn started(&mut self, _: &Started) -> String {
        String::new()
    }

    fn event(&mut self, event: &Event) -> String {
        written(&event.raw)
    }

    fn finished(&mut self, answer: &Answer) -> String {
        answer.closing.iter().map(written).collect()
    }

    fn failed(&mut self, error: ApiError) -> String {
        sse::event("error", &ErrorReply::from(error.body(&self.id)))
    }

    fn heartbeat(&self) -> String {
        sse::text_event("ping", "{\"type\": \"ping\"}")
    }
}

fn written(event: &RawEvent) -> String {
    sse::text_event(&event.name, &event.data)
}
