//! `/v1/batches`: batches that are stored and worked on whether or not anybody waits. Taken with 202 once they are durable.

use std::{collections::BTreeMap, io, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, Request as HttpRequest, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use claude_code_api_wire::{
    BatchEvent, BatchJob as Shown, BatchJobList, BatchJobStatus, BatchPrompt, BatchRequest, ErrorEnvelope,
};
use futures_core::Stream;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    auth::Authenticated,
    batch::{Plan, calls_max},
    body,
    error::ApiError,
    item,
    path::Named,
    spend,
};
use crate::{
    app::App,
    id::BatchId,
    job::{Added, BatchJob, NewBatchJob, NewItem, Terms},
    ledger::{Claim, ClaimScope},
    money::Nanos,
    project::ProjectId,
    store::Store,
    window::Moment,
};

const LISTED_DEFAULT: u32 = 20;
const LISTED_MAX: u32 = 100;

/// How many results are read from the store at a time.
const PAGE: u32 = 500;

/// Store a batch, to be worked on from now on.
///
/// It runs on when the caller goes away, and when the service is started anew. A prompt that was finished is never run again.
#[utoipa::path(
    post, path = "/v1/batches", request_body = BatchRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same for every attempt to store a batch: it is stored once.")),
    responses(
        (status = 202, description = "It is stored.", body = Shown),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    spend::admitted(&app)?;
    let key = spend::idempotency_key(request.headers())?;
    let body: BatchRequest = body::json(request, app.limits().body_bytes_max).await?;
    if body.stream {
        let message = "stream: a stored batch has no stream; read its results from /v1/batches/{id}/results";
        return Err(ApiError::invalid("stream", message));
    }
    if body.economy {
        check_economy(&body)?;
    }
    let caller = caller.acting_for(&app, body.project_id.as_deref())?;
    let is_economy = body.economy;
    let items_max = u32::try_from(calls_max(&body)?).expect("at most a thousand");
    let claim = key.map(|key| claim(&app, &caller.project, &key, &body));
    let plan = Plan::of(body, None);
    plan.check(&app)?;
    check_ids(&plan.prompts)?;
    if !caller.makes_project && app.store().project(caller.project.clone()).await?.is_none() {
        return Err(ApiError::no_project(&caller.project));
    }
    let request = serde_json::to_string(&plan.all).expect("wire types serialize");
    let terms = Terms { project: caller.project, makes_project: caller.makes_project, items_max, request, is_economy };
    let items = plan.prompts.into_iter().map(|BatchPrompt { prompt, id }| NewItem { prompt, name: id }).collect();
    let new = NewBatchJob { id: BatchId::new(), terms, claim, items, kept_for: app.limits().batch_ttl };
    match app.store().add_batch(new).await? {
        Added::Stored(job) => {
            app.tell_batches_changed();
            Ok((StatusCode::ACCEPTED, Json(shown(&job))).into_response())
        }
        Added::Conflict => Err(ApiError::from(crate::call::CallFailure::Conflict)),
    }
}

/// What a batch cannot say of itself that is run when there is room.
fn check_economy(body: &BatchRequest) -> Result<(), ApiError> {
    let said = [
        ("timeout", body.timeout.is_some()),
        ("max_concurrency", body.max_concurrency.is_some()),
        ("parallel", body.parallel.is_some()),
    ];
    match said.iter().find(|(_, is_said)| *is_said) {
        Some((field, _)) => {
            let message =
                format!("{field}: an economy batch is run when there is room, within a day; leave {field} out");
            Err(ApiError::invalid(*field, message))
        }
        None => Ok(()),
    }
}

/// The key under which a batch would be sent again.
fn claim(app: &App, project: &ProjectId, key: &str, body: &BatchRequest) -> Claim {
    let fingerprint = Sha256::digest(serde_json::to_vec(body).expect("wire types serialize")).into();
    Claim { scope: ClaimScope::of(project, "batches", key), fingerprint, kept_for: app.limits().batch_ttl }
}

/// Results are told apart by the caller's ids, where there are any.
fn check_ids(prompts: &[BatchPrompt]) -> Result<(), ApiError> {
    let mut seen = BTreeMap::new();
    for (place, id) in prompts.iter().enumerate().filter_map(|(place, prompt)| Some((place, prompt.id.as_deref()?))) {
        if let Some(first) = seen.insert(id, place) {
            let shown: String = id.chars().take(40).collect();
            let field = format!("prompts[{place}].id");
            let message =
                format!("{field}: {shown:?} is the id of prompts[{first}] already; give each its own, or none");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The project; absent or `default`: the caller's own.
    project_id: Option<String>,
    /// Only batches that are older than the one of this id.
    before: Option<String>,
    /// At most so many, up to 100. Default: 20.
    limit: Option<u32>,
}

/// Stored batches of a project, the newest first.
#[utoipa::path(
    get, path = "/v1/batches", params(Wanted),
    responses(
        (status = 200, body = BatchJobList),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<BatchJobList>, ApiError> {
    let Query(wanted) = wanted.map_err(|_| {
        ApiError::invalid("query", "query: takes project_id, before and limit, each once; limit is a number")
    })?;
    let limit = spend::within("limit", wanted.limit.unwrap_or(LISTED_DEFAULT), 1..=LISTED_MAX)?;
    let before = wanted.before.as_deref().map(parsed).transpose()?;
    let caller = caller.acting_for(&app, wanted.project_id.as_deref())?;
    // One more tells whether there is another page.
    let mut jobs = app.store().batches(caller.project, before, limit + 1).await?;
    let has_more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next_before = jobs.last().filter(|_| has_more).map(|job| job.id.to_string());
    jobs.retain(is_there);
    Ok(Json(BatchJobList { batches: jobs.iter().map(shown).collect(), next_before }))
}

/// How far a stored batch is.
#[utoipa::path(
    get, path = "/v1/batches/{id}", params(("id" = String, Path, description = "Its id, `batch_…`.")),
    responses(
        (status = 200, body = Shown),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Named(id): Named,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(shown(&found(&app, &caller, &id).await?)))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// How many results the caller has already: those that came first. Default: 0.
    after: Option<u64>,
}

/// The results that a stored batch has by now, a line of JSON each, in the order in which they came.
///
/// Each line is as the data of a `result` event of `/v1/batch`: `index` is the place of its prompt. Whoever has read n lines goes on with
/// `?after=n`.
#[utoipa::path(
    get, path = "/v1/batches/{id}/results", params(("id" = String, Path, description = "Its id, `batch_…`."), Since),
    responses(
        (status = 200, description = "Lines of JSON.", body = BatchEvent, content_type = "application/x-ndjson"),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn results(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Named(id): Named,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(since) =
        since.map_err(|_| ApiError::invalid("after", "after: takes how many results you have already"))?;
    let job = found(&app, &caller, &id).await?;
    let lines = lines(Arc::clone(app.store()), job.id, since.after.unwrap_or(0));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// Page after page. Where one cannot be read the body breaks off, so that nobody takes it for whole.
fn lines(store: Arc<dyn Store>, id: BatchId, after: u64) -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::try_unfold(Some(after), move |after| {
        let store = Arc::clone(&store);
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = store.results(id, after, PAGE).await.map_err(io::Error::other)?;
            let next = page.last().map(|last| last.number).filter(|_| page.len() == PAGE as usize);
            let mut text = Vec::new();
            for stored in page {
                let index = stored.place as usize;
                serde_json::to_writer(&mut text, &BatchEvent { index, result: item::read(stored)? })?;
                text.push(b'\n');
            }
            Ok(Some((Bytes::from(text), next)))
        }
    })
}

/// Cancel a stored batch.
///
/// What runs is ended, and what waits does not begin; results that came stay. A batch that has ended stays as it is.
#[utoipa::path(
    post, path = "/v1/batches/{id}/cancel", params(("id" = String, Path, description = "Its id, `batch_…`.")),
    responses(
        (status = 200, body = Shown),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Named(id): Named,
) -> Result<Json<Shown>, ApiError> {
    let job = found(&app, &caller, &id).await?;
    let job = app.store().cancel_batch(job.id).await?.ok_or_else(|| no_batch(&id))?;
    app.tell_batches_changed();
    Ok(Json(shown(&job)))
}

/// The batch of this id, if the caller may know of it.
async fn found(app: &App, caller: &Authenticated, id: &str) -> Result<BatchJob, ApiError> {
    let job = app.store().batch(parsed(id)?).await?;
    job.filter(|job| caller.may_act_for(&job.project) && is_there(job)).ok_or_else(|| no_batch(id))
}

/// One whose time is over is deleted piece by piece: nobody is to see a part of it.
fn is_there(job: &BatchJob) -> bool {
    job.expires_at.is_none_or(|at| at > Moment::of_system())
}

fn parsed(id: &str) -> Result<BatchId, ApiError> {
    BatchId::parse(id).ok_or_else(|| no_batch(id))
}

fn no_batch(id: &str) -> ApiError {
    let shown: String = id.chars().take(40).collect();
    ApiError::not_found(format!(
        "there is no batch {shown:?}; it may have been deleted, as batches are some time after their end"
    ))
}

fn shown(job: &BatchJob) -> Shown {
    let moment = |at: Option<Moment>| at.map(Moment::rfc3339);
    Shown {
        id: job.id.to_string(),
        project_id: job.project.as_str().to_owned(),
        status: match (job.cancelled_at, job.ended_at) {
            (None, None) => BatchJobStatus::Running,
            (Some(_), None) => BatchJobStatus::Cancelling,
            (Some(_), Some(_)) => BatchJobStatus::Cancelled,
            (None, Some(_)) => BatchJobStatus::Ended,
        },
        economy: job.is_economy,
        total: job.total,
        completed: job.sums.completed,
        failed: job.sums.failed,
        total_cost: Nanos(job.sums.nanos).usd(),
        total_cost_nanos: job.sums.nanos,
        total_tokens: job.sums.tokens,
        created_at: job.created_at.rfc3339(),
        cancelled_at: moment(job.cancelled_at),
        ended_at: moment(job.ended_at),
        expires_at: moment(job.expires_at),
    }
}
