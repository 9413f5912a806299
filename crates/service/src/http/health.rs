//! `GET /health` and its two short forms for probes.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use claude_code_api_wire::{Health, HealthStatus};

use crate::app::App;

/// How the service is, part by part.
///
/// 200 for as long as the service answers; `status` says the rest.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)))]
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    Json(app.health())
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health/live", responses((status = 200, description = "It lives.")))]
pub(super) async fn live() -> StatusCode {
    StatusCode::OK
}

/// Whether the service takes calls.
#[utoipa::path(
    get, path = "/health/ready",
    responses((status = 200, body = Health), (status = 503, description = "Not now; the body says why.", body = Health))
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let health = app.health();
    let status = if health.status == HealthStatus::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}
