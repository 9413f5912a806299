//! The ledger, for the operator only: these endpoints are not on the network.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    routing::{get, post},
};
use claude_code_api_wire::{LedgerCorrection, LedgerEntries, LedgerEntry, LedgerReport};
use serde::Deserialize;

use super::{
    auth::{Admin, project as named},
    body,
    error::ApiError,
    path::Named,
};
use crate::{
    app::App,
    id::EntryId,
    ledger::{Entry, Resolve, Resolved},
    money::Nanos,
    store::EntriesWanted,
};

/// The most entries in one answer.
const ENTRIES_MAX: u32 = 1_000;

pub(super) fn endpoints() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/ledger/verify", get(verify))
        .route("/v1/ledger/entries", get(entries))
        .route("/v1/ledger/entries/{id}/resolve", post(resolve))
}

async fn verify(_: Admin, State(app): State<Arc<App>>) -> Result<Json<LedgerReport>, ApiError> {
    let verified = app.store().verify().await?;
    Ok(Json(LedgerReport {
        entries: verified.entries,
        estimated: verified.estimated,
        overruns: verified.overruns,
        tokens: verified.spent.tokens,
        cost_nanos: verified.spent.nanos,
        reservations: verified.reservations,
        differences: verified.differences,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    project_id: Option<String>,
    estimated: bool,
    limit: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { project_id: None, estimated: false, limit: 50 }
    }
}

async fn entries(
    _: Admin,
    State(app): State<Arc<App>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<LedgerEntries>, ApiError> {
    let Query(wanted) =
        wanted.map_err(|_| ApiError::invalid("query", "query: takes project_id, estimated and limit, each once"))?;
    let wanted = EntriesWanted {
        project: wanted.project_id.as_deref().map(named).transpose()?,
        estimated: wanted.estimated,
        count_max: wanted.limit.min(ENTRIES_MAX),
    };
    let entries = app.store().entries(wanted).await?;
    Ok(Json(LedgerEntries { entries: entries.iter().map(shown).collect() }))
}

async fn resolve(
    _: Admin,
    State(app): State<Arc<App>>,
    Named(id): Named,
    request: Request,
) -> Result<Json<LedgerEntry>, ApiError> {
    const MOST: u64 = i64::MAX as u64 / 2;
    let none = || ApiError::not_found("there is no entry of this id; `claude-code-api ledger list` shows the latest");
    let id = EntryId::parse(&id).ok_or_else(none)?;
    let correction: LedgerCorrection = body::json(request, app.limits().body_bytes_max).await?;
    let LedgerCorrection { input_tokens, output_tokens, cost_nanos } = correction;
    if input_tokens > MOST || output_tokens > MOST || cost_nanos < 0 {
        return Err(ApiError::invalid(
            "cost_nanos",
            "cost_nanos: takes what the call came to, 0 or more; tokens likewise",
        ));
    }
    match app.store().resolve(Resolve { id, input_tokens, output_tokens, cost: Nanos(cost_nanos) }).await? {
        Resolved::Corrected(entry) => Ok(Json(shown(&entry))),
        Resolved::NoEntry => Err(none()),
        Resolved::Exact => Err(ApiError::invalid("id", "id: the entry is exact: there is nothing to correct in it")),
    }
}

fn shown(entry: &Entry) -> LedgerEntry {
    LedgerEntry {
        id: entry.id.to_string(),
        call_id: entry.call.to_string(),
        project_id: entry.project.as_str().to_owned(),
        model: entry.spent.model.clone(),
        input_tokens: entry.spent.usage.input_tokens,
        output_tokens: entry.spent.usage.output_tokens,
        cost_nanos: entry.spent.cost.0,
        notional_cost_nanos: entry.spent.notional.0,
        exact: entry.spent.exact,
        unpriced: entry.spent.unpriced,
        unbounded: !entry.bounded,
        ended: entry.spent.ended.as_str().to_owned(),
        settled_by: entry.settled_by.as_str().to_owned(),
        settled_at: entry.settled_at.rfc3339(),
    }
}
