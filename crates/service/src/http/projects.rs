//! `/v1/projects`: who pays, and what each may use.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use claude_code_api_wire::{self as wire, ErrorEnvelope, ProjectChange, ProjectLimits, ProjectList};

use super::{
    auth::{Admin, project as named},
    body,
    error::ApiError,
    path::Named,
};
use crate::{
    app::App,
    ledger::{AutoTerms, Clamp, Limits, Project},
    model::{self, Tier},
    money::Nanos,
    window::Period,
};

/// The most USD of a limit: up to here a JSON number is exact to the nano-dollar.
const USD_MAX: f64 = 9_000_000.0;

/// Every project.
#[utoipa::path(
    get, path = "/v1/projects",
    responses(
        (status = 200, body = ProjectList),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn list(_: Admin, State(app): State<Arc<App>>) -> Result<Json<ProjectList>, ApiError> {
    let projects = app.store().projects().await?;
    Ok(Json(ProjectList { projects: projects.iter().map(shown).collect() }))
}

/// One project.
#[utoipa::path(
    get, path = "/v1/projects/{id}", params(("id" = String, Path, description = "Its name.")),
    responses(
        (status = 200, body = wire::Project),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn show(
    _: Admin,
    State(app): State<Arc<App>>,
    Named(id): Named,
) -> Result<Json<wire::Project>, ApiError> {
    let id = named(&id)?;
    let project = app.store().project(id.clone()).await?.ok_or_else(|| ApiError::no_project(&id))?;
    Ok(Json(shown(&project)))
}

/// Make a project, or change its limits.
///
/// What is not there stays as it is; `null` removes a limit. A lowered limit stops admissions only.
#[utoipa::path(
    put, path = "/v1/projects/{id}", params(("id" = String, Path, description = "Its name.")),
    request_body = ProjectChange,
    responses(
        (status = 200, body = wire::Project),
        (status = "default", description = "What was wrong.", body = ErrorEnvelope),
    )
)]
pub(super) async fn set(
    _: Admin,
    State(app): State<Arc<App>>,
    Named(id): Named,
    request: Request,
) -> Result<Json<wire::Project>, ApiError> {
    let id = named(&id)?;
    let change: ProjectChange = body::json(request, app.limits().body_bytes_max).await?;
    // What is not named stays, also when two change it at once.
    let _alone = app.managing().await;
    let before = app.store().project(id.clone()).await?.map(|project| project.limits).unwrap_or_default();
    let project = Project { id, limits: changed(before, &change)?, created_by_use: false };
    app.store().set_project(project.clone()).await?;
    app.refresh_directory().await?;
    Ok(Json(shown(&project)))
}

fn changed(mut limits: Limits, change: &ProjectChange) -> Result<Limits, ApiError> {
    let tokens = [
        ("tokens_per_day", change.tokens_per_day),
        ("tokens_per_week", change.tokens_per_week),
        ("tokens_per_month", change.tokens_per_month),
    ];
    let money = [
        ("usd_per_day", change.usd_per_day),
        ("usd_per_week", change.usd_per_week),
        ("usd_per_month", change.usd_per_month),
    ];
    for (window, (tokens, money)) in limits.windows.iter_mut().zip(tokens.into_iter().zip(money)) {
        if let (field, Some(tokens)) = tokens {
            window.tokens = tokens.map(|tokens| not_negative(field, tokens)).transpose()?;
        }
        if let (field, Some(usd)) = money {
            window.nanos = usd.map(|usd| nanos(field, usd)).transpose()?;
        }
    }
    if let Some(Some(0)) = change.requests_per_minute {
        let message = "requests_per_minute: takes 1 or more, or null; to stop a project, give it 0 tokens";
        return Err(ApiError::invalid("requests_per_minute", message));
    }
    limits.requests_per_minute = change.requests_per_minute.unwrap_or(limits.requests_per_minute);
    limits.calls_max = change.calls_max.unwrap_or(limits.calls_max);
    limits.clamp = change.clamp.map_or(limits.clamp, Clamp::from);
    limits.allow_notional = change.allow_notional.unwrap_or(limits.allow_notional);
    limits.auto = auto(limits.auto, change)?;
    Ok(limits)
}

fn auto(mut terms: AutoTerms, change: &ProjectChange) -> Result<AutoTerms, ApiError> {
    terms.routing = change.routing.unwrap_or(terms.routing);
    for (field, tier, name) in
        [("tier_min", &mut terms.tier_min, &change.tier_min), ("tier_max", &mut terms.tier_max, &change.tier_max)]
    {
        if let Some(name) = name {
            *tier = name.as_deref().map(|name| named_tier(field, name)).transpose()?;
        }
    }
    let crossed = terms.tier_min.zip(terms.tier_max).filter(|(least, most)| least > most);
    if let Some((least, most)) = crossed {
        let message = format!("tier_min: {} is above tier_max, {}; set both", least.as_str(), most.as_str());
        return Err(ApiError::invalid("tier_min", message));
    }
    Ok(terms)
}

fn named_tier(field: &str, name: &str) -> Result<Tier, ApiError> {
    let shown: String = name.chars().take(40).collect();
    model::tier(name).ok_or_else(|| {
        ApiError::invalid(field, format!("{field}: takes haiku, sonnet, opus, or null; it was {shown:?}"))
    })
}

fn not_negative(field: &str, tokens: i64) -> Result<i64, ApiError> {
    if tokens >= 0 {
        return Ok(tokens);
    }
    Err(ApiError::invalid(field, format!("{field}: takes a whole number, 0 or more, or null; it was {tokens}")))
}

#[expect(clippy::cast_possible_truncation, reason = "within the range that is checked")]
fn nanos(field: &str, usd: f64) -> Result<i64, ApiError> {
    if (0.0..=USD_MAX).contains(&usd) {
        return Ok((usd * 1e9).round() as i64);
    }
    Err(ApiError::invalid(field, format!("{field}: takes USD, 0 to {USD_MAX}, or null; it was {usd}")))
}

fn shown(project: &Project) -> wire::Project {
    let Limits { windows, calls_max, requests_per_minute, clamp, allow_notional, auto } = &project.limits;
    let tokens = |period| windows[period as usize].tokens;
    let usd = |period| windows[period as usize].nanos.map(|nanos| Nanos(nanos).usd());
    wire::Project {
        id: project.id.as_str().to_owned(),
        limits: ProjectLimits {
            tokens_per_day: tokens(Period::Day),
            tokens_per_week: tokens(Period::Week),
            tokens_per_month: tokens(Period::Month),
            usd_per_day: usd(Period::Day),
            usd_per_week: usd(Period::Week),
            usd_per_month: usd(Period::Month),
            requests_per_minute: *requests_per_minute,
            calls_max: *calls_max,
            clamp: match clamp {
                Clamp::Never => wire::Clamp::Never,
                Clamp::Unset => wire::Clamp::Unset,
                Clamp::Always => wire::Clamp::Always,
            },
            allow_notional: *allow_notional,
            routing: auto.routing,
            tier_min: auto.tier_min.map(|tier| tier.as_str().to_owned()),
            tier_max: auto.tier_max.map(|tier| tier.as_str().to_owned()),
        },
        created_by_use: project.created_by_use,
    }
}

impl From<wire::Clamp> for Clamp {
    fn from(clamp: wire::Clamp) -> Self {
        match clamp {
            wire::Clamp::Never => Self::Never,
            wire::Clamp::Unset => Self::Unset,
            wire::Clamp::Always => Self::Always,
        }
    }
}
