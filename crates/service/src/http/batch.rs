//! `POST /v1/batch`, the native dialect. Step 2 of 7, for many calls at once; their answers go out together, or one by one.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Request as HttpRequest, State},
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{
    BatchEvent, BatchPrompt, BatchRequest, BatchResponse, BatchResult, CompleteRequest, ErrorEnvelope, sse,
};
use futures_core::Stream;
use futures_util::StreamExt;

use super::{auth::Authenticated, body, error::ApiError, item, respond, spend};
use crate::{
    app::App,
    batch,
    call::{self, Caller, Request},
    money::Nanos,
};

const PROMPTS_MAX: usize = 100_000;
const CONCURRENCY_DEFAULT: u32 = 16;
const CONCURRENCY_MAX: u32 = 1_000;

/// How often a stream that has nothing to say shows that it lives.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// Complete many prompts.
///
/// With `"stream": true` the answer is a stream of server-sent events: `result` (`index`, and the result) for each prompt as it ends, then
/// exactly one `done` (the totals). Comments keep it alive. What is wrong with the request fails all of it; what happens to a prompt
/// fails that prompt.
#[utoipa::path(
    post, path = "/v1/batch", request_body = BatchRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "As for `/v1/complete`; the prompt at place i has the key with `/i` \
        after it.")),
    responses(
        (status = 200, description = "What came of each; or a stream of it.", body = BatchResponse),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn batch(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    spend::admitted(&app)?;
    let key = spend::idempotency_key(request.headers())?;
    let body: BatchRequest = body::json(request, app.limits().body_bytes_max).await?;
    let caller = caller.acting_for(&app, body.project_id.as_deref())?;
    if body.economy {
        let message = "economy: takes up to a day, so that nobody can wait for the answer here; send it to /v1/batches";
        return Err(ApiError::invalid("economy", message));
    }
    let (calls_max, stream) = (calls_max(&body)?, body.stream);
    let plan = Plan::of(body, key);
    plan.check(&app)?;
    let results = results(app, caller, plan, calls_max);
    Ok(if stream { respond::stream(frames(results)) } else { whole(results).await })
}

/// How many calls run at a time.
pub(super) fn calls_max(body: &BatchRequest) -> Result<usize, ApiError> {
    let asked = body.max_concurrency.unwrap_or(CONCURRENCY_DEFAULT);
    let most = spend::within("max_concurrency", asked, 1..=CONCURRENCY_MAX)?;
    let most = if body.parallel.unwrap_or(true) { most as usize } else { 1 };
    Ok(batch::at_a_time(most, body.system.as_ref().map_or(0, String::len)))
}

/// The prompts, and what is asked with each of them. A request is made when it is a prompt's turn: what all of them share, as a long
/// system text, is there once for each call that runs, and not for each that waits.
pub(super) struct Plan {
    pub(super) prompts: Vec<BatchPrompt>,
    pub(super) all: CompleteRequest,
    key: Option<String>,
    is_economy: bool,
}

impl Plan {
    pub(super) fn of(body: BatchRequest, key: Option<String>) -> Self {
        let BatchRequest {
            prompts, model, system, max_tokens, timeout, max_cost, routing, economy: is_economy, ..
        } = body;
        let all =
            CompleteRequest { model, system, max_tokens, timeout, max_cost, routing, ..CompleteRequest::default() };
        Self { prompts, all, key, is_economy }
    }

    /// What all share is checked with the first prompt.
    pub(super) fn check(&self, app: &App) -> Result<(), ApiError> {
        let count = self.prompts.len();
        if count > PROMPTS_MAX {
            let message = format!("prompts: takes at most {PROMPTS_MAX}; there were {count}");
            return Err(ApiError::invalid("prompts", message));
        }
        for index in 0..count {
            let bare = CompleteRequest::default();
            let request = self.decoded(index, if index == 0 { &self.all } else { &bare })?;
            if index == 0 {
                let check = if self.is_economy { call::check_economy } else { call::check_model };
                check(app, &request.model)?;
            }
        }
        Ok(())
    }

    fn decoded(&self, index: usize, with: &CompleteRequest) -> Result<Request, ApiError> {
        let decoded = item::decoded(with, self.prompts[index].prompt.clone());
        decoded.map_err(|error| error.within(&format!("prompts[{index}]"), "prompt"))
    }

    /// The prompt at place i is sent under the key with `/i` after it.
    fn request(&self, app: &App, caller: &Caller, index: usize) -> Request {
        let mut request = self.decoded(index, &self.all).expect("all of it was checked");
        let key = self.key.as_ref().map(|key| format!("{key}/{index}"));
        request.claim = key.and_then(|key| call::claim(app, &caller.project, "batch", &key, &request));
        request
    }
}

/// The results as they come, and how many there will be.
struct Results {
    total: usize,
    coming: Pin<Box<dyn Stream<Item = (usize, BatchResult)> + Send>>,
}

fn results(app: Arc<App>, caller: Caller, plan: Plan, calls_max: usize) -> Results {
    let (total, plan) = (plan.prompts.len(), Arc::new(plan));
    let requests = {
        let (app, caller, plan) = (Arc::clone(&app), caller.clone(), Arc::clone(&plan));
        (0..total).map(move |index| plan.request(&app, &caller, index))
    };
    let coming = batch::outcomes(app, caller, requests, calls_max)
        .map(move |outcome| (outcome.index, item::result(plan.prompts[outcome.index].clone(), outcome.end)));
    Results { total, coming: Box::pin(coming) }
}

/// All results together.
async fn whole(mut results: Results) -> Response {
    let mut response = BatchResponse::of(results.total);
    let mut places: Vec<Option<BatchResult>> = vec![None; results.total];
    while let Some((index, result)) = results.coming.next().await {
        response.count(&result);
        places[index] = Some(result);
    }
    let results = places.into_iter().map(|result| result.expect("every call ends")).collect();
    Json(totals(BatchResponse { results: Some(results), ..response })).into_response()
}

fn totals(response: BatchResponse) -> BatchResponse {
    BatchResponse { total_cost: Nanos(response.total_cost_nanos).usd(), ..response }
}

/// Each result as it comes, and the totals at the end.
fn frames(results: Results) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let response = BatchResponse::of(results.total);
    futures_util::stream::unfold(Some((results, response)), |state| async {
        let (mut results, mut response) = state?;
        let frame = match tokio::time::timeout(HEARTBEAT_EVERY, results.coming.next()).await {
            Err(_) => sse::comment("heartbeat"),
            Ok(None) => return Some((Ok(sse::event("done", &totals(response)).into()), None)),
            Ok(Some((index, result))) => {
                response.count(&result);
                sse::event("result", &BatchEvent { index, result })
            }
        };
        Some((Ok(frame.into()), Some((results, response))))
    })
}
