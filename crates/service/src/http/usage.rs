//! `GET /v1/usage`: what a project has used. It costs the same at any number of entries.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use claude_code_api_wire::{ErrorEnvelope, ModelUsage, Period, UsageReport};
use serde::Deserialize;

use super::{auth::Authenticated, error::ApiError};
use crate::{app::App, ledger, money::Nanos, project::ProjectId, store::WindowUsage};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The project; absent or `default`: the caller's own.
    project_id: Option<String>,
    /// The window that is now: `day`, `week` or `month` (the default).
    period: Option<String>,
}

/// What a project has used.
///
/// A project that nothing has used yet answers zeros, and is not made by asking.
#[utoipa::path(
    get, path = "/v1/usage", params(Asked),
    responses(
        (status = 200, body = UsageReport),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn usage(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<UsageReport>, ApiError> {
    let Query(asked) =
        asked.map_err(|_| ApiError::invalid("query", "query: takes project_id and period, each once"))?;
    let period = period(asked.period.as_deref())?;
    let caller = caller.acting_for(&app, asked.project_id.as_deref())?;
    let used = app.store().usage(caller.project.clone(), period).await?;
    let project = caller.project;
    if used.limits.is_none() && !caller.makes_project {
        return Err(ApiError::no_project(&project));
    }
    Ok(Json(report(&app, &project, period, &used)))
}

fn period(text: Option<&str>) -> Result<Period, ApiError> {
    let Some(text) = text else { return Ok(Period::default()) };
    let known = crate::window::PERIODS.into_iter().find(|period| period.as_str() == text);
    known.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        ApiError::invalid("period", format!("period: takes day, week or month; it was {shown:?}"))
    })
}

fn report(app: &App, project: &ProjectId, period: Period, used: &WindowUsage) -> UsageReport {
    // What the first call would get is what there is.
    let limits = used.limits.clone().unwrap_or_else(|| app.limits_of_new_projects());
    let limit = limits.of(period);
    let left = |limit: Option<i64>, spent: i64| limit.map(|limit| (limit - spent).max(0));
    let usd = |nanos: i64| Nanos(nanos).usd();
    let notional = used.by_model.iter().map(|(_, usage)| usage.notional_nanos).sum();
    UsageReport {
        project_id: project.as_str().to_owned(),
        period,
        total_tokens: used.spent.tokens,
        total_cost: usd(used.spent.nanos),
        total_cost_nanos: used.spent.nanos,
        by_model: used.by_model.iter().map(|(model, usage)| (model.clone(), by_model(*usage))).collect(),
        limit: limit.tokens,
        remaining: left(limit.tokens, used.spent.tokens),
        cost_limit: limit.nanos.map(usd),
        cost_remaining: left(limit.nanos, used.spent.nanos).map(usd),
        held_tokens: used.held.tokens,
        notional_cost: usd(notional),
        period_start: used.start.begins_at().rfc3339(),
        period_end: used.end.begins_at().rfc3339(),
    }
}

fn by_model(usage: ledger::ModelUsage) -> ModelUsage {
    ModelUsage {
        tokens: usage.input_tokens + usage.output_tokens,
        cost: Nanos(usage.cost_nanos).usd(),
        cost_nanos: usage.cost_nanos,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        requests: usage.requests,
    }
}
